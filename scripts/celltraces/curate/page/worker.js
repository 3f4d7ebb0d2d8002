// Fetches frames and labels, lays channels over each other, and finds outlines, away from the page's own thread.

import { ask, useToken } from "./ask.js";
import { outlines } from "./outline.js";

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

const tasks = {
  async picture({ place, version, level, frame, layers }) {
    const images = await Promise.all(layers.map(({ name }) => pixels({ ...place, channel: name, level, frame }, version)));
    const same = images.filter(({ height, width }) => height === images[0].height && width === images[0].width);
    if (!same.length) throw new Error("no channel is chosen");
    const bitmap = await createImageBitmap(compose(same, layers));
    return [{ bitmap, bytes: 4 * bitmap.width * bitmap.height }, [bitmap]];
  },
  async labels({ place, frame, height, width }) {
    const runs = new Uint32Array(await (await ask("labels", { ...place, frame })).arrayBuffer());
    const found = { runs, ...outlines(runs, height, width) };
    const buffers = [runs, found.points, found.starts, found.labels].map(({ buffer }) => buffer);
    return [{ ...found, bytes: buffers.reduce((sum, { byteLength }) => sum + byteLength, 0) }, buffers];
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
