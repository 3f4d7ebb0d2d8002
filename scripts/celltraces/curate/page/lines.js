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
  const reach = Math.max(1, Math.round(pen.width));
  const shift = (reach - 1) >> 1;
  const period = pen.dash.reduce((sum, length) => sum + length, 0);
  const on = (distance) => {
    let rest = distance % period;
    for (let at = 0; at < pen.dash.length; at++) {
      if (rest < pen.dash[at]) return at % 2 === 0;
      rest -= pen.dash[at];
    }
    return true;
  };
  let x0 = view.x + view.scale * points[2 * end - 2];
  let y0 = view.y + view.scale * points[2 * end - 1];
  let walked = 0;
  for (let place = begin; place < end; place++) {
    const x1 = view.x + view.scale * points[2 * place];
    const y1 = view.y + view.scale * points[2 * place + 1];
    const length = Math.abs(x1 - x0) + Math.abs(y1 - y0); // one of them is 0
    const outside = (x0 < -reach && x1 < -reach) || (y0 < -reach && y1 < -reach) || (x0 > width + reach && x1 > width + reach) || (y0 > height + reach && y1 > height + reach);
    if (!outside) {
      const steps = Math.max(1, Math.ceil(length));
      for (let step = 0; step < steps; step++) {
        const share = step / steps;
        if (period && !on(walked + share * length)) continue;
        const left = Math.round(x0 + share * (x1 - x0)) - shift;
        const top = Math.round(y0 + share * (y1 - y0)) - shift;
        for (let y = Math.max(top, 0); y < top + reach && y < height; y++) {
          for (let x = Math.max(left, 0); x < left + reach && x < width; x++) words[y * width + x] = pen.word;
        }
      }
    }
    walked += length;
    [x0, y0] = [x1, y1];
  }
}
