// Decisions: what a key does to a cell, how it is saved, and the list of the last ones with undo.

import { tell } from "./ask.js";
import { offer } from "./list.js";
import { element, make } from "/page/shared.js";
import { boxOf, on, rowOf, say, state, trouble } from "./state.js";

const SHOWN = 12;
let take = null; // called with what the server says of the FOV after a decision, and the cell that was chosen before it
let busy = Promise.resolve();

/** Whether nothing can be saved; then a line says why. */
export function isClosed() {
  if (state.fov?.writable) return false;
  if (state.fov) trouble(state.fov.why_not);
  return true;
}

/** Save a decision; what the server makes of all decisions is shown. Decisions are saved one after the other. */
export function decide(op, more = {}) {
  if (!state.fov) return Promise.resolve(false);
  if (isClosed()) return Promise.resolve(false);
  stopAsking(); // for a second cell, as it would be about another state of the cells
  const { cell: chosen, fov: { dataset, fov } } = state;
  const body = { dataset, fov, op, ...more };
  busy = busy.then(async () => {
    try {
      const answer = await tell("edit", body);
      await take(answer, chosen);
      trouble();
      say(`Saved: ${answer.said}`);
      document.body.dataset.saved = Number(document.body.dataset.saved ?? 0) + 1;
      return true;
    } catch (error) {
      trouble(`Not saved: ${error.message}`);
      say(`Not saved: ${error.message}`);
      return false;
    }
  });
  return busy;
}

/** Do something with the chosen cell; where none is chosen, say so. */
function withCell(then) {
  if (isClosed()) return Promise.resolve(false);
  if (state.cell === null || rowOf(state.cell) < 0) {
    say("Choose a cell first, by a click or with the arrow keys.");
    return Promise.resolve(false);
  }
  return then(state.cell);
}

export const mark = (op, cell) => (cell === undefined ? withCell((chosen) => decide(op, { cell: chosen, frame: state.frame })) : decide(op, { cell, frame: state.frame }));

/** A right click: bad, and good again. */
export const toggleMark = (cell) => mark(state.fov.cells.state[rowOf(cell)] === "bad" ? "good" : "bad", cell);

export function excludeHere(all) {
  const frames = [state.frame, state.frame];
  if (all) return decide("exclude", { frames });
  return withCell((cell) => {
    if (boxOf(cell, state.frame)) return decide("exclude", { cell, frame: state.frame, frames });
    say(`Cell ${cell} is not in frame ${state.frame}.`);
    return Promise.resolve(false);
  });
}

export const split = () => withCell((cell) => decide("split", { cell, frame: state.frame }));

export const remove = (here) =>
  withCell((cell) => decide("delete", here ? { cell, frame: state.frame, frames: [state.frame, state.frame] } : { cell, frame: state.frame }));

/** Ask for a second cell, by a click or by Enter in the list; `then` gets its number. */
function askFor(words, then) {
  offer(null);
  state.asking = { then };
  const line = element("asking");
  line.querySelector("span").textContent = words;
  line.hidden = false;
  say(words);
}

export function stopAsking() {
  const was = state.asking !== null;
  state.asking = null;
  offer(null);
  element("asking").hidden = true;
  return was;
}

/** A cell was chosen while one is asked for: true where it was taken for that. */
export function answered(cell) {
  if (!state.asking || cell === null) return false;
  const { then } = state.asking;
  then(cell);
  return true;
}

export function join() {
  return withCell((cell) =>
    askFor(`Join cell ${cell} with which cell? Click it, or ↑ ↓ and Enter. Esc: none.`, (other) => {
      stopAsking();
      decide("join", { cell, frame: state.frame, other });
    }),
  );
}

export function swap() {
  const { frame } = state;
  return withCell((cell) =>
    askFor(`Swap cell ${cell}, from frame ${frame} on, with which cell? Click it, or ↑ ↓ and Enter. Esc: none.`, (other) => {
      stopAsking();
      decide("swap", { cell, frame, other });
    }),
  );
}

