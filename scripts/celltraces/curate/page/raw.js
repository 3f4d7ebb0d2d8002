// Pixels and labels of frames as the server sends them, for a worker: asked for once, kept within a number of bytes.

import { ask, bodyOf } from "./ask.js";

const MOST_BYTES = 48 * 2 ** 20; // so that a change of contrast asks for nothing
const MOST_IN_ANSWER = 8 * 2 ** 20; // of pixels, that the server sends of more than one channel
const LABELS = "labels"; // beside the names of channels; no channel has this name
const kept = new Map(); // name of a thing -> { bytes, and either values, height, width or runs }
const coming = new Map(); // name of a frame -> what its answer will hold
let bytes = 0;

const queryOf = ({ place, part, level, deep }) => ({ ...place, ...part, level, ...(deep ? { deep: 1 } : {}) });

/** What a channel, or the labels, of a frame are kept under. Labels are the same at each level. */
const keyOf = (what, frame, name) => JSON.stringify([name === LABELS ? what.place : queryOf(what), what.version, name, frame]);

/** What is kept under a name, which is then the last to be forgotten; undefined where nothing is. */
function known(key) {
  const thing = kept.get(key);
  if (thing) {
    kept.delete(key);
    kept.set(key, thing);
  }
  return thing;
}

function keep(key, thing) {
  bytes += thing.bytes - (kept.get(key)?.bytes ?? 0);
  kept.delete(key);
  kept.set(key, thing);
  for (const [old, { bytes: freed }] of kept) {
    if (bytes <= MOST_BYTES || kept.size === 1) break;
    kept.delete(old);
    bytes -= freed;
  }
}

/** The names of what is wanted of a frame: its channels, and with `labelled` its labels. */
const namesOf = ({ layers, labelled = false }) => [...layers.map(({ name }) => name), ...(labelled ? [LABELS] : [])];

const lackingIn = (what, frame) => namesOf(what).filter((name) => !kept.has(keyOf(what, frame, name)));

const frameKey = (what, frame) => JSON.stringify([queryOf(what), what.version, namesOf(what), frame]);

/** Bytes of the pixels of a channel in a frame. */
export function pixelBytes({ part, level, deep, height, width }) {
  const pixels = (part ? (part.y1 - part.y0) * (part.x1 - part.x0) : height * width) / 4 ** level;
  return pixels * (deep || level === 0 ? 2 : 1);
}

/** Ask for things of some frames: things by name, by frame. All in one answer, unless they are more than that holds. */
async function request(what, frames, names) {
  const channels = names.filter((name) => name !== LABELS);
  if (frames.length === 1 && channels.length > 1 && channels.length * pixelBytes(what) > MOST_IN_ANSWER) {
    const things = new Map();
    for (const name of names) {
      const answer = await requestTogether(what, frames, [name]);
      things.set(name, answer.get(frames[0]).get(name));
    }
    return new Map([[frames[0], things]]);
  }
  return requestTogether(what, frames, names);
}

async function requestTogether(what, frames, names) {
  const channels = names.filter((name) => name !== LABELS);
  const labelled = channels.length < names.length;
  const query = { ...queryOf(what), frame: frames, ...(channels.length ? { channel: channels } : {}), ...(labelled ? { labels: 1 } : {}) };
  const response = await ask("frame", query);
  const buffer = await bodyOf(response, "arrayBuffer");
  const shapes = channels.length ? response.headers.get("x-shape").split(";") : [];
  const lengths = labelled ? response.headers.get("x-runs").split(",").map(Number) : [];
  const answer = new Map();
  let end = 0;
  const next = (length) => buffer.slice(end, (end += length));
  frames.forEach((frame, at) => {
    const things = new Map();
    shapes.forEach((shape, of) => {
      const [height, width, size] = shape.split(",").map(Number);
      const length = height * width * size;
      const values = size === 1 ? new Uint8Array(next(length)) : new Uint16Array(next(length));
      things.set(channels[of], { height, width, values, bytes: length });
    });
    if (labelled) things.set(LABELS, { runs: new Uint32Array(next(lengths[at])), bytes: lengths[at] });
    things.forEach((thing, name) => keep(keyOf(what, frame, name), thing));
    answer.set(frame, things);
  });
  return answer;
}

/** Ask for what is lacking of a frame; with it come those of `together` of which the same is lacking. */
function fetchTogether(what, frame, together, lacking) {
  const same = (other) => String(lackingIn(what, other)) === String(lacking) && !coming.has(frameKey(what, other));
  const frames = [frame, ...together.filter((other) => other !== frame && same(other))];
  const keys = frames.map((one) => frameKey(what, one));
  const answer = request(what, frames, lacking).finally(() => keys.forEach((key) => coming.delete(key)));
  keys.forEach((key) => coming.set(key, answer));
  return answer;
}

/**
 * The channels of a frame, and with `labelled` the runs of its labels: { images, layers, runs }; images are of one size.
 * together: frames that are wanted next, which may come in the same answer.
 */
export async function rawFrame(what) {
  const { frame, layers, together = [] } = what;
  let answer = await coming.get(frameKey(what, frame))?.catch(() => undefined); // damage in another frame is not this one's
  const there = new Map(namesOf(what).map((name) => [name, known(keyOf(what, frame, name)) ?? answer?.get(frame)?.get(name)]));
  const lacking = [...there].filter(([, thing]) => !thing).map(([name]) => name);
  if (lacking.length) {
    try {
      answer = await fetchTogether(what, frame, together, lacking);
    } catch (error) {
      if (!together.length) throw error;
      answer = await request(what, [frame], lacking);
    }
    answer.get(frame).forEach((thing, name) => there.set(name, thing));
  }
  const images = layers.map(({ name }) => there.get(name));
  const same = layers.filter((_, at) => images[at].height === images[0].height && images[at].width === images[0].width);
  return { images: same.map(({ name }) => there.get(name)), layers: same, runs: there.get(LABELS)?.runs ?? null };
}

/** Fetch those of some frames that are not kept here; how many bytes all of them are. */
export async function keepFrames(what, frames) {
  for (const [at, frame] of frames.entries()) {
    if (lackingIn(what, frame).length) await rawFrame({ ...what, frame, together: frames.slice(at + 1) });
  }
  const keys = frames.flatMap((frame) => namesOf(what).map((name) => keyOf(what, frame, name)));
  return keys.reduce((total, key) => total + (kept.get(key)?.bytes ?? 0), 0);
}
