// Lays channels over each other, finds outlines, and paints frames ahead, away from the page's own thread.

import { useToken } from "./ask.js";
import { outlines } from "./outline.js";
import { drawOutlines, EMPTY, placeOf, SHARP } from "./paint.js";
import { keepFrames, rawFrame } from "./raw.js";
import { word } from "./lines.js";

/** What each stored value becomes on the screen, 0 to 255. */
function brightnesses({ low, high, limits }, eight) {
  const table = new Uint8Array(eight ? 256 : 65536);
  const [black, white] = eight ? limits : [0, 65535];
  const step = (white - black) / (table.length - 1);
  const scale = 255 / Math.max(high - low, 1e-9);
  for (let code = 0; code < table.length; code++) {
    table[code] = Math.min(255, Math.max(0, (black + step * code - low) * scale));
  }
  return table;
}

const AS_IS = { premultiplyAlpha: "none", colorSpaceConversion: "none" }; // all pixels are opaque

/**
 * How bright the pixels of a channel are, 0 to 255, each row in whole words of four: { levels, stride, width, height }.
 * stride: bytes from row to row.
 */
function brighten({ values, width, height }, layer) {
  const stride = (width + 3) & ~3;
  const asStored = values instanceof Uint8Array && layer.low === layer.limits[0] && layer.high === layer.limits[1];
  if (asStored && stride === width) return { levels: values, stride, width, height };
  const table = brightnesses(layer, values instanceof Uint8Array);
  const levels = new Uint8Array(stride * height);
  for (let row = 0; row < height; row++) {
    const [from, to] = [row * width, row * stride];
    for (let column = 0; column < width; column++) levels[to + column] = table[values[from + column]];
  }
  return { levels, stride, width, height };
}

/** What a channel of a colour adds to a picture, by how bright it is: words of ImageData's bytes. */
function wordsOf([red, green, blue]) {
  const share = (level, part) => Math.floor((level * part) / 255);
  return Uint32Array.from({ length: 256 }, (_, level) => (0xff000000 | (share(level, blue) << 16) | (share(level, green) << 8) | share(level, red)) >>> 0);
}

/** Two words over each other, as if projected onto one screen: no pixel gets darker by another channel. */
function projected(under, over) {
  let mixed = 0xff000000;
  for (let shift = 0; shift < 24; shift += 8) {
    const dark = ((255 - ((under >>> shift) & 255)) * (255 - ((over >>> shift) & 255)) * 257) >>> 16;
    mixed |= (255 - dark) << shift;
  }
  return mixed >>> 0;
}

/** Put a row of a channel into a picture from a place on, over what is there; the first channel is there alone. */
function putRow(out, place, levels, start, count, words, first) {
  if (first) {
    for (let at = 0; at < count; at++) out[place + at] = words[levels[start + at]];
    return;
  }
  for (let at = 0; at < count; at++) {
    const level = levels[start + at];
    if (level > 1) out[place + at] = projected(out[place + at], words[level]);
  }
}

/** Channels over each other, pixel for pixel. */
function compose(images, layers) {
  const { height, width } = images[0];
  const picture = new ImageData(width, height);
  const out = new Uint32Array(picture.data.buffer);
  images.forEach((image, at) => {
    const { levels, stride } = brighten(image, layers[at]);
    const words = wordsOf(layers[at].colour);
    for (let row = 0; row < height; row++) putRow(out, row * width, levels, row * stride, width, words, at === 0);
  });
  return picture;
}

/** Where pixels of the screen lie in a row or column of an image: place of one pixel, and how far to the next, of 256. */
function places(begin, end, start, scale, length) {
  const at = new Uint32Array(end - begin);
  const part = new Uint16Array(end - begin);
  for (let pixel = begin; pixel < end; pixel++) {
    const exact = Math.min(Math.max((pixel + 0.5 - start) / scale - 0.5, 0), length - 1);
    const wanted = scale < SHARP ? exact : Math.round(exact);
    const whole = Math.min(Math.floor(wanted), Math.max(length - 2, 0)); // so that there is a next one
    at[pixel - begin] = whole;
    part[pixel - begin] = Math.round(256 * (wanted - whole));
  }
  return { at, part };
}

/**
 * Put a channel into a picture as a view shows it, over what is there. area: the part of the canvas that it covers; x, y:
 * where it begins; scale: pixels of the canvas for one of its own.
 *
 * Rows are mixed first, four pixels in a word at a time, of which two share a multiplication; then columns.
 */
