// Fetches frames and labels, lays channels over each other, and finds outlines, away from the page's own thread.

import { ask, useToken } from "./ask.js";
import { outlines } from "./outline.js";
import { drawOutlines, EMPTY, placeOf, SHARP } from "./paint.js";
import { word } from "./lines.js";

const MOST_BYTES = 48 * 2 ** 20; // of pixels as they came, so that a change of contrast asks for nothing
const kept = new Map();
let bytes = 0;

/** The pixels of a frame. version: of the FOV, which changes when a run makes it anew. */
async function pixels(query, version) {
  const key = JSON.stringify([query, version]);
  const known = kept.get(key);
  if (known) {
    kept.delete(key);
    kept.set(key, known);
    return known;
  }
  const response = await ask("frame", query);
  const [height, width, size] = response.headers.get("x-shape").split(",").map(Number);
  const buffer = await response.arrayBuffer();
  const image = { height, width, values: size === 1 ? new Uint8Array(buffer) : new Uint16Array(buffer), bytes: buffer.byteLength };
  if (!kept.has(key)) {
    kept.set(key, image);
    bytes += image.bytes;
  }
  for (const [old, { bytes: freed }] of kept) {
    if (bytes <= MOST_BYTES || kept.size === 1) break;
    kept.delete(old);
    bytes -= freed;
  }
  return image;
}

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

/** Channels over each other, as if projected onto one screen: no pixel gets darker by another channel. */
function compose(images, layers) {
  const { height, width } = images[0];
  const picture = new ImageData(width, height);
  const out = new Uint32Array(picture.data.buffer);
  out.fill(0xff000000);
  images.forEach(({ values }, at) => {
    const table = brightnesses(layers[at], values instanceof Uint8Array);
    const [red, green, blue] = layers[at].colour;
    const words = new Uint32Array(256);
    for (let level = 0; level < 256; level++) {
      words[level] = (0xff000000 | (((level * blue) / 255) << 16) | (((level * green) / 255) << 8) | ((level * red) / 255)) >>> 0;
    }
    if (at === 0) {
      for (let place = 0; place < out.length; place++) out[place] = words[table[values[place]]];
      return;
    }
    for (let place = 0; place < out.length; place++) {
      const level = table[values[place]];
      if (level < 2) continue;
      const [under, over] = [out[place], words[level]];
      let mixed = 0xff000000;
      for (let shift = 0; shift < 24; shift += 8) {
        const dark = ((255 - ((under >>> shift) & 255)) * (255 - ((over >>> shift) & 255)) * 257) >>> 16;
        mixed |= (255 - dark) << shift;
      }
      out[place] = mixed >>> 0;
    }
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

/** An image as a view of it shows it: pixels of `area`, which is the part of the canvas that it covers. */
function resample({ values, width, height }, { left, right, top, bottom }, { x, y }, scale) {
  const columns = places(left, right, x, scale, width);
  const rows = places(top, bottom, y, scale, height);
  const result = new values.constructor((right - left) * (bottom - top));
  const [next, below] = [width > 1 ? 1 : 0, height > 1 ? width : 0];
  let place = 0;
  for (let row = 0; row < bottom - top; row++) {
    const first = rows.at[row] * width;
    const down = rows.part[row];
    for (let column = 0; column < right - left; column++) {
      const at = first + columns.at[column];
      const on = columns.part[column];
      const upper = values[at] * (256 - on) + values[at + next] * on;
      const lower = values[at + below] * (256 - on) + values[at + below + next] * on;
      result[place++] = (upper * (256 - down) + lower * down) / 65536;
    }
  }
  return { values: result, width: right - left, height: bottom - top };
}

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** Channels of a frame that are of one size. */
async function layersOf({ place, version, level, part, frame, layers }) {
  const images = await Promise.all(layers.map(({ name }) => pixels({ ...place, ...part, channel: name, level, frame }, version)));
  return images.filter(({ height, width }) => height === images[0].height && width === images[0].width);
}

/** A frame as the canvas shows it, all but the number of the chosen cell. */
function stage(images, labels, { canvas: { width, height }, layers, view, unit, part, size, looks }) {
  const image = new ImageData(width, height);
  const words = new Uint32Array(image.data.buffer);
  words.fill(word(EMPTY));
  const inside = (value, most) => Math.min(Math.max(Math.round(value), 0), most);
  const covered = placeOf(part, size, view);
  const area = {
    left: inside(covered.x, width),
    right: inside(covered.x + covered.width, width),
    top: inside(covered.y, height),
    bottom: inside(covered.y + covered.height, height),
  };
  if (images.length && area.left < area.right && area.top < area.bottom) {
    const scale = covered.width / images[0].width;
    const seen = compose(images.map((one) => resample(one, area, covered, scale)), layers);
    const pixels = new Uint32Array(seen.data.buffer);
    for (let y = area.top; y < area.bottom; y++) {
      const row = (y - area.top) * seen.width;
      words.set(pixels.subarray(row, row + seen.width), y * width + area.left);
    }
  }
  if (labels && looks.outlines) drawOutlines({ words, width, height }, labels, { view, unit, looks });
  return image;
}

const tasks = {
  async stage(what) {
    const [images, [labels, buffers]] = await Promise.all([layersOf(what), what.labelled ? tasks.labels(what) : [null, []]]);
    const bitmap = await createImageBitmap(stage(images, labels, what), AS_IS);
    return [{ bitmap, labels, bytes: 4 * bitmap.width * bitmap.height + (labels?.bytes ?? 0) }, [bitmap, ...buffers]];
  },
  async picture(what) {
    const same = await layersOf(what);
    if (!same.length) throw new Error("no channel is chosen");
    const bitmap = await createImageBitmap(compose(same, what.layers), AS_IS);
    return [{ bitmap, bytes: 4 * bitmap.width * bitmap.height }, [bitmap]];
  },
  async labels({ place, frame, height, width }) {
    const runs = new Uint32Array(await (await ask("labels", { ...place, frame })).arrayBuffer());
    const found = { runs, ...outlines(runs, height, width) };
    const buffers = [runs, found.points, found.starts, found.labels].map(({ buffer }) => buffer);
    return [{ ...found, bytes: sum(buffers.map(({ byteLength }) => byteLength)) }, buffers];
  },
};

self.addEventListener("message", async ({ data }) => {
  if (data.token !== undefined) {
    useToken(data.token);
    return;
  }
  try {
    const [result, given] = await tasks[data.task](data);
    self.postMessage({ id: data.id, result }, given);
  } catch (error) {
    self.postMessage({ id: data.id, trouble: error.message });
  }
});
