// Puts the page together: opens a FOV, chooses cells, and connects the parts.

import { askBytes, askJson, findToken, told, useToken } from "./ask.js";
import * as channels from "./channels.js";
import * as decisions from "./decisions.js";
import * as fovs from "./fovs.js";
import * as frames from "./frames.js";
import * as image from "./image.js";
import * as keys from "./keys.js";
import * as list from "./list.js";
import { element } from "/page/shared.js";
import { boxOf, changed, on, reasonOf, rowOf, say, state, trouble } from "./state.js";
import * as timeline from "./timeline.js";
import * as traces from "./traces.js";

const LOOK_AGAIN_MS = 3000;
let opening = 0;
let missed = null; // the cell that was chosen before a run took the cells away, to make them anew

/** Values by frame: rows [frame, ...] become what `put` adds them to. */
function byFrame(rows, make, put) {
  const found = new Map();
  rows.forEach(([frame, ...row]) => {
    if (!found.has(frame)) found.set(frame, make());
    put(found.get(frame), ...row);
  });
  return found;
}

/** What follows from the server's words about the cells of a FOV. */
function withCells(fov) {
  const rows = new Map(fov.cells.n.map((cell, row) => [cell, row]));
  const states = new Map(fov.cells.n.map((cell, row) => [cell, fov.cells.state[row]]));
  const moved = byFrame(fov.moved, () => new Map(), (labels, label, cell) => labels.set(label, cell));
  const excluded = byFrame(fov.excluded.map(([cell, frame]) => [frame, cell]), () => new Set(), (cells, cell) => cells.add(cell));
  const wholeFrames = new Set(fov.excluded_frames);
  const excludedIn = (cell, frame) => wholeFrames.has(frame) || Boolean(excluded.get(frame)?.has(cell));
  const edited = new Set(fov.edits.filter(({ undone }) => !undone).flatMap(({ frames: of }) => of));
  return { ...fov, rows, states, moved, excluded, wholeFrames, excludedIn, edited };
}

/** Show a FOV. cell, frame: what to choose in it. again: because a run made it anew. */
async function open({ dataset, fov, cell = null, frame = null, again = false }) {
  opening += 1;
  const mine = opening;
  decisions.stopAsking();
  if (!again) timeline.play(false);
  try {
    const query = { dataset, fov };
    const [found, boxes] = await Promise.all([askJson("fov", query), askBytes("boxes", query)]);
    if (mine !== opening) return;
    const same = state.fov && state.fov.dataset === dataset && state.fov.fov === fov;
    found.missing = new Set(found.channels[0]?.missing ?? []);
    found.found = new Set(found.findings.filter((row) => row.frame !== "").map((row) => Number(row.frame)));
    state.fov = withCells(found);
    state.boxes = new Int32Array(boxes);
    state.frame = Math.min(frame ?? (same ? state.frame : 0), Math.max(found.frames - 1, 0));
    const wanted = cell ?? (same ? state.cell ?? missed : null);
    state.cell = wanted !== null && rowOf(wanted) >= 0 ? wanted : null;
    missed = found.cells.n.length ? null : wanted;
    trouble(found.problems.join("; "));
    element("findings").replaceChildren(
      ...found.findings.slice(0, 40).map((row) => {
        const item = document.createElement("li");
        item.textContent = `${row.frame === "" ? "" : `frame ${row.frame}: `}${row.check}: ${row.meaning}`;
        return item;
      }),
    );
    element("findings-box").hidden = !found.findings.length;
    element("findings-box").querySelector("summary").textContent = `${found.findings.length} finding${found.findings.length === 1 ? "" : "s"}`;
    changed("fov", "frame", "cell");
    if (cell !== null && state.cell === null) trouble(`There is no cell ${cell} in FOV ${fov} of ${dataset}.`);
    document.title = `${dataset}, FOV ${fov}`;
    document.body.dataset.fov = `${dataset} ${fov}`;
    document.body.dataset.version = found.version;
    say(again ? `FOV ${fov} was made anew by a run and is shown as it is now.` : `${dataset}, FOV ${fov}: ${found.cells.n.length} cells`);
  } catch (error) {
    if (mine === opening) trouble(error.message);
  }
}

/**
 * What the server says after a decision: cells, and where regions changed their cells also boxes. chosen: the cell that was
 * chosen when it was made.
 */
async function taken(answer, chosen = null) {
  if (!state.fov || answer.dataset !== state.fov.dataset || answer.fov !== state.fov.fov) return;
  const tracks = answer.tracks !== state.fov.tracks;
  if (tracks) {
    state.boxes = new Int32Array(await askBytes("boxes", { dataset: answer.dataset, fov: answer.fov }));
  }
  state.fov = withCells({ ...state.fov, ...answer });
  const { cell, split_off: splitOff } = answer;
  if (splitOff && state.cell === chosen) state.cell = cell; // the part that is in sight
  if (state.cell === null || rowOf(state.cell) < 0) state.cell = cell && rowOf(cell) >= 0 ? cell : null;
  changed("cells", "cell", ...(tracks ? ["tracks"] : []));
}

