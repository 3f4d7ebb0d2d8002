// Paints a frame with the outlines of its cells. While frames are played, a worker does so ahead, by pixels.

import { drawLine, word } from "./lines.js";

export const EMPTY = "#14181d"; // beside the image
export const SHARP = 2; // pixels of the screen for one of the image from which on its pixels are shown as squares
const STYLES = {
  kept: { dash: [], width: 2 },
  bad: { dash: [7, 5], width: 2 },
  "left out": { dash: [2, 3], width: 2 },
  excluded: { dash: [10, 4, 3, 4], width: 2 },
  chosen: { dash: [], width: 3 },
};
let overlay = null; // what outlines are drawn on, as large as the canvas

/** Where a picture lies on the canvas: of a part of the image, or with null all of it, but for what its level lacks. */
export function placeOf(picture, { part, level, size, view: { x, y, scale } }) {
  const { y0, x0, y1, x1 } = part ?? { y0: 0, x0: 0, y1: size.height, x1: size.width };
  const length = (pixels, most) => scale * Math.min(pixels * 2 ** level, most);
  return { x: x + scale * x0, y: y + scale * y0, width: length(picture.width, x1 - x0), height: length(picture.height, y1 - y0) };
}

/**
 * Paint a frame. pen: of the canvas. bitmap: the picture, or null. found: what `outlines` returns, or null for none.
 * view: scale, x, y of the image on the canvas; unit: pixels of the screen for one of the page; part, level: of the
 * image that the picture is; size: height, width of the image; looks: see `looksIn`.
 */
export function paint(pen, bitmap, found, { view, unit, part, level, size, looks }) {
  const { width, height } = pen.canvas;
  pen.fillStyle = EMPTY;
  pen.fillRect(0, 0, width, height);
  if (bitmap) {
    const at = placeOf(bitmap, { part, level, size, view });
    pen.imageSmoothingEnabled = at.width / bitmap.width < SHARP;
    pen.drawImage(bitmap, at.x, at.y, at.width, at.height);
  }
  if (found && looks.outlines) {
    if (overlay?.width !== width || overlay.height !== height) {
      const made = new OffscreenCanvas(width, height);
      const image = new ImageData(width, height);
      overlay = { width, height, made, pen: made.getContext("2d"), image, words: new Uint32Array(image.data.buffer) };
    }
    overlay.words.fill(0);
    drawOutlines(overlay, found, { view, unit, looks });
    overlay.pen.putImageData(overlay.image, 0, 0);
    pen.drawImage(overlay.made, 0, 0);
  }
}

/** Put a frame that a worker painted on the canvas. painted: { pixels: ArrayBuffer, width, height }. */
export function put(pen, { pixels, width, height }) {
  pen.putImageData(new ImageData(new Uint8ClampedArray(pixels), width, height), 0, 0);
}

/** Draw outlines on pixels. target: { words: Uint32Array, width, height }; the others as for `paint`. */
export function drawOutlines(target, { points, starts, labels }, { view, unit, looks }) {
  const { chosen, states, moved, excluded, all, colours } = looks;
  const penOf = (style, colour, extra = 0) => ({
    word: word(colour),
    width: (STYLES[style].width + extra) * unit,
    dash: STYLES[style].dash.map((length) => length * unit),
  });
  const pens = Object.fromEntries(Object.keys(STYLES).map((name) => [name, penOf(name, colours[name] ?? "#ffffff")]));
  const styleOf = (cell) => (!states.has(cell) ? "left out" : all || excluded.has(cell) ? "excluded" : states.get(cell));
  const ofChosen = [];
  for (let line = 0; line < labels.length; line++) {
    const cell = moved.get(labels[line]) ?? labels[line];
    if (cell === 0) continue; // deleted
    if (cell === chosen) ofChosen.push(line);
    else drawLine(target, points, starts[line], starts[line + 1], view, pens[styleOf(cell)]);
  }
  const rim = { ...penOf("chosen", "#000000", 2), dash: [] };
  const { dash } = pens[styleOf(chosen)];
  [rim, { ...pens.chosen, dash }].forEach((of) => ofChosen.forEach((line) => drawLine(target, points, starts[line], starts[line + 1], view, of)));
}

/** The number of the chosen cell, above it. */
export function drawNumber(pen, { view, unit, looks: { chosen, box } }) {
  if (!box) return;
  const size = 14 * unit;
  pen.font = `600 ${size}px system-ui, sans-serif`;
  pen.textAlign = "center";
  pen.lineWidth = 4 * unit;
  pen.strokeStyle = "#000";
  pen.fillStyle = "#fff";
  const [x, y] = [view.x + (view.scale * (box[1] + box[3])) / 2, Math.max(view.y + view.scale * box[0] - 6 * unit, size)];
  pen.strokeText(String(chosen), x, y);
  pen.fillText(String(chosen), x, y);
}
