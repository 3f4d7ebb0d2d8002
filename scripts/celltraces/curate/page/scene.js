// What is to be painted in a frame: which part of it, how large, with which channels and outlines; and what of it is there.

import * as frames from "./frames.js";
import { element } from "/page/shared.js";
import { boxOf, looksIn, state, wanted } from "./state.js";

export const canvas = element("image");
const LARGE = 6e6; // pixels of a frame from which on only what is in sight of it is fetched
const SMALL = 700; // px: images up to this length are shown as they are
const TILE = 512; // px: in steps of which it grows, so that not every movement of the view fetches anew; a power of 2
const STEADY_MS = 300; // so long after the view was moved, frames that are played are painted ahead
export const view = { scale: 1, x: 0, y: 0, fitted: true };
let moved = -Infinity; // when the view was moved last

export const viewMoved = () => {
  moved = performance.now();
};

/** Pixels of the screen for one of the page. */
export const density = () => window.devicePixelRatio || 1;

/** The view with the chosen cell in sight: in the middle while it is followed, else only where it is out of sight. */
export function viewIn(frame) {
  const box = state.cell === null ? null : boxOf(state.cell, frame);
  if (!box) return view;
  const [top, left, bottom, right] = [0, 1, 2, 3].map((at) => view[at % 2 ? "x" : "y"] + view.scale * box[at]);
  const out = left < 0 || top < 0 || right > canvas.width || bottom > canvas.height;
  if (!state.follow && (!out || view.fitted)) return view;
  const { scale } = view;
  const x = canvas.width / 2 - scale * ((box[1] + box[3]) / 2);
  const y = canvas.height / 2 - scale * ((box[0] + box[2]) / 2);
  return { scale, x, y, fitted: false };
}

/**
 * How large pictures are to be. level: each is half the size of that before it; the last one of which the screen shows
 * no more than it has. deep: whether they are to be of all counts, as the 8 bits of level 1 are not enough.
 * playing: frames that are played may be coarser.
 */
function detail(playing) {
  const layers = state.channels.filter(({ on: shown }) => shown);
  const enough = layers.every(({ half, low, high, limits }) => half && low >= limits[0] && high <= limits[1]);
  const finest = playing ? 1.3 : 0.75;
  let [level, scale, length] = [0, view.scale, Math.max(state.fov.height, state.fov.width)];
  for (; scale <= finest && length > SMALL; scale *= 2, length /= 2) level += 1;
  return { level, deep: level > 0 && !enough };
}

/** The part of a large frame that a view shows; null for all of it. */
function partIn({ x, y, scale }) {
  const { height, width } = state.fov;
  if (height * width < LARGE) return null;
  const from = (start, length) => Math.max(0, Math.min(Math.floor(-start / scale / TILE) * TILE, length - 1));
  const to = (start, extent, length) => Math.min(length, Math.max(1, Math.ceil((extent - start) / scale / TILE) * TILE));
  return { y0: from(y, height), x0: from(x, width), y1: to(y, canvas.height, height), x1: to(x, canvas.width, width) };
}

/**
 * What is to be painted in a frame. `staged`: by a worker, all of it ahead of time, while nobody moves the view. playing:
 * as it is while frames are played.
 */
export function scene(frame, playing = state.playing) {
  const { x, y, scale } = viewIn(frame);
  const size = detail(playing);
  const what = wanted(size, partIn({ x, y, scale }));
  const staged = playing && performance.now() - moved > STEADY_MS;
  const { width, height } = canvas;
  const whole = { x: Math.round(x), y: Math.round(y), scale };
  const image = { height: what.height, width: what.width };
  return { ...what, staged, view: whole, unit: density(), canvas: { width, height }, size: image, looks: looksIn(frame) };
}

/** What there is of a frame at once: { painted, labels } or { bitmap, labels }; null where something of it is to be fetched. */
export function ready(what, frame) {
  if (what.staged) return frames.ready(frames.stageKey(what, frame)) ?? null;
  const picture = what.layers.length ? frames.ready(frames.pictureKey(what, frame)) : null;
  const labels = state.fov.labels ? frames.ready(frames.labelsKey(what, frame)) : null;
  const late = (what.layers.length && !picture) || (state.fov.labels && !labels);
  return late ? null : { bitmap: picture?.bitmap, labels };
}

/** Fetch what is to be painted in a frame. together: frames that are wanted next, which may come in the same answer. */
export function fetchScene(what, frame, together = []) {
  if (what.staged) return frames.stage({ ...what, labelled: state.fov.labels, together }, frame);
  return Promise.all([what.layers.length ? frames.picture(what, frame) : null, state.fov.labels ? frames.labels(what, frame) : null]);
}
