// The list of all cells of the FOV, also of those that are left out, and the film strip of the chosen one.

import { ask, bodyOf } from "./ask.js";
import { element, make, shown } from "/page/shared.js";
import { on, rowOf, say, state } from "./state.js";

const list = element("cells");
const SIGNS = { kept: "●", bad: "✕", "left out": "○" };
let order = []; // rows of the list, as they are shown
let asked = 0;

/** The numbers of the cells in the order of the list. */
export const listed = () => order.map((row) => state.fov.cells.n[row]);

function sorted() {
  const { cells } = state.fov;
  const rows = cells.n.map((_, row) => row);
  const by = {
    suspicion: (row) => -cells.score[row],
    number: (row) => cells.n[row],
    brightness: (row) => -(cells.light[row] ?? -Infinity),
  }[element("sort").value];
  const words = element("find").value.trim().toLowerCase();
  const isNumber = (row) => String(cells.n[row]) === words; // the cell of this number comes before those of such frames
  const left = element("only").value;
  return rows
    .filter((row) => !words || isNumber(row) || told(row).toLowerCase().includes(words))
    .filter((row) => left === "all" || (left === "unseen" ? !cells.seen[row] : cells.state[row] === left))
    .sort((one, other) => isNumber(other) - isNumber(one) || by(one) - by(other) || cells.n[one] - cells.n[other]);
}

/** What is said of a cell beside its number. */
function told(row) {
  const { cells } = state.fov;
  const words = cells.reason[row] ? [cells.reason[row]] : [];
  if (cells.notes[row]) words.push(`“${cells.notes[row]}”`);
  words.push(...cells.why[row].map(({ what, frame }) => `${what} (${frame})`));
  return words.join(", ");
}

const items = new Map(); // cell -> { item, words }: an item is made anew only when its words change

/** The item of a row of the list. */
function itemOf(row) {
  const { cells } = state.fov;
  const [cell, is, why] = [cells.n[row], cells.state[row], told(row)];
  const words = [is, cells.seen[row], cells.first[row], cells.last[row], why].join("|");
  const known = items.get(cell);
  if (known?.words === words) return known.item;
  const item = make("li", "", { role: "option", id: `cell-${cell}`, "data-cell": cell, "data-state": is });
  item.append(
    make("span", SIGNS[is] ?? "●", { class: "sign", "aria-hidden": "true" }),
    make("b", String(cell)),
    make("span", `, ${is}${cells.seen[row] ? ", seen" : ""}: `, { class: "unseen" }),
    make("span", `${cells.first[row]}–${cells.last[row]}`, { class: "span" }),
    make("span", why, { class: "why", title: why }),
    make("span", cells.seen[row] ? "✓" : "", { class: "tick", "aria-hidden": "true" }),
  );
  known?.item.replaceWith(item);
  items.set(cell, { item, words });
  return item;
}

function fill() {
  const { cells } = state.fov;
  order = sorted();
  const wanted = order.map(itemOf);
  const same = wanted.length === list.children.length && wanted.every((item, at) => item === list.children[at]);
  if (!same) {
    list.replaceChildren(...wanted);
    inSight = null;
  }
  element("no-cells").hidden = order.length > 0;
  element("no-cells").textContent = cells.n.length ? "No cell is as wanted above." : "There are no cells in this field of view.";
  const reviewed = cells.seen.filter(Boolean).length;
  element("count").textContent = `${order.length === cells.n.length ? "" : `${order.length} of `}${cells.n.length} cells, ${reviewed} seen`;
  select();
}

let inSight = null; // the cell that the list was scrolled to

function select() {
  list.querySelectorAll("[aria-selected=true]").forEach((item) => item.setAttribute("aria-selected", "false"));
  const item = state.cell === null ? null : element(`cell-${state.cell}`);
  if (!item) {
    list.removeAttribute("aria-activedescendant");
    inSight = null;
    return;
  }
  item.setAttribute("aria-selected", "true");
  list.setAttribute("aria-activedescendant", item.id);
  if (inSight !== state.cell) scrollToChosen(); // to scroll, the browser has to place the whole page
}

function scrollToChosen() {
  inSight = state.cell;
  if (state.cell !== null) scrollTo(element(`cell-${state.cell}`));
}

/** Bring an item of the list into sight in it. The page stays: on a narrow screen the image may be what is looked at. */
function scrollTo(item) {
  if (!item) return;
  const [inside, all] = [item.getBoundingClientRect(), list.getBoundingClientRect()];
  if (inside.top < all.top) list.scrollTop += inside.top - all.top;
  else if (inside.bottom > all.bottom) list.scrollTop += inside.bottom - all.bottom;
}

