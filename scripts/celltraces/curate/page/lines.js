// Draws outlines as pixels. The canvas' own strokes of some hundred cells take ten times as long without a GPU.

/** A colour like #ffbe00 as a word of ImageData's bytes. */
export const word = (colour) => {
  const [red, green, blue] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
};

/**
 * Draw one closed line of horizontal and vertical pieces.
 * target: { words: Uint32Array, width, height }. points from `begin` to `end` (in pairs), in image pixels; view: scale, x,
 * y. pen: { word, width, dash: [on, off, ...] }, in pixels of the target; no dash is a full line.
 */
export function drawLine(target, points, begin, end, view, pen) {
  const { words, width, height } = target;
  const { dash } = pen;
  const reach = Math.max(1, Math.round(pen.width));
  const shift = (reach - 1) >> 1;
  /** A bar from one place to another on the same row or column, as wide as the pen. */
  const bar = (xa, ya, xb, yb) => {
    const left = Math.max(Math.round(Math.min(xa, xb)) - shift, 0);
    const right = Math.min(Math.round(Math.max(xa, xb)) - shift + reach, width);
    const top = Math.max(Math.round(Math.min(ya, yb)) - shift, 0);
    const bottom = Math.min(Math.round(Math.max(ya, yb)) - shift + reach, height);
    for (let y = top; y < bottom; y++) {
      for (let place = y * width + left; place < y * width + right; place++) words[place] = pen.word;
    }
  };
  let x0 = view.x + view.scale * points[2 * end - 2];
  let y0 = view.y + view.scale * points[2 * end - 1];
  let part = 0; // of the dash: those of even places are drawn
  let left = dash.length ? dash[0] : Infinity; // of this part
  for (let place = begin; place < end; place++) {
    const x1 = view.x + view.scale * points[2 * place];
    const y1 = view.y + view.scale * points[2 * place + 1];
    const length = Math.abs(x1 - x0) + Math.abs(y1 - y0); // one of them is 0
    let walked = 0;
    while (walked < length) {
      const then = Math.min(length, walked + left);
      if (part % 2 === 0) {
        const [from, to] = [walked / length, then / length];
        bar(x0 + from * (x1 - x0), y0 + from * (y1 - y0), x0 + to * (x1 - x0), y0 + to * (y1 - y0));
      }
      left -= then - walked;
      walked = then;
      if (left <= 0) {
        part = (part + 1) % dash.length;
        left = dash[part];
      }
    }
    x0 = x1;
    y0 = y1;
  }
}
