// Fetches frames before they are wanted: those next to the one on the screen, and while nobody does anything what playing
// from there on would ask for.

import * as frames from "./frames.js";
import { pixelBytes } from "./raw.js";
import { fetchScene, ready, scene } from "./scene.js";
import { state } from "./state.js";

const AHEAD = 3; // frames fetched before they are wanted
const MOST_PENDING = 4; // answers of workers to wait for, above which no more is asked for
const ANSWER_BYTES = 2 ** 20; // of pixels, about: so many frames of one worker come in an answer
const MOST_TOGETHER = 4; // frames in an answer
const LINGER_MS = 40; // so long after another place was shown, its neighbours are fetched; who plays at once needs others
const IDLE_MS = 150; // so long after the last frame was painted, nobody does anything
const IDLE_BYTES = 32 * 2 ** 20; // that both workers get meanwhile, of pixels and labels; each keeps 48 MiB
const IDLE_PAINTED = 4; // frames that are painted meanwhile as they will be played

/** The frames from one on to be played, each once. */
const fromOn = (first) => Array.from({ length: state.fov.frames }, (_, step) => (first + step) % state.fov.frames);

/** Whether the server has to read all of a large frame for what is wanted. */
const isDear = ({ part, level, deep }) => part && (level === 0 || deep);

/** How many frames come in one answer. */
function atOnce(what) {
  const bytes = what.layers.length * pixelBytes(what);
  return Math.min(Math.max(Math.floor(ANSWER_BYTES / Math.max(bytes, 1)), 1), MOST_TOGETHER);
}

/** The frames after one that the same worker paints next. Those that are wanted at once come alone, and so the sooner. */
function together(what, frame) {
  const { frame: now, fov } = state;
  if ((frame - now + fov.frames) % fov.frames <= 2) return [];
  return frames.ofSameWorker(frame, fromOn(frame).slice(1, 3 * MOST_TOGETHER)).slice(0, atOnce(what) - 1);
}

let shown = null; // the frame that was on the screen before

let lingering = 0; // the timer

/** Fetch the frames that are likely wanted next, after this one is on the screen. */
export function fetchAhead() {
  const { frame: now, fov, playing } = state;
  const step = shown === null ? 0 : now - shown;
  shown = now;
  clearTimeout(lingering);
  if (frames.pending() > MOST_PENDING) return;
  const most = isDear(scene(now)) ? 1 : AHEAD;
  const some = (count) => Array.from({ length: count }, (_, at) => at + 1);
  const inside = (frame) => frame >= 0 && frame < fov.frames;
  // A damaged frame is told of when it is looked at.
  if (playing) some(2 * most).forEach((ahead) => untilReady((now + ahead) % fov.frames));
  else if (Math.abs(step) === 1) some(most).map((ahead) => now + step * ahead).filter(inside).forEach(untilReady);
  else {
    // Who has just come here may go either way, or play, for which more than the next frames would be in the way.
    const neighbours = () => state.fov === fov && state.frame === now && !state.playing && [now + 1, now - 1].filter(inside).forEach(untilReady);
    lingering = setTimeout(neighbours, LINGER_MS);
  }
}

/** Fetch a frame; done when it is there, or cannot be had. */
export function untilReady(frame) {
  const name = nameOf(frame);
  const what = scene(frame);
  return fetchScene(what, frame, what.staged ? together(what, frame) : []).then(() => failed.delete(name), () => failed.add(name));
}

const failed = new Set(); // frames that could not be fetched
const nameOf = (frame) => JSON.stringify([state.fov.dataset, state.fov.fov, state.fov.version, frame]);

/** Whether a frame could be drawn at once, or not at all; if not, it is fetched. */
export function isReady(frame) {
  if (failed.has(nameOf(frame)) || ready(scene(frame), frame)) return true;
  fetchAhead();
  return false;
}

let waiting = 0; // the timer
let round = 0; // how often a frame was painted

/** Call when a frame was painted: once nobody does anything, what playing would ask for is fetched. */
export function prepareToPlay() {
  round += 1;
  clearTimeout(waiting);
  delete document.body.dataset.prepared;
  if (!state.playing && state.fov.frames > 1) waiting = setTimeout(prepare, IDLE_MS, round);
}

async function prepare(mine) {
  const still = () => mine === round && !state.playing && !document.hidden;
  const { frame: now } = state;
  const what = { ...scene(now, true), labelled: state.fov.labels };
  const lists = [now, now + 1].map((first) => frames.ofSameWorker(first, fromOn(now))).filter((list) => list.length);
  let bytes = 0;
  for (let painted = false; lists.some((list) => list.length) && bytes < IDLE_BYTES && still(); painted = true) {
    const parts = lists.map((list) => list.splice(0, atOnce(what))).filter((part) => part.length);
    // A damaged frame is told of when it is looked at.
    const found = await Promise.all(parts.map((part) => frames.raw(what, part).catch(() => null)));
    if (found.every((one) => one === null)) return;
    bytes += found.reduce((total, one) => total + (one?.bytes ?? 0), 0);
    if (painted || !still()) continue;
    const first = fromOn(now).slice(0, IDLE_PAINTED);
    await Promise.all(first.map((frame) => fetchScene(scene(frame, true), frame).catch(() => null)));
  }
  if (still()) document.body.dataset.prepared = "yes"; // for tests
}