function choose(cell) {
  if (decisions.answered(cell)) return;
  if (cell === null) {
    if (state.asking) return;
    if (state.cell !== null) {
      state.cell = null;
      changed("cell");
      say("No cell is chosen.");
    }
    return;
  }
  if (rowOf(cell) < 0) return;
  state.cell = cell;
  if (!boxOf(cell, state.frame)) {
    const row = rowOf(cell);
    const { first, last } = state.fov.cells;
    const near = Math.min(Math.max(state.frame, first[row]), last[row]);
    if (boxOf(cell, near)) timeline.goTo(near);
  }
  changed("cell");
  const row = rowOf(cell);
  say(`cell ${cell}, ${state.fov.cells.state[row]}${reasonOf(row) ? `: ${reasonOf(row)}` : ""}`);
}

/** The next cell of the list; while a second cell is asked for, the next one that Enter would take. */
function step(by) {
  if (state.asking) {
    const cell = list.neighbour(by, state.asking.offered ?? state.cell);
    state.asking.offered = cell;
    list.offer(cell);
    if (cell !== null) say(`cell ${cell}: Enter takes it`);
    return;
  }
  const cell = list.neighbour(by);
  if (cell !== null) choose(cell);
}

function enter() {
  if (!state.asking) return;
  const { offered, finish } = state.asking;
  if (offered !== undefined && offered !== null) choose(offered);
  else finish?.();
}

function stepFov(by) {
  const next = fovs.neighbour(by);
  if (next) open(next);
}

async function seenAndOn() {
  if (state.cell === null) {
    step(0);
    return;
  }
  const next = list.nextUnseen();
  if (!(await decisions.mark("seen"))) return;
  if (next === null) say("All cells of the list are seen.");
  else choose(next);
}

function askNote() {
  if (decisions.isClosed()) return;
  if (state.cell === null) {
    say("Choose a cell first.");
    return;
  }
  const dialog = element("note");
  element("note-title").textContent = `Note on cell ${state.cell}`;
  element("note-text").value = state.fov.cells.notes[rowOf(state.cell)] ?? "";
  dialog.showModal();
  element("note-text").focus();
}

function toggle(name, words) {
  state[name] = !state[name];
  element(name).setAttribute("aria-pressed", state[name]);
  say(`${words} ${state[name] ? "on" : "off"}`);
  image.reveal();
  changed("view");
}

function escape() {
  if (decisions.stopAsking()) say("Nothing was decided.");
  else choose(null);
}

const ACTIONS = [
  [["ArrowLeft", "ArrowRight"], "one frame back, on", ({ key }) => timeline.goTo(state.frame + (key === "ArrowLeft" ? -1 : 1))],
  [["Shift+ArrowLeft", "Shift+ArrowRight"], "ten frames", ({ key }) => timeline.goTo(state.frame + (key === "ArrowLeft" ? -10 : 10))],
  [["Home", "End"], "first, last frame", ({ key }) => timeline.goTo(key === "Home" ? 0 : Infinity)],
  [[" "], "play, stop", () => timeline.play()],
  [["ArrowUp", "ArrowDown"], "cell before, after, in the list", ({ key }) => step(key === "ArrowUp" ? -1 : 1)],
  [["PageUp", "PageDown"], "FOV before, after", ({ key }) => stepFov(key === "PageUp" ? -1 : 1)],
  [["b"], "bad: out of the tables", () => decisions.mark("bad")],
  [["g"], "good: in the tables, also where a filter left it out", () => decisions.mark("good")],
  [["a"], "seen, and on to the next cell that is not", seenAndOn],
  [["x"], "leave this frame of the cell out", () => decisions.excludeHere(false)],
  [["Shift+x"], "leave this frame out for all cells", () => decisions.excludeHere(true)],
  [["s"], "split: a new cell from this frame on", () => decisions.split()],
  [["j"], "join with another cell", () => decisions.join()],
  [["w"], "swap with another cell from this frame on", () => decisions.swap()],
  [["d"], "division: the cell divides in this frame", () => decisions.divide()],
  [["Delete"], "delete the cell: its regions become background", () => decisions.remove(false)],
  [["Shift+Delete"], "delete it in this frame only", () => decisions.remove(true)],
  [["n"], "note on the cell", askNote],
  [["z"], "undo", () => decisions.undo()],
  [["Shift+z"], "redo, until the next decision", () => decisions.redo()],
  [["o"], "outlines on, off", () => toggle("outlines", "Outlines")],
  [["f"], "follow the cell", () => toggle("follow", "Following the cell")],
  [["1", "2", "3", "4", "5", "6", "7", "8", "9"], "channels on, off", ({ key }) => channels.toggle(Number(key) - 1)],
  [["+", "-", "0"], "closer, farther, all of the image", ({ key }) => (key === "0" ? image.fit() : image.zoom(key === "+" ? 1.4 : 1 / 1.4))],
  [["="], "", () => image.zoom(1.4)],
  [["/"], "find a cell", () => element("find").focus()],
  [["Enter"], "", enter],
  [["?"], "these keys", () => element("help").showModal()],
  [["Escape"], "stop asking; choose no cell", escape],
];