/** The parent is chosen and the first frame of the daughters shown; then one or two daughters are clicked. */
export function divide() {
  const { frame } = state;
  return withCell((cell) => {
    if (state.fov.cells.first[rowOf(cell)] >= frame) {
      trouble(`Cell ${cell} is not there before frame ${frame}. Go to the first frame of its daughters, and press D there.`);
      return Promise.resolve(false);
    }
    const daughters = [];
    const another = (daughter) => {
      if (!daughters.includes(daughter)) daughters.push(daughter);
      if (daughters.length === 2) finish();
      else askFor(`First daughter: ${daughter}. Click the second one, or press Enter for one only. Esc: none.`, another), (state.asking.finish = finish);
    };
    const finish = () => {
      stopAsking();
      decide("divide", { cell, frame, daughters });
    };
    askFor(`Cell ${cell} divides in frame ${frame}: click its first daughter, or ↑ ↓ and Enter. Esc: none.`, another);
  });
}

export async function note(words) {
  await withCell((cell) => decide("seen", { cell, frame: state.frame, note: words }));
}

/** Take back the last decision of this author on this FOV, or with an id that one; first one that was only begun. */
export function undo(id) {
  if (!id && stopAsking()) {
    say("Nothing was decided.");
    return Promise.resolve(false);
  }
  const last = id ?? state.fov?.edits.filter(({ mine, undone, op }) => mine && !undone && op !== "undo").at(-1)?.id;
  if (!last) {
    say("There is nothing to undo.");
    return Promise.resolve(false);
  }
  return decide("undo", { of: last });
}

/** Take back the last undo since this author's last decision; undos of undos are what redo itself made. */
export function redo() {
  const mine = (state.fov?.edits ?? []).filter((edit) => edit.mine);
  const since = mine.slice(mine.findLastIndex(({ op }) => op !== "undo") + 1);
  const undos = new Set(mine.filter(({ op }) => op === "undo").map(({ id }) => id));
  const open = (edits) => edits.filter(({ op, undone, of }) => op === "undo" && !undone && !undos.has(of));
  const last = open(since).at(-1);
  if (!last) {
    say(open(mine).length ? "There is nothing to redo: a decision was made since the last undo." : "There is nothing to redo.");
    return Promise.resolve(false);
  }
  return decide("undo", { of: last.id });
}

// ------------------------------------------------------------------------------------------------------- the list

function fill() {
  const { fov } = state;
  const last = fov.edits.filter(({ op }) => op !== "undo").slice(-SHOWN).reverse();
  element("decisions").replaceChildren(
    ...last.map(({ id, by, words, status, reason, undone, when, note: remark }) => {
      const item = make("li", "", { class: undone ? "undone" : "" });
      item.append(make("span", `${by}: ${words}`, { title: when }));
      if (remark) item.append(make("q", remark));
      if (undone) item.append(make("em", "taken back"));
      else if (status && !status.startsWith("applied")) item.append(make("strong", `${status}: ${reason}`, { class: "badge bad" }));
      else if (reason) item.append(make("span", reason, { class: "badge" }));
      if (!undone && fov.writable) {
        item.append(make("button", "undo", { type: "button", "data-undo": id, "aria-label": `Undo: ${words}` }));
      }
      return item;
    }),
  );
  element("no-decisions").hidden = last.length > 0;
  const { pending, command } = fov;
  element("pending").hidden = pending === 0;
  element("pending-count").textContent = `${pending} decision${pending === 1 ? " is" : "s are"} not in the tables yet:`;
  element("command").textContent = command;
  element("saved").textContent = fov.writable ? `saved as ${fov.author}` : "read-only";
  element("saved").title = fov.writable ? "Each decision is on the disk before the page goes on." : fov.why_not;
  element("saved").classList.toggle("bad", !fov.writable);
  document.querySelectorAll("[data-action]").forEach((button) => {
    button.disabled = !fov.writable;
  });
  element("why-not").hidden = fov.writable;
  element("why-not").textContent = fov.why_not ?? "";
}

export function connect({ taken }) {
  take = taken;
  element("decisions").addEventListener("click", (event) => {
    const button = event.target.closest("[data-undo]");
    if (button) undo(button.dataset.undo);
  });
  element("copy").addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(element("command").textContent);
      say("Copied.");
      element("copy").textContent = "copied";
    } catch {
      getSelection().selectAllChildren(element("command"));
      say("Press Ctrl+C to copy what is selected.");
    }
    setTimeout(() => {
      element("copy").textContent = "copy";
    }, 2000);
  });
  element("stop-asking").addEventListener("click", () => {
    stopAsking();
    say("Nothing was decided.");
  });
  on("fov cells", fill);
}
