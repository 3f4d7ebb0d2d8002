// The image with outlines: drawn on a canvas, zoomed, panned, clicked.

import * as frames from "./frames.js";
import { labelNear } from "./outline.js";
import { EMPTY, drawNumber, paint } from "./paint.js";
import { element } from "/page/shared.js";
import { boxOf, cellOf, looksIn, on, state, trouble, wanted } from "./state.js";

const canvas = element("image");
const pen = canvas.getContext("2d", { alpha: false });
const NEAR = 3; // pixels on the screen or of the image, whichever is more: a click this near to a cell is on it
const MOST_ZOOM = 24;
const AHEAD = 3; // frames fetched before they are wanted
const LARGE = 6e6; // pixels of a frame from which on only what is in sight of it is fetched
const SMALL = 700; // px: images up to this length are shown as they are
const TILE = 512; // px: in steps of which it grows, so that not every movement of the view fetches anew; a power of 2
const STEADY_MS = 300; // so long after the view was moved, frames that are played are painted ahead
const view = { scale: 1, x: 0, y: 0, fitted: true };
let moved = -Infinity; // when the view was moved last
let drawn = null; // frame and labels that are on the screen
let queued = false;

/** Pixels of the screen for one of the page. */
const density = () => window.devicePixelRatio || 1;

function resize() {
  const { clientWidth, clientHeight } = canvas.parentElement;
  canvas.width = Math.max(1, Math.round(clientWidth * density()));
  canvas.height = Math.max(1, Math.round(clientHeight * density()));
  if (view.fitted) fit();
  draw();
}

/** Show the whole image. */
export function fit() {
  if (!state.fov) return;
  const { height, width } = state.fov;
  view.scale = Math.min(canvas.width / width, canvas.height / height);
  view.x = (canvas.width - width * view.scale) / 2;
  view.y = (canvas.height - height * view.scale) / 2;
  view.fitted = true;
  draw();
}

/** Zoom by a factor about a point of the canvas; about its middle where none is given. */
export function zoom(factor, x = canvas.width / 2, y = canvas.height / 2) {
  const { height, width } = state.fov;
  const least = 0.8 * Math.min(canvas.width / width, canvas.height / height);
  const scale = Math.min(MOST_ZOOM * density(), Math.max(least, view.scale * factor));
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
  view.fitted = false;
  moved = performance.now();
  draw();
}

/** The view with the chosen cell in sight: in the middle while it is followed, else only where it is out of sight. */
function viewIn(frame) {
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

/** Bring the chosen cell into sight. */
export const reveal = () => Object.assign(view, viewIn(state.frame));

/**
 * How large pictures are to be. level: each is half the size of that before it; the last one of which the screen shows
 * no more than it has. deep: whether they are to be of all counts, as the 8 bits of level 1 are not enough.
 */
function detail() {
  const layers = state.channels.filter(({ on: shown }) => shown);
  const enough = layers.every(({ half, low, high, limits }) => half && low >= limits[0] && high <= limits[1]);
  const finest = state.playing ? 1.3 : 0.75;
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

/** Draw at the next moment at which the screen is renewed; many wishes are one drawing. */
export function draw() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    paintNow();
  });
}

/** What is to be painted in a frame; `staged`: by a worker, all of it ahead of time, while nobody moves the view. */
function scene(frame) {
  const { x, y, scale } = viewIn(frame);
  const size = detail();
  const what = wanted(size, partIn({ x, y, scale }));
  const staged = state.playing && performance.now() - moved > STEADY_MS;
  const { width, height } = canvas;
  const whole = { x: Math.round(x), y: Math.round(y), scale };
  const image = { height: what.height, width: what.width };
  return { ...what, staged, view: whole, unit: density(), canvas: { width, height }, size: image, looks: looksIn(frame) };
}

/** What there is of a frame at once: { bitmap, labels, staged }; null where something of it is to be fetched. */
function ready(what, frame) {
  if (what.staged) {
    const stage = frames.ready(frames.stageKey(what, frame));
    return stage ? { ...stage, staged: true } : null;
  }
  const picture = what.layers.length ? frames.ready(frames.pictureKey(what, frame)) : null;
  const labels = state.fov.labels ? frames.ready(frames.labelsKey(what, frame)) : null;
  const late = (what.layers.length && !picture) || (state.fov.labels && !labels);
  return late ? null : { bitmap: picture?.bitmap, labels, staged: false };
}

/** Fetch what is to be painted in a frame. */
function fetchScene(what, frame) {
  if (what.staged) return frames.stage({ ...what, labelled: state.fov.labels }, frame);
  return Promise.all([what.layers.length ? frames.picture(what, frame) : null, state.fov.labels ? frames.labels(what, frame) : null]);
}

