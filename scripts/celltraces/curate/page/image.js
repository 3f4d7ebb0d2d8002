// The image with outlines: drawn on a canvas, zoomed, panned, clicked.

import { fetchAhead, prepareToPlay } from "./ahead.js";
import { labelNear } from "./outline.js";
import { EMPTY, drawNumber, paint, put } from "./paint.js";
import { canvas, density, fetchScene, ready, scene, view, viewIn, viewMoved } from "./scene.js";
import { element } from "/page/shared.js";
import { boxOf, cellOf, on, state, trouble } from "./state.js";

const pen = canvas.getContext("2d", { alpha: false });
const NEAR = 3; // pixels on the screen or of the image, whichever is more: a click this near to a cell is on it
const MOST_ZOOM = 24;
let drawn = null; // frame and labels that are on the screen
let queued = false;

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
  viewMoved();
  draw();
}

/** Bring the chosen cell into sight. */
export const reveal = () => Object.assign(view, viewIn(state.frame));

/** Draw at the next moment at which the screen is renewed; many wishes are one drawing. */
export function draw() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    paintNow();
  });
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
  if (there.painted) put(pen, there.painted);
  else paint(pen, there.bitmap, there.labels, what);
  drawNumber(pen, what);
  drawn = { frame, labels: there.labels };
  canvas.dataset.frame = frame;
  canvas.dataset.drawn = `${what.place.dataset} ${what.place.fov} ${frame}`;
  fetchAhead();
  prepareToPlay();
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
    viewMoved();
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
    if (state.playing) paintNow(); // it was asked for as the screen is being renewed: the next time is a frame later
    else draw();
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