/** The address says what is shown, so that it can be kept, sent to oneself, and loaded again. */
function keepPlace() {
  if (!state.fov) return;
  const words = new URLSearchParams({ dataset: state.fov.dataset, fov: state.fov.fov, frame: state.frame });
  if (state.cell !== null) words.set("cell", state.cell);
  const token = told().get("token"); // still there where nothing can be remembered
  if (token) words.set("token", token);
  history.replaceState(null, "", `#${words}`);
}

function asked() {
  const words = told();
  const number = (name) => (/^\d{1,9}$/.test(words.get(name) ?? "") ? Number(words.get(name)) : null);
  const wrong = ["fov", "cell", "frame"].filter((name) => words.has(name) && number(name) === null);
  return { dataset: words.get("dataset"), fov: number("fov"), cell: number("cell"), frame: number("frame"), wrong };
}

/** Open what the address names; where it names no FOV, the first one of its dataset, or of all. */
async function openAsked() {
  const { wrong, ...place } = asked();
  const { datasets } = state.results;
  const named = place.dataset !== null && place.fov !== null;
  const dataset = datasets.find(({ name }) => name === place.dataset) ?? datasets[0];
  await open(named ? place : { dataset: dataset.name, fov: dataset.fovs[0].fov });
  if (wrong.length) trouble(`The address is to name a whole number as ${wrong.join(", ")}.`);
  else if (!named && place.dataset !== null && place.dataset !== dataset.name) trouble(`There is no dataset ${place.dataset} in these results.`);
}

/** Look whether a run or another person changed something. */
async function lookAgain() {
  if (state.fov && !document.hidden) {
    const { dataset, fov, version, decided } = state.fov;
    try {
      const now = await askJson("state", { dataset, fov });
      if (state.fov.dataset !== dataset || state.fov.fov !== fov) return;
      if (now.version !== version) await open({ dataset, fov, again: true });
      else if (now.decided !== decided && state.fov.decided === decided) await taken(await askJson("cells", { dataset, fov }));
      element("lost").hidden = true;
    } catch (error) {
      element("lost").hidden = false;
      element("lost").textContent = error.message;
    }
  }
}

async function start() {
  const token = findToken();
  useToken(token);
  frames.start(token);
  keys.connect(ACTIONS);
  image.connect({ choose, mark: decisions.toggleMark });
  timeline.connect();
  traces.connect({ choose, goTo: timeline.goTo });
  list.connect({ choose, goTo: timeline.goTo });
  fovs.connect({ open });
  channels.connect();
  decisions.connect({ taken });
  element("outlines").addEventListener("click", () => toggle("outlines", "Outlines"));
  element("follow").addEventListener("click", () => toggle("follow", "Following the cell"));
  element("help-button").addEventListener("click", () => element("help").showModal());
  element("fit").addEventListener("click", () => image.fit());
  element("closer").addEventListener("click", () => image.zoom(1.4));
  element("farther").addEventListener("click", () => image.zoom(1 / 1.4));
  element("hide-trouble").addEventListener("click", () => trouble());
  document.querySelectorAll("[data-action]").forEach((button) => {
    const [, , then] = ACTIONS.find(([names]) => names.includes(button.dataset.action));
    button.addEventListener("click", () => then({ key: button.dataset.action }));
  });
  element("note").addEventListener("close", () => {
    if (element("note").returnValue === "save") decisions.note(element("note-text").value);
  });
  let timer = 0;
  on("fov cell frame", () => {
    clearTimeout(timer);
    timer = setTimeout(keepPlace, 250);
  });
  window.addEventListener("hashchange", () => {
    if (told().has("token")) location.reload(); // of a server that was started anew
    else if (state.results && told().has("dataset")) openAsked();
  });
  try {
    state.results = await askJson("results");
  } catch (error) {
    trouble(error.message);
    document.body.dataset.ready = "no";
    return;
  }
  state.colours = state.results.colours;
  Object.entries(state.results.colours).forEach(([name, colour]) => document.documentElement.style.setProperty(`--of-${name.replace(" ", "-")}`, colour));
  element("folder").textContent = state.results.folder;
  changed("results");
  await openAsked();
  setInterval(lookAgain, LOOK_AGAIN_MS);
  document.body.dataset.ready = "yes"; // for tests
}

start();
export { image, state };