/** Paint what is there; asks for what is not, and paints again when it comes. */
export function paintNow() {
  if (!state.fov || !state.fov.channels.length) {
    blank();
    return;
  }
  const { frame } = state;
  const what = scene(frame);
  const there = ready(what, frame);
  if (!there) {
    fetchNow(what, frame);
    return; // the last picture stays until this one is there: no flicker
  }
  if (there.staged) pen.drawImage(there.bitmap, 0, 0);
  else paint(pen, there.bitmap, there.labels, what);
  drawNumber(pen, what);
  drawn = { frame, labels: there.labels };
  canvas.dataset.frame = frame;
  canvas.dataset.drawn = `${what.place.dataset} ${what.place.fov} ${frame}`;
  fetchAhead();
}

/** Show nothing, rather than a frame that is not the chosen one. */
function blank() {
  pen.fillStyle = EMPTY;
  pen.fillRect(0, 0, canvas.width, canvas.height);
  drawn = null;
}

function fetchNow(what, frame) {
  fetchScene(what, frame).then(
    () => {
      if (state.fov && frame === state.frame) draw();
    },
    (error) => {
      trouble(error.message);
      if (state.fov && frame === state.frame) blank();
    },
  );
}

/** Fetch the frames that are likely wanted next, after this one is on the screen. */
function fetchAhead() {
  if (frames.pending() > 4) return;
  const { frame: now, fov, playing } = state;
  const { part, level, deep } = scene(now);
  const dear = part && (level === 0 || deep); // the server has to read all of a large frame to give a part
  const ahead = Array.from({ length: (dear ? 1 : AHEAD) * (playing ? 2 : 1) }, (_, at) => at + 1);
  const steps = playing ? ahead : ahead.flatMap((step) => [step, -step]);
  const inside = (frame) => frame >= 0 && frame < fov.frames;
  const coming = playing ? steps.map((step) => (now + step) % fov.frames) : steps.map((step) => now + step).filter(inside);
  // A damaged frame is told of when it is looked at.
  coming.forEach(untilReady);
}

/** Fetch a frame; done when it is there, or cannot be had. */
export function untilReady(frame) {
  const name = nameOf(frame);
  return fetchScene(scene(frame), frame).then(() => failed.delete(name), () => failed.add(name));
}

const failed = new Set(); // frames that could not be fetched
const nameOf = (frame) => JSON.stringify([state.fov.dataset, state.fov.fov, state.fov.version, frame]);

/** Whether a frame could be drawn at once, or not at all; if not, it is fetched. */
export function isReady(frame) {
  if (failed.has(nameOf(frame)) || ready(scene(frame), frame)) return true;
  fetchAhead();
  return false;
}

// ------------------------------------------------------------------------------------------------------- the mouse

/** A point of the window in pixels of the canvas. */
function onCanvas(event) {
  const frame = canvas.getBoundingClientRect();
  return [(event.clientX - frame.left) * density(), (event.clientY - frame.top) * density()];
}

/** The cell at a point of the window, or near it; null where there is none. */
export function cellAt(event) {
  if (!drawn?.labels || drawn.frame !== state.frame || !state.fov) return null;
  const [x, y] = onCanvas(event);
  const within = Math.max(NEAR, (NEAR * density()) / view.scale);
  const { height, width } = state.fov;
  const label = labelNear(drawn.labels.runs, height, width, (x - view.x) / view.scale, (y - view.y) / view.scale, within);
  return label ? cellOf(label, state.frame) || null : null;
}

/** Where the middle of a cell is in the window: for tests and for what points to it. */
export function placeOf(cell) {
  const box = boxOf(cell, state.frame);
  if (!box) return null;
  const frame = canvas.getBoundingClientRect();
  return [
    frame.left + (view.x + (view.scale * (box[1] + box[3])) / 2) / density(),
    frame.top + (view.y + (view.scale * (box[0] + box[2])) / 2) / density(),
  ];
}

/** Make the canvas zoom, pan and choose. choose: called with a cell (or null) that was clicked; mark: right click. */
export function connect({ choose, mark }) {
  new ResizeObserver(resize).observe(canvas.parentElement);
  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    held = { x: event.clientX, y: event.clientY, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return;
    const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
    if (!held.moved && Math.hypot(dx, dy) < 4) return;
    Object.assign(held, { moved: true, x: event.clientX, y: event.clientY });
    view.x += dx * density();
    view.y += dy * density();
    view.fitted = false;
    moved = performance.now();
    canvas.classList.add("dragged");
    draw();
  });
  canvas.addEventListener("pointerup", (event) => {
    if (held && !held.moved) choose(cellAt(event));
    held = null;
    canvas.classList.remove("dragged");
  });
  canvas.addEventListener("pointercancel", () => {
    held = null;
  });
  canvas.addEventListener("contextmenu", (event) => {
    event.preventDefault();
    const cell = cellAt(event);
    if (cell !== null) mark(cell);
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      if (!state.fov) return;
      zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), ...onCanvas(event));
    },
    { passive: false },
  );
  canvas.addEventListener("dblclick", () => fit());
  on("frame cell", () => {
    reveal();
    draw();
  });
  on("cells channels view", draw);
  let place = "";
  on("fov", () => {
    drawn = null;
    const { dataset, fov, height, width } = state.fov;
    const now = [dataset, fov, height, width].join(" ");
    if (now === place) draw(); // a run made it anew: what a person looks at stays in sight
    else fit();
    place = now;
  });
}