/** Mark the cell that Enter would take; null marks none. */
export function offer(cell) {
  list.querySelectorAll(".offered").forEach((item) => item.classList.remove("offered"));
  const item = cell === null ? null : element(`cell-${cell}`);
  item?.classList.add("offered");
  scrollTo(item);
}

/** The cell before or after one in the list, the chosen one unless told otherwise. */
export function neighbour(step, from = state.cell) {
  const cells = listed();
  if (!cells.length) return null;
  const at = cells.indexOf(from);
  return cells[at < 0 ? 0 : Math.min(Math.max(at + step, 0), cells.length - 1)];
}

/** The next cell of the list, after the chosen one, that nobody has reviewed; null where all are. */
export function nextUnseen() {
  const cells = listed();
  const at = cells.indexOf(state.cell);
  return [...cells.slice(at + 1), ...cells.slice(0, at + 1)].find((cell) => !state.fov.cells.seen[rowOf(cell)] && cell !== state.cell) ?? null;
}

// ------------------------------------------------------------------------------------------------------ film strip

async function showFilm() {
  const film = element("film");
  const { fov, cell } = state;
  const subject = `${fov.dataset} ${fov.fov} ${fov.version} ${fov.tracks} ${cell}`;
  if (film.dataset.subject === subject) return;
  film.dataset.subject = subject;
  asked += 1;
  const mine = asked;
  if (cell === null || rowOf(cell) < 0) {
    film.replaceChildren();
    return;
  }
  try {
    const response = await ask("film", { dataset: fov.dataset, fov: fov.fov, cell });
    const { frames } = JSON.parse(response.headers.get("x-film"));
    const source = URL.createObjectURL(await bodyOf(response, "blob"));
    if (mine !== asked) {
      URL.revokeObjectURL(source);
      return;
    }
    film.querySelectorAll("img").forEach((image) => URL.revokeObjectURL(image.src));
    const image = make("img", "", { alt: `Film strip of cell ${cell}` });
    image.src = source;
    image.addEventListener("load", scrollToChosen, { once: true }); // the list got shorter
    const buttons = make("div", "", { class: "times" });
    buttons.append(...frames.map((frame) => make("button", String(frame), { type: "button", "data-frame": frame, "aria-label": `Go to frame ${frame}` })));
    film.style.setProperty("--pictures", frames.length);
    film.replaceChildren(image, buttons);
  } catch (error) {
    if (mine === asked) film.replaceChildren(make("p", error.message, { class: "note" }));
  }
}

/** From which cell the one in a row comes, and into which ones it divides. */
function descent(row) {
  const { n, parent, division_frame: frames } = state.fov.cells;
  const daughters = n.filter((_, at) => parent[at] === n[row]);
  const from = parent[row] === null ? "" : `, from cell ${parent[row]} in frame ${frames[row]}`;
  return daughters.length ? `${from}, divides into ${daughters.join(" and ")}` : from;
}

export function connect({ choose, goTo }) {
  list.addEventListener("click", (event) => {
    const item = event.target.closest("[data-cell]");
    if (item) choose(Number(item.dataset.cell));
  });
  element("film").addEventListener("click", (event) => {
    const button = event.target.closest("[data-frame]");
    if (button) goTo(Number(button.dataset.frame));
    else if (event.target.tagName === "IMG") {
      const buttons = element("film").querySelectorAll("[data-frame]");
      const share = event.offsetX / event.target.clientWidth;
      goTo(Number(buttons[Math.min(Math.floor(share * buttons.length), buttons.length - 1)].dataset.frame));
    }
  });
  ["sort", "only"].forEach((id) => element(id).addEventListener("change", fill));
  element("find").addEventListener("input", fill);
  element("find").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && order.length) {
      choose(state.fov.cells.n[order[0]]);
      list.focus();
    } else if (event.key === "Enter") {
      say("No cell of the list has this number, or these words.");
    }
    if (event.key === "Escape") {
      element("find").value = "";
      fill();
      list.focus();
    }
  });
  on("fov cells", fill);
  on("cell", select);
  let timer = 0;
  on("fov tracks cell", () => {
    clearTimeout(timer);
    timer = setTimeout(showFilm, 60); // who walks through the list in a hurry wants no film of each
  });
  on("cell fov cells", () => {
    const row = state.cell === null ? -1 : rowOf(state.cell);
    const { state: is, reason, light } = state.fov?.cells ?? {};
    const why = row >= 0 && reason[row] ? ` (${reason[row]})` : "";
    const bright = row >= 0 && light[row] !== null ? `, brightness ${shown(light[row])}` : "";
    element("chosen").textContent = row < 0 ? "no cell is chosen" : `cell ${state.cell}: ${is[row]}${why}${bright}${descent(row)}`;
  });
}
