// The datasets and FOVs on the left.

import { ask, bodyOf } from "./ask.js";
import { element, make } from "/page/shared.js";
import { on, state } from "./state.js";

const list = element("fovs");
const fold = element("places"); // on a narrow screen the list is seen only after a click on it

const seenOf = (seen, all) => (all ? `${seen} of ${all} cells seen` : "no cells");

function button(dataset, fov) {
  const made = make("button", "", { type: "button", class: `fov${fov.findings ? " flagged" : ""}`, "data-dataset": dataset, "data-fov": fov.fov });
  const picture = make("img", "", { alt: "", width: 84, height: 84, hidden: "" });
  const title = make("span", "", { class: "title" });
  title.append(make("b", `FOV ${fov.fov}`), make("span", ` ${fov.name}`, { class: "soft", title: fov.name }));
  const words = make("span", "", { class: "words" });
  words.append(title);
  words.append(make("span", fov.tracked === null ? "" : seenOf(fov.seen, fov.tracked), { class: "seen" }));
  if (fov.findings) words.append(make("span", `⚠ ${fov.findings} finding${fov.findings === 1 ? "" : "s"}`, { class: "badge" }));
  if (fov.problems) words.append(make("span", `${fov.problems} not applied`, { class: "badge bad" }));
  made.append(picture, words);
  if (fov.picture) waitingPictures.observe(made);
  return made;
}

/** Thumbnails are asked for when they come into sight: a dataset may have a thousand FOVs. */
const waitingPictures = new IntersectionObserver((entries) => {
  entries.filter(({ isIntersecting }) => isIntersecting).forEach(({ target }) => {
    waitingPictures.unobserve(target);
    const { dataset, fov } = target.dataset;
    ask("thumbnail", { dataset, fov })
      .then((response) => bodyOf(response, "blob"))
      .then((blob) => {
        const image = target.querySelector("img");
        image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
        image.src = URL.createObjectURL(blob);
        image.hidden = false;
      })
      .catch(() => {}); // a FOV without a picture can be chosen all the same
  });
});

function fill() {
  list.replaceChildren(
    ...state.results.datasets.map(({ name, fovs }) => {
      const group = make("section", "", { "aria-label": name });
      const row = make("div", "", { class: "row" });
      row.append(...fovs.map((fov) => button(name, fov)));
      group.append(make("h2", name), row);
      return group;
    }),
  );
  mark();
}

function mark() {
  list.querySelectorAll("[aria-current]").forEach((made) => made.removeAttribute("aria-current"));
  if (!state.fov) return;
  const chosen = [...list.querySelectorAll("button")].find(
    ({ dataset: { dataset, fov } }) => dataset === state.fov.dataset && Number(fov) === state.fov.fov,
  );
  chosen?.setAttribute("aria-current", "true");
}

/** How many cells of the shown FOV are reviewed. */
function count() {
  const chosen = list.querySelector("[aria-current] .seen");
  if (chosen) chosen.textContent = seenOf(state.fov.cells.seen.filter(Boolean).length, state.fov.cells.n.length);
}

/** The FOV so many places after the shown one in the list; null beyond its ends. */
export function neighbour(step) {
  const all = state.results.datasets.flatMap(({ name, fovs }) => fovs.map(({ fov }) => ({ dataset: name, fov })));
  const at = all.findIndex(({ dataset, fov }) => dataset === state.fov?.dataset && fov === state.fov?.fov);
  return all[at + step] ?? null;
}

function unfold(wanted) {
  fold.setAttribute("aria-expanded", wanted);
  if (wanted) list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

export function connect({ open }) {
  list.addEventListener("click", (event) => {
    const chosen = event.target.closest("button[data-fov]");
    if (!chosen) return;
    unfold(false);
    open({ dataset: chosen.dataset.dataset, fov: Number(chosen.dataset.fov) });
  });
  fold.addEventListener("click", () => unfold(fold.getAttribute("aria-expanded") === "false"));
  on("results", fill);
  on("fov", () => {
    fold.textContent = `${state.fov.dataset}, FOV ${state.fov.fov}`;
    mark();
    count();
    list.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  });
  on("cells", count);
}
