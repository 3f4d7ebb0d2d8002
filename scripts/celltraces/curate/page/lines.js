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
  if (pen.dash.length) drawDashed(target, points, begin, end, view, pen);
  else drawFull(target, points, begin, end, view, pen);
}

/** A bar as wide as the pen between two pixels of the same row or column, both with it. */
function drawBar({ words, width, height }, xa, ya, xb, yb, reach, word) {
  const shift = (reach - 1) >> 1;
  const left = Math.max((xa < xb ? xa : xb) - shift, 0);
  const right = Math.min((xa < xb ? xb : xa) - shift + reach, width);
  const top = Math.max((ya < yb ? ya : yb) - shift, 0);
  const bottom = Math.min((ya < yb ? yb : ya) - shift + reach, height);
  for (let y = top; y < bottom; y++) {
    for (let place = y * width + left; place < y * width + right; place++) words[place] = word;
  }
}

const reachOf = (pen) => Math.max(1, Math.round(pen.width));

function drawFull(target, points, begin, end, { scale, x, y }, pen) {
  const reach = reachOf(pen);
  let x0 = Math.round(x + scale * points[2 * end - 2]);
  let y0 = Math.round(y + scale * points[2 * end - 1]);
  drawBar(target, x0, y0, x0, y0, reach, pen.word); // all of a line may lie in one pixel
  for (let place = 2 * begin; place < 2 * end; place += 2) {
    const x1 = Math.round(x + scale * points[place]);
    const y1 = Math.round(y + scale * points[place + 1]);
    if (x1 === x0 && y1 === y0) continue; // as most points of an image that is shown smaller than it is
    drawBar(target, x0, y0, x1, y1, reach, pen.word);
    x0 = x1;
    y0 = y1;
  }
}

const NOTHING = 1e-6; // px of a dash: less of it is left by rounding alone, and could be too little to get on by

function drawDashed(target, points, begin, end, view, pen) {
  const { dash } = pen;
  const reach = reachOf(pen);
  let x0 = view.x + view.scale * points[2 * end - 2];
  let y0 = view.y + view.scale * points[2 * end - 1];
  let part = 0; // of the dash: those of even places are drawn
  let left = dash[0]; // of this part
  for (let place = begin; place < end; place++) {
    const x1 = view.x + view.scale * points[2 * place];
    const y1 = view.y + view.scale * points[2 * place + 1];
    const length = Math.abs(x1 - x0) + Math.abs(y1 - y0); // one of them is 0
    let walked = 0;
    while (walked < length) {
      const then = Math.min(length, walked + left);
      if (part % 2 === 0) {
        const at = (from, to, share) => Math.round(from + share * (to - from));
        const [from, to] = [walked / length, then / length];
        drawBar(target, at(x0, x1, from), at(y0, y1, from), at(x0, x1, to), at(y0, y1, to), reach, pen.word);
      }
      left -= then - walked;
      walked = then;
      if (left < NOTHING) {
        part = (part + 1) % dash.length;
        left = dash[part];
      }
    }
    x0 = x1;
    y0 = y1;
  }
}
