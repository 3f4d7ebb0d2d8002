// Pictures and labels of frames: asked for from two workers, kept within a number of bytes, fetched ahead.

const MOST_BYTES = 192 * 2 ** 20;
const WORKERS = 2;
const workers = [];
const waiting = new Map();
const kept = new Map(); // key -> { value, bytes, worker } or { promise }
let bytes = 0;
let last = 0;

/** Start the workers. */
export function start(token) {
  for (let at = 0; at < WORKERS; at++) {
    const worker = new Worker("/page/worker.js", { type: "module" });
    worker.postMessage({ token });
    worker.addEventListener("message", ({ data: { id, result, trouble } }) => {
      const { resolve, reject } = waiting.get(id);
      waiting.delete(id);
      if (trouble) reject(new Error(trouble));
      else resolve(result);
    });
    workers.push(worker);
  }
}

/** Those of some frames that the same worker works on as on a frame. */
export const ofSameWorker = (frame, others) => others.filter((other) => other % WORKERS === frame % WORKERS);

const workerOf = (frame) => workers[frame % WORKERS];

function assign(frame, message) {
  last += 1;
  const id = last;
  workerOf(frame).postMessage({ id, ...message });
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}

function forget(key) {
  const { value, bytes: freed, worker } = kept.get(key);
  value.bitmap?.close();
  if (value.painted) worker.postMessage({ spare: value.painted.pixels }, [value.painted.pixels]);
  kept.delete(key);
  bytes -= freed;
}

/** Whether something is there at once: it, or undefined. */
export function ready(key) {
  const known = kept.get(key);
  if (!known?.value) return undefined;
  kept.delete(key);
  kept.set(key, known);
  return known.value;
}

function get(key, frame, message) {
  const there = ready(key);
  if (there) return Promise.resolve(there);
  const known = kept.get(key);
  if (known) return known.promise;
  const promise = assign(frame, message).then(
    (value) => {
      kept.set(key, { value, bytes: value.bytes, worker: workerOf(frame) });
      bytes += value.bytes;
      for (const [old, { value: there }] of kept) {
        if (bytes <= MOST_BYTES) break;
        if (there && old !== key) forget(old);
      }
      return value;
    },
    (error) => {
      kept.delete(key);
      throw error;
    },
  );
  kept.set(key, { promise, bytes: 0 });
  return promise;
}

export const pictureKey = ({ place, version, level, deep, part, layers }, frame) =>
  JSON.stringify(["picture", place, version, level, deep, part, layers, frame]);
export const labelsKey = ({ place, version }, frame) => JSON.stringify(["labels", place, version, frame]);

/** Of what is to be painted, what is asked of the server: how some hundred cells look would be copied for nothing. */
const asked = ({ place, version, level, deep, part, layers, height, width, labelled }) => ({ place, version, level, deep, part, layers, height, width, labelled });

/** The picture of a frame: { bitmap }. what: place (dataset, fov), version, level, deep, part, layers, height, width. */
export const picture = (what, frame) =>
  get(pictureKey(what, frame), frame, { task: "picture", ...asked(what), frame });

/** Runs and outlines of the labels of a frame. */
export const labels = (what, frame) =>
  get(labelsKey(what, frame), frame, { task: "labels", ...asked(what), frame });

/** What a frame with its outlines is on the whole canvas. */
export const stageKey = ({ place, version, level, deep, part, layers, view, unit, canvas, looks: { outlines, chosen, told } }, frame) =>
  JSON.stringify(["stage", place, version, level, deep, part, layers, frame, view, unit, canvas, outlines, chosen, told]);

/** A frame painted as it will be shown: { painted: { pixels, width, height }, labels }. what: as for `picture`, and what `paint` takes. */
export const stage = (what, frame) => get(stageKey(what, frame), frame, { task: "stage", ...what, frame });

/** Fetch frames of one worker, so that it has them when they are to be painted: { bytes }. what: as for `stage`. */
export const raw = (what, frames) => assign(frames[0], { task: "raw", ...asked(what), frames });

/** How many answers of the workers are still to come. */
export const pending = () => waiting.size;
/** Bytes of what is kept. */
export const keptBytes = () => bytes;
