// What the page shows at present, and who wants to know when it changes.

export const state = {
  results: null, // datasets and FOVs, as the server lists them
  fov: null, // the FOV that is shown, as the server describes it
  colours: {}, // of outlines, by what is said of a cell
  boxes: null, // Int32Array (cells, frames, 4): y0, x0, y1, x1
  frame: 0,
  cell: null, // number of the chosen cell
  channels: [], // { name, title, on, low, high, colour, limits, half, missing }
  outlines: true,
  follow: false,
  playing: false,
  asking: null, // what a click on a second cell is for: { words, then }
};

const listeners = new Map();

/**
 * Call `then` whenever one of these things changed: "results", "fov", "cells" (what is said of them), "tracks" (where
 * they are), "frame", "cell" (the chosen one), "channels", "view".
 */
export function on(names, then) {
  names.split(" ").forEach((name) => listeners.set(name, [...(listeners.get(name) ?? []), then]));
}

export function changed(...names) {
  const called = new Set(names.flatMap((name) => listeners.get(name) ?? []));
  called.forEach((then) => then());
}

const TOLD_MS = 100;

/**
 * A function that calls `then`, at most each 100 ms while frames are played: for what tells of the frame beside its image.
 * Nobody reads faster, and words and lines that change take as much time as the image. The last frame is always told of.
 */
export function calmly(then) {
  let [last, timer] = [-Infinity, 0];
  const tell = () => {
    clearTimeout(timer);
    [last, timer] = [performance.now(), 0];
    then();
  };
  return () => {
    const wait = state.playing ? last + TOLD_MS - performance.now() : 0;
    if (wait <= 0) tell();
    else if (!timer) timer = setTimeout(tell, wait);
  };
}

/** The place in the list of the cell with this number; -1 where there is none. */
export const rowOf = (cell) => state.fov?.rows.get(cell) ?? -1;

/** The box [y0, x0, y1, x1] of a cell in a frame; null where it is absent. */
export function boxOf(cell, frame) {
  const row = rowOf(cell);
  if (row < 0) return null;
  const start = 4 * (row * state.fov.frames + frame);
  const box = state.boxes.subarray(start, start + 4);
  return box[2] > box[0] ? box : null;
}

/** The cell that a region of the labels in a frame belongs to: its label, unless an edit gave it to another. */
export const cellOf = (label, frame) => state.fov.moved.get(frame)?.get(label) ?? label;

/** How cells look in a frame: what is said of them, and which one is chosen, with its box where it is there. */
export function looksIn(frame) {
  const { fov, cell, colours, outlines } = state;
  return {
    outlines,
    colours,
    chosen: cell,
    box: cell === null ? null : boxOf(cell, frame),
    states: fov.states,
    moved: fov.moved.get(frame) ?? new Map(),
    excluded: fov.excluded.get(frame) ?? new Set(),
    all: fov.wholeFrames.has(frame),
    told: fov.decided, // changes where anything of these does
  };
}

/**
 * What is asked of the server for pictures and labels of the FOV that is shown. level, deep: how large they are to be,
 * see `detail`; part: y0, x0, y1, x1, if not all.
 */
export function wanted({ level, deep }, part = null) {
  const { dataset, fov, version, height, width } = state.fov;
  const layers = state.channels
    .filter(({ on: shown }) => shown)
    .map(({ name, low, high, colour, limits }) => ({ name, low, high, colour, limits }));
  return { place: { dataset, fov }, version, level, deep, part, layers, height, width };
}

/** Tell a person, also one who does not see the page, what happened. */
export function say(words) {
  document.getElementById("live").textContent = words;
}

/** Show a line about something that went wrong; none hides it. */
export function trouble(words = "") {
  const line = document.getElementById("trouble");
  line.hidden = !words;
  line.querySelector("span").textContent = words;
}