function putScaled({ words: out, width: pitch }, { levels, stride, width, height }, { left, right, top, bottom }, { x, y, scale }, words, first) {
  const { at: froms, part: parts } = places(left, right, x, scale, width);
  const rows = places(top, bottom, y, scale, height);
  const packed = new Uint32Array(levels.buffer);
  const count = stride / 4;
  const mixed = new Uint32Array(count + 1); // one more, which a single column has as its next
  const line = new Uint8Array(mixed.buffer);
  const across = right - left;
  const seen = new Uint8Array(first ? 0 : across);
  for (let row = 0; row < bottom - top; row++) {
    const upper = rows.at[row] * count;
    const lower = height > 1 ? upper + count : upper;
    const down = rows.part[row];
    const up = 256 - down;
    for (let at = 0; at < count; at++) {
      const a = packed[upper + at];
      const b = packed[lower + at];
      const even = (((a & 0xff00ff) * up + (b & 0xff00ff) * down) >>> 8) & 0xff00ff;
      const odd = (((a >>> 8) & 0xff00ff) * up + ((b >>> 8) & 0xff00ff) * down) & 0xff00ff00;
      mixed[at] = even | odd;
    }
    const place = (row + top) * pitch + left;
    for (let column = 0; column < across; column++) {
      const from = froms[column];
      const level = line[from];
      const between = level + (((line[from + 1] - level) * parts[column]) >> 8);
      if (first) out[place + column] = words[between];
      else seen[column] = between;
    }
    if (!first) putRow(out, place, seen, 0, across, words, false);
  }
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** A copy of runs of labels with the outlines that they have, and the buffers that all this is in. */
function withOutlines(runs, height, width) {
  const found = { runs: runs.slice(), ...outlines(runs, height, width) };
  const buffers = [found.runs, found.points, found.starts, found.labels].map(({ buffer }) => buffer);
  return [{ ...found, bytes: sum(buffers.map(({ byteLength }) => byteLength)) }, buffers];
}

const MOST_SPARE = 2;
const spare = []; // memory of pictures that the page keeps no longer, which is used again

/** A picture as large as the canvas. Its pixels are to be set, all of them. */
function newPicture(width, height) {
  const length = 4 * width * height;
  const buffer = spare.pop();
  return { pixels: buffer?.byteLength === length ? buffer : new ArrayBuffer(length), width, height };
}

/** A frame as the canvas shows it, all but the number of the chosen cell. */
function stage(images, layers, labels, { canvas: { width, height }, view, unit, part, level, size, looks }) {
  const picture = newPicture(width, height);
  const sheet = { width, height, words: new Uint32Array(picture.pixels) };
  sheet.words.fill(word(EMPTY));
  const inside = (value, most) => Math.min(Math.max(Math.round(value), 0), most);
  const covered = placeOf(images[0] ?? size, { part, level, size, view });
  const area = {
    left: inside(covered.x, width),
    right: inside(covered.x + covered.width, width),
    top: inside(covered.y, height),
    bottom: inside(covered.y + covered.height, height),
  };
  if (images.length && area.left < area.right && area.top < area.bottom) {
    const at = { x: covered.x, y: covered.y, scale: covered.width / images[0].width };
    images.forEach((image, of) => putScaled(sheet, brighten(image, layers[of]), area, at, wordsOf(layers[of].colour), of === 0));
  }
  if (labels && looks.outlines) drawOutlines(sheet, labels, { view, unit, looks });
  return picture;
}

const tasks = {
  async stage(what) {
    const { images, layers, runs } = await rawFrame(what);
    const [labels, buffers] = runs ? withOutlines(runs, what.height, what.width) : [null, []];
    const painted = stage(images, layers, labels, what);
    return [{ painted, labels, bytes: painted.pixels.byteLength + (labels?.bytes ?? 0) }, [painted.pixels, ...buffers]];
  },
  async picture(what) {
    const { images, layers } = await rawFrame(what);
    if (!images.length) throw new Error("no channel is chosen");
    const bitmap = await createImageBitmap(compose(images, layers), AS_IS);
    return [{ bitmap, bytes: 4 * bitmap.width * bitmap.height }, [bitmap]];
  },
  async labels(what) {
    const { runs } = await rawFrame({ ...what, layers: [], labelled: true });
    return withOutlines(runs, what.height, what.width);
  },
  async raw(what) {
    return [{ bytes: await keepFrames(what, what.frames) }, []];
  },
};

self.addEventListener("message", async ({ data }) => {
  if (data.token !== undefined) {
    useToken(data.token);
    return;
  }
  if (data.spare !== undefined) {
    if (spare.length < MOST_SPARE) spare.push(data.spare);
    return;
  }
  try {
    const [result, given] = await tasks[data.task](data);
    self.postMessage({ id: data.id, result }, given);
  } catch (error) {
    self.postMessage({ id: data.id, trouble: error.message });
  }
});
