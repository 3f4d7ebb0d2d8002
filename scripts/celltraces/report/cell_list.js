// The list of all cells: sorted by a click on a heading, filtered, a page at a time. In the page it stands after
// pictures/shared.js, in the same script.

const LISTED = 20; // rows at a time

/** Show the list. choose(fov, cell) is called for the cell that is clicked. Gives `mark`, which shows a cell in the
 * list, and `why`, which says why a cell is in no plot. */
function startCellList(report, choose) {
  const [header, ...rows] = csvRows(report.listed);
  if (!rows.length) {
    element("list-controls").remove();
    element("list").replaceChildren(make("p", "There is no cell in the list.", { class: "note" }));
    return { mark() {}, why: () => "there is no such cell" };
  }
  const scales = new Map(report.features.map(({ column, label, scale }) => [`median_${column}`, { label: `median of ${label}`, scale }]));
  const columns = header.flatMap((name, at) => (name === "dataset" || (name === "sample" && report.samples.length < 2) ? [] : [column(name, at)]));
  const place = (name) => header.indexOf(name);
  const [fovAt, cellAt, keptAt, whyAt] = ["fov", "cell", "in_tables", "left_out"].map(place);
  const cells = rows.map((row) => ({ row, values: columns.map((one) => one.value(row[one.at])), words: `fov ${row[fovAt]}, cell ${row[cellAt]}, ${row.join(", ")}`.toLowerCase() }));
  const state = { sorted: null, down: false, first: 0, marked: "" };

  function column(name, at) {
    const known = scales.get(name);
    const words = { fov: "FOV", first_frame: "first frame", last_frame: "last frame", in_tables: "in the tables", left_out: "why left out", area_growth_per_h: "growth of area (1/h)", division_frame: "born in frame" };
    const texts = name === "left_out" || name === "in_tables" || name === "sample";
    const value = (written) => (texts ? written : written === "" || written === "NaN" ? NaN : Number(written) * (known ? known.scale : 1));
    return { name, at, texts, value, title: known ? known.label : words[name] ?? name };
  }

  const written = (one, value) => (one.name === "in_tables" ? (value === "True" ? "yes" : "no") : one.texts ? value : shown(value));

  function wanted() {
    const [kind, find] = [element("list-kind").value, element("list-find").value.trim().toLowerCase()];
    const found = cells.filter(({ row, words }) => (kind === "all" || (row[keptAt] === "True") === (kind === "kept")) && (!find || matches(words, find)));
    if (state.sorted === null) return found;
    const missing = (value) => value === "" || Number.isNaN(value);
    const order = (one, other) => {
      const [a, b] = [one.values[state.sorted], other.values[state.sorted]];
      if (missing(a) || missing(b)) return missing(a) - missing(b); // last, whichever way
      return (a < b ? -1 : a > b ? 1 : 0) * (state.down ? -1 : 1);
    };
    return found.sort(order);
  }

  /** Whether all that is looked for is in the words of a cell; a number at its end is a whole one: cell 3 is not 31. */
  function matches(words, find) {
    return find.split(";").map((part) => part.trim()).filter(Boolean).every((part) => {
      for (let at = words.indexOf(part); at >= 0; at = words.indexOf(part, at + 1)) {
        if (!/\d$/.test(part) || !/[\d.]/.test(words[at + part.length] ?? "")) return true;
      }
      return false;
    });
  }

  function draw() {
    const found = wanted();
    state.first = Math.max(0, Math.min(state.first, Math.floor((found.length - 1) / LISTED) * LISTED));
    const shownNow = found.slice(state.first, state.first + LISTED);
    const table = make("table");
    const head = make("tr");
    columns.forEach((one, at) => {
      const cell = make("th", "", { scope: "col", "aria-sort": state.sorted !== at ? "none" : state.down ? "descending" : "ascending" });
      const button = make("button", `${one.title}${state.sorted !== at ? "" : state.down ? " ▼" : " ▲"}`, { type: "button" });
      button.addEventListener("click", () => {
        state.down = state.sorted === at && !state.down;
        Object.assign(state, { sorted: at, first: 0 });
        draw();
        element("list").querySelectorAll("th button")[at].focus();
      });
      if (!one.texts) cell.className = "number";
      cell.append(button);
      head.append(cell);
    });
    const headings = make("thead");
    headings.append(head);
    const body = make("tbody");
    shownNow.forEach(({ row, values }) => {
      const line = make("tr");
      columns.forEach((one, at) => {
        const cell = make("td", one.name === "cell" ? "" : written(one, values[at]), one.texts ? { class: one.name === "left_out" ? "why" : "" } : { class: "number" });
        if (one.name === "cell") cell.append(link(row));
        line.append(cell);
      });
      if (state.marked === `${row[fovAt]} ${row[cellAt]}`) line.setAttribute("aria-current", "true");
      body.append(line);
    });
    table.append(headings, body);
    element("list").replaceChildren(table);
    const range = found.length > LISTED ? `${shown(state.first + 1)} to ${shown(state.first + shownNow.length)} of ` : "";
    element("list-count").textContent = `${range}${shown(found.length)} ${found.length === 1 ? "cell" : "cells"}`;
    element("list-back").disabled = state.first === 0;
    element("list-on").disabled = state.first + LISTED >= found.length;
  }

  function link(row) {
    const made = make("a", row[cellAt], { href: `#${new URLSearchParams({ fov: row[fovAt], cell: row[cellAt] })}`, "aria-label": `FOV ${row[fovAt]}, cell ${row[cellAt]}` });
    made.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return; // another tab
      event.preventDefault();
      choose(Number(row[fovAt]), Number(row[cellAt]));
    });
    return made;
  }

  const again = () => {
    state.first = 0;
    draw();
  };
  element("list-kind").addEventListener("change", again);
  element("list-find").addEventListener("input", again);
  [["list-back", -LISTED], ["list-on", LISTED]].forEach(([id, by]) => element(id).addEventListener("click", () => {
    state.first += by;
    draw();
  }));
  element("list-download").addEventListener("click", () => download(report.cell_list, report.listed));
  draw();

  const rowOf = (fov, cell) => rows.find((row) => row[fovAt] === String(fov) && row[cellAt] === String(cell));
  return {
    mark(fov, cell) {
      state.marked = `${fov} ${cell}`;
      const at = wanted().findIndex(({ row }) => `${row[fovAt]} ${row[cellAt]}` === state.marked);
      if (at >= 0) state.first = at - (at % LISTED);
      draw();
    },
    why(fov, cell) {
      const row = rowOf(fov, cell);
      if (!row) return "it is not in the list of cells";
      return row[keptAt] === "True" ? "there was no room for them (cells_per_fov, size_mb)" : `it is left out, ${row[whyAt]}`;
    },
  };
}
