// Draws what the page carries. Charts are plotly.js's; here stands what is in them, and what a click does. In the page it
// stands after pictures/shared.js and the other scripts here, in the same script.

function start(report) {
  const chosen = { cell: null, samples: new Set(report.samples.map((_, at) => at).slice(0, 8)) };
  const time = `time (${report.unit})`;
  const named = (cell) => `FOV ${cell.fov}, cell ${cell.cell}`;
  const feature = () => report.features[element("feature").value];
  const scaled = (values, { scale = 1 }) => (scale === 1 ? values : values.map((value) => value * scale));
  const ofCell = (at) => scaled(report.row(feature().cells, at), feature());
  const spread = (at) => [0, 1, 2, 3].map((which) => scaled(report.row(feature().samples, 4 * at + which), feature()));
  const drawn = {}; // of each plot, a function that gives its data as rows
  const atFrames = (times) => report.frames.map((frame) => times[frame]);

  // ------------------------------------------------------------------------------------------------- traces

  /** Line, markers and data of the chosen cell, drawn over the others. */
  function highlighted() {
    const cell = report.cells[chosen.cell];
    if (!cell) return { x: [], y: [] };
    return { x: atFrames(report.times(cell)), y: ofCell(chosen.cell) };
  }

  function drawTraces() {
    const traces = [];
    report.samples.forEach((sample, at) => {
      if (!chosen.samples.has(at)) return;
      const name = plain(sample.name);
      const lines = joined(
        report.groups[at],
        (cell) => atFrames(report.times(report.cells[cell])),
        ofCell,
      );
      const many = Math.min(0.8, Math.max(0.2, 6 / Math.sqrt(report.groups[at].length)));
      traces.push({
        type: "scatter", mode: report.frames.length > 1 ? "lines" : "markers", x: lines.x, y: lines.y, customdata: lines.which,
        text: lines.which.map((cell) => named(report.cells[cell])), name,
        line: { color: sample.colour, width: 1 }, marker: { color: sample.colour }, opacity: many,
        hovertemplate: `%{text}<br>%{x:.4~g} ${report.unit}, %{y:${NUMBER}}<extra>%{fullData.name}</extra>`,
      });
    });
    report.samples.forEach((sample, at) => {
      if (!chosen.samples.has(at)) return;
      const times = report.row(report.sample_times, at);
      const [low, median, high, mean] = spread(at);
      const there = times.map((_, frame) => frame).filter((frame) => !Number.isNaN(mean[frame]));
      const back = [...there].reverse();
      const pick = (values, frames) => frames.map((frame) => values[frame]);
      traces.push({
        type: "scatter", mode: "lines", x: [...pick(times, there), ...pick(times, back)],
        y: [...pick(high, there), ...pick(low, back)], fill: "toself", fillcolor: `${sample.colour}38`,
        line: { width: 0 }, hoverinfo: "skip",
      });
      [["median", median, { width: 1.5, dash: "dash" }, 6], ["mean", mean, { width: 3.5 }, 10]].forEach(([what, values, line, size]) => {
        traces.push({
          type: "scatter", mode: there.length > 1 ? "lines" : "markers", x: pick(times, there), y: pick(values, there),
          line: { color: sample.colour, ...line }, marker: { color: sample.colour, size }, name: plain(sample.name),
          hovertemplate: `${what} of ${shown(sample.cells)} cells<br>%{x:.4~g} ${report.unit}, %{y:${NUMBER}}<extra>%{fullData.name}</extra>`,
        });
      });
    });
    traces.push({
      type: "scatter", mode: "lines+markers", ...highlighted(), line: { color: palette().ink, width: 2.5 },
      marker: { color: palette().ink, size: 4 }, hoverinfo: "skip",
    });
    const yaxis = axisFor(traces.flatMap(({ y }) => y), element("log").checked);
    const xaxis = axisFor(traces.flatMap(({ x }) => x));
    draw("plot-traces", traces, layout(time, plain(feature().label), { xaxis, yaxis, annotations: namesAtEnds(yaxis) }), choosePoint);
  }

  /** The names of several samples, each where its mean ends: they are told apart without colours too. */
  function namesAtEnds({ type }) {
    const several = report.samples.map((_, at) => at).filter((at) => chosen.samples.has(at));
    if (several.length < 2) return [];
    return several.flatMap((at) => {
      const [times, mean] = [report.row(report.sample_times, at), spread(at)[3]];
      const last = mean.findLastIndex((value) => (type === "log" ? value > 0 : Number.isFinite(value)));
      if (last < 0) return [];
      const y = type === "log" ? Math.log10(mean[last]) : mean[last];
      return [{ x: times[last], y, text: plain(report.samples[at].name.slice(0, 24)), xanchor: "right", yanchor: "bottom", showarrow: false, bgcolor: palette().paper, opacity: 0.85 }];
    });
  }

  drawn.traces = () => {
    const { column } = feature();
    const rows = [["sample", "fov", "cell", "statistic", `time_${report.unit}`, column + unitIn(column)]];
    report.samples.forEach((sample, at) => {
      if (!chosen.samples.has(at)) return;
      const times = report.row(report.sample_times, at);
      ["10 %", "median", "90 %", "mean"].forEach((what, which) => {
        const values = spread(at)[which];
        times.forEach((when, frame) => Number.isNaN(values[frame]) || rows.push([sample.name, "", "", what, when, values[frame]]));
      });
      report.groups[at].forEach((which) => rows.push(...rowsOfCell(which).map((row) => [sample.name, ...row])));
    });
    return rows;
  };

  /** fov, cell, "cell", time and value in each frame of a cell. */
  function rowsOfCell(at) {
    const cell = report.cells[at];
    const [times, values] = [atFrames(report.times(cell)), ofCell(at)];
    return times.flatMap((when, frame) => (Number.isNaN(values[frame]) ? [] : [[cell.fov, cell.cell, "cell", when, values[frame]]]));
  }

  /** The unit of a column as it stands in the header of a CSV file. */
  const unitIn = (column) => (report.unit_of[column] ? ` (${report.unit_of[column]})` : "");

  function choosePoint(point) {
    if (point.customdata !== undefined) choose(point.customdata);
  }

  // ---------------------------------------------------------------------------------------------- one cell

  function choose(at, follow = true) {
    chosen.cell = at;
    element("not-shown").hidden = true;
    const cell = report.cells[at];
    element("fov").value = cell.fov;
    listCells();
    element("number").value = at;
    document.querySelectorAll(".card").forEach((card) => card.classList.toggle("chosen", Number(card.dataset.fov) === cell.fov));
    const samples = report.samples.filter((sample) => sample.fovs.includes(cell.fov));
    element("of-sample").textContent = samples.map((sample) => sample.name).join(", ");
    const place = { dataset: element("name").textContent, fov: cell.fov, cell: cell.cell, frame: cell.frames[Math.floor(cell.frames.length / 2)] };
    element("correct").href = `${element("correct").dataset.page}#${new URLSearchParams(place)}`;
    const here = `#${new URLSearchParams({ fov: cell.fov, cell: cell.cell })}`;
    element("link").href = here;
    if (follow) history.replaceState(null, "", here);
    list.mark(cell.fov, cell.cell);
    drawCell();
    drawFilm();
    drawFits();
    const plot = element("plot-traces");
    const { x, y } = highlighted();
    Plotly.restyle(plot, { x: [x], y: [y] }, [plot.data.length - 1]);
    if (report.quantities.length) drawDistribution();
  }

  function drawCell() {
    const cell = report.cells[chosen.cell];
    const times = report.times(cell);
    const [first, last] = report.row(report.ends, chosen.cell);
    const traces = [{
      type: "scatter", mode: "lines+markers", ...highlighted(), name: "trace",
      line: { color: palette().ink, width: 1.5 }, marker: { color: palette().ink, size: 4 },
      hovertemplate: `%{x:.4~g} ${report.unit}, %{y:${NUMBER}}<extra></extra>`,
    }];
    report.fits.forEach((fit, at) => {
      if (fit.column !== feature().column || !fit.cells[chosen.cell]) return;
      const y = scaled(report.row(fit.curves, chosen.cell), feature());
      if (y.every(Number.isNaN)) return;
      const x = y.map((_, point) => first + ((last - first) * point) / (y.length - 1));
      traces.push({
        type: "scatter", mode: "lines", x, y, name: plain(fit.label.split(" of ")[0]), showlegend: true,
        line: { color: ["#d55e00", "#0072b2", "#009e73"][at % 3], width: 3 }, hoverinfo: "skip",
      });
    });
    const shapes = cell.frames.filter((frame) => Number.isFinite(times[frame])).map((frame) => ({
      type: "line", x0: times[frame], x1: times[frame], y0: 0, y1: 1, yref: "paper", layer: "below",
      line: { color: palette().soft, width: 1, dash: "dot" },
    }));
    const legend = { x: 0.02, y: 0.98, bgcolor: CLEAR };
    const yaxis = axisFor(traces.flatMap(({ y }) => y));
    const xaxis = axisFor(traces.flatMap(({ x }) => x));
    draw("plot-cell", traces, layout(time, plain(feature().label), { shapes, legend, xaxis, yaxis, showlegend: traces.length > 1 }));
  }

  drawn.cell = () => {
    const { column } = feature();
    const rows = [["fov", "cell", "what", `time_${report.unit}`, column + unitIn(column)], ...rowsOfCell(chosen.cell)];
    const { fov, cell } = report.cells[chosen.cell];
    element("plot-cell").data.slice(1).forEach(({ name, x, y }) => x.forEach((when, at) => rows.push([fov, cell, name, when, y[at]])));
    return rows;
  };

  function drawFilm() {
    const cell = report.cells[chosen.cell];
    const times = report.times(cell);
    const film = element("film");
    const strip = make("div", "", { class: "strip" });
    const rows = make("div", "", { class: "rows" });
    rows.append(...report.channels.map((channel) => make("span", channel, { title: channel })));
    const image = make("img", "", { src: report.picture(cell.strip), alt: `Film strip of ${named(cell)}` });
    // Not before: an image whose address is gone while it loads is an error, also if another has taken its place.
    ["load", "error"].forEach((end) => image.addEventListener(end, () => URL.revokeObjectURL(image.src)));
    const under = make("div", "", { class: "times" });
    const label = (frame) => (times[frame] === undefined || Number.isNaN(times[frame]) ? `#${frame}` : shown(Number(times[frame].toFixed(1))));
    under.append(...cell.frames.map((frame) => make("span", label(frame), { title: `frame ${frame}` })));
    image.style.maxWidth = under.style.maxWidth = `${150 * cell.frames.length}px`; // a small crop stays small
    strip.append(rows, image, under);
    const light = report.levels[cell.fov].slice(1).map(([low, high], at) => `${report.channels[at + 1]} ${shown(low)} to ${shown(high)} counts above the background`);
    const born = cell.parent === undefined ? "" : `, daughter of cell ${cell.parent} (frame ${cell.division_frame})`;
    const divides = cell.daughters ? `, divides into ${cell.daughters.join(" and ")} (frame ${cell.divides})` : "";
    const note = `${named(cell)}${born}${divides}: times in ${report.unit}, dotted in the plot; the outline is what was measured.${cell.bar ? ` The bar is ${cell.bar}.` : ""}` + (light.length ? ` Black to white, in all of FOV ${cell.fov}: ${light.join("; ")}.` : "");
    film.replaceChildren(strip, make("p", note, { class: "note" }));
  }

  function drawFits() {
    const tables = report.fits.flatMap((fit) => {
      const told = fit.column === feature().column && fit.cells[chosen.cell];
      if (!told) return [];
      const table = make("table");
      const quality = told.r_squared === null ? "" : `, R² ${shown(told.r_squared)}`;
      const head = make("tr");
      head.append(...["parameter", "value", "95 % interval", ""].map((title) => make("th", title)));
      table.append(make("caption", `${fit.label}: ${told.flag}${quality}`), head);
      told.parameters.forEach(([name, unit, value, low, high, flag]) => {
        const row = make("tr");
        const interval = low === null && high === null ? "" : `${low === null ? "…" : shown(low)} to ${high === null ? "…" : shown(high)}`;
        row.append(make("td", unit ? `${name} (${unit})` : name), make("td", shown(value)), make("td", interval), make("td", flag === "ok" ? "" : flag));
        table.append(row);
      });
      return [table];
    });
    element("fits").replaceChildren(...tables);
  }

  /** The list of the chosen FOV's cells that are shown. */
  function listCells() {
    const fov = Number(element("fov").value);
    const options = report.cells.flatMap((cell, at) => (cell.fov === fov ? [make("option", String(cell.cell), { value: at })] : []));
    element("number").replaceChildren(...options);
  }

  function chooseFov(fov) {
    const at = report.cells.findIndex((cell) => cell.fov === fov);
    if (at >= 0) choose(at);
    return at >= 0;
  }

  const step = (by) => choose((chosen.cell + by + report.cells.length) % report.cells.length);

  // ------------------------------------------------------------------------------------------ distributions

  function drawDistribution() {
    const quantity = report.quantities[element("quantity").value];
    const points = scaled(report.row(quantity.points, 0), quantity);
    const traces = [];
    const names = [];
    const values = [];
    report.samples.forEach((sample, at) => {
      if (!chosen.samples.has(at) || quantity.boxes[at] === undefined) return;
      const n = quantity.boxes[at].at(-1);
      const place = names.push(`${plain(sample.name)}<br>${shown(n)} of ${shown(sample.tracked)} cells`) - 1;
      if (n) {
        const [p10, q1, median, q3, p90] = scaled(quantity.boxes[at].slice(0, -1), quantity);
        values.push(p10, p90);
        traces.push({
          type: "box", orientation: "h", y: [place], q1: [q1], median: [median], q3: [q3], lowerfence: [p10], upperfence: [p90], width: 0.5,
          line: { color: sample.colour, width: 2 }, fillcolor: `${sample.colour}30`, hoverinfo: "x", name: plain(sample.name),
        });
      }
      const cells = report.groups[at].filter((cell) => !Number.isNaN(points[cell]));
      values.push(...cells.map((cell) => points[cell]));
      traces.push({
        // Side by side in steps of the golden section: evenly strewn, and every time the same.
        type: "scatter", mode: "markers", y: cells.map((_, turn) => place + 0.44 * (((turn * 0.618034) % 1) - 0.5)),
        x: cells.map((cell) => points[cell]), customdata: cells, text: cells.map((cell) => named(report.cells[cell])),
        marker: { color: cells.map((cell) => (cell === chosen.cell ? palette().ink : sample.colour)), size: cells.map((cell) => (cell === chosen.cell ? 11 : 6)), opacity: 0.75 },
        hovertemplate: `%{text}<br>%{x:${NUMBER}}<extra></extra>`,
      });
    });
    const yaxis = { tickvals: names.map((_, place) => place), ticktext: names, range: [names.length - 0.5, -0.5], zeroline: false, showgrid: false };
    element("plot-distribution").style.height = `${90 + Math.max(names.length, 2) * 80}px`;
    draw("plot-distribution", traces, layout(broken(quantity.label), "", { xaxis: axisFor(values, element("log-quantity").checked), yaxis }), choosePoint);
  }

  /** A label in two lines where the page is narrow. */
  const broken = (label) => (innerWidth < 600 ? plain(label).replace(/(: |, )/, "$1<br>") : plain(label));

  drawn.distribution = () => {
    const quantity = report.quantities[element("quantity").value];
    const points = scaled(report.row(quantity.points, 0), quantity);
    const rows = [["sample", "fov", "cell", "statistic", quantity.label]];
    report.samples.forEach((sample, at) => {
      if (!chosen.samples.has(at) || quantity.boxes[at] === undefined) return;
      const [n, ...box] = [quantity.boxes[at].at(-1), ...quantity.boxes[at].slice(0, -1)];
      if (n) ["10 %", "25 %", "median", "75 %", "90 %"].forEach((what, which) => rows.push([sample.name, "", "", what, scaled(box, quantity)[which]]));
      rows.push([sample.name, "", "", "cells", n]);
      report.groups[at].forEach((cell) => Number.isNaN(points[cell]) || rows.push([sample.name, report.cells[cell].fov, report.cells[cell].cell, "cell", points[cell]]));
    });
    return rows;
  };

  // ----------------------------------------------------------------------------------------------- left out

  function drawLeftOut() {
    const bars = KINDS.map(([key, name, color, shape]) => ({
      type: "bar", name, marker: { color, pattern: { shape } }, x: report.cards.map((card) => `FOV ${card.fov}`), y: report.cards.map((card) => card[key]),
    }));
    const legend = { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", traceorder: "normal" };
    const xaxis = { type: "category", nticks: 12 };
    draw("plot-left-out", bars, layout("", "cells", { barmode: "stack", showlegend: true, legend, xaxis }));
    const lines = [["tracked", "tracked", "#7f7f7f", "dash"], ["kept", "in the tables", "#0072b2", "solid"]].map(([key, name, color, dash]) => ({
      type: "scatter", mode: "lines+markers", name, x: report.counts.times, y: report.counts[key], line: { color, dash }, marker: { size: 4 },
    }));
    const xOfTimes = axisFor(report.counts.times);
    draw("plot-counts", lines, layout(time, "cells in all FOVs", { showlegend: true, legend, xaxis: xOfTimes, yaxis: { rangemode: "tozero" } }));
  }

  drawn.left_out = () => [["fov", ...KINDS.map(([, name]) => name)], ...report.cards.map((card) => [card.fov, ...KINDS.map(([key]) => card[key])])];
  drawn.counts = () => [[`time_${report.unit}`, "tracked", "in_tables"], ...report.counts.times.map((when, at) => [when, report.counts.tracked[at], report.counts.kept[at]])];

  // ---------------------------------------------------------------------------------------------- what is shown

  function fill(id, words) {
    element(id).replaceChildren(...words.map((label, at) => make("option", label, { value: at })));
  }

  element("samples").replaceChildren(...report.samples.map((sample, at) => {
    const label = make("label");
    const box = make("input", "", { type: "checkbox", value: at });
    box.checked = chosen.samples.has(at);
    box.addEventListener("change", () => {
      box.checked ? chosen.samples.add(at) : chosen.samples.delete(at);
      drawTraces();
      drawDistribution();
    });
    const colour = make("i");
    colour.style.background = sample.colour;
    label.append(box, colour, `${sample.name} (${shown(sample.cells)} of ${shown(sample.tracked)} cells)`);
    return label;
  }));
  const flaggedOnly = element("flagged-only");
  flaggedOnly.addEventListener("change", () => element("fovs").classList.toggle("flagged-only", flaggedOnly.checked));
  drawLeftOut();
  document.querySelectorAll("button.data").forEach((button) => button.addEventListener("click", () => {
    download(`${element("name").textContent}_plot_${button.dataset.plot}.csv`, csvText(drawn[button.dataset.plot]()));
  }));
  const list = startCellList(report, (fov, cell) => show(fov, cell) && element("traces").scrollIntoView());

  /** Show a cell, or say why it cannot be shown: whether it is. */
  function show(fov, cell) {
    const at = report.places.get(`${fov} ${cell}`);
    if (at !== undefined) {
      choose(at);
      return true;
    }
    element("not-shown").textContent = `FOV ${fov}, cell ${cell} has no pictures here: ${list.why(fov, cell)}.`;
    element("not-shown").hidden = false;
    list.mark(fov, cell);
    element("not-shown").scrollIntoView({ block: "center" });
    return false;
  }

  /** Show the cell that the page's address names: whether it names one. */
  function follow() {
    const place = new URLSearchParams(location.hash.slice(1));
    if (!place.has("fov") || !place.has("cell")) return false;
    if (show(Number(place.get("fov")), Number(place.get("cell")))) element("traces").scrollIntoView();
    return true;
  }

  function redraw() {
    drawLeftOut();
    if (element("plot-traces").classList.contains("empty")) return;
    [drawTraces, drawDistribution].forEach((part) => part());
    if (chosen.cell !== null) drawCell();
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  onPaper(redraw);

  if (!report.features.length || !report.samples.some((sample) => sample.cells)) {
    nothing("plot-traces", report.features.length ? "There is no cell in the tables." : "No feature was asked for in the config.");
    nothing("plot-distribution", "There is nothing to show.");
    document.querySelectorAll("#traces .controls, #distributions .controls").forEach((controls) => controls.remove());
    return;
  }
  fill("feature", report.features.map(({ label }) => label));
  fill("quantity", report.quantities.map(({ label }) => label));
  const brightest = report.features.findIndex(({ column }) => column.startsWith("intensity"));
  element("feature").value = element("quantity").value = Math.max(brightest, 0);
  element("feature").addEventListener("change", () => {
    drawTraces();
    if (chosen.cell !== null) [drawCell, drawFits].forEach((part) => part());
  });
  element("log").addEventListener("change", drawTraces);
  ["quantity", "log-quantity"].forEach((id) => element(id).addEventListener("change", drawDistribution));
  drawTraces();
  drawDistribution();
  if (!report.cells.length) {
    element("cell").replaceChildren(make("p", "No cell is shown singly.", { class: "note" }), element("not-shown"));
    follow();
    return;
  }
  element("fov").replaceChildren(...report.fovs.map((fov) => make("option", String(fov), { value: fov })));
  element("fov").addEventListener("change", () => chooseFov(Number(element("fov").value)));
  element("number").addEventListener("change", () => choose(Number(element("number").value)));
  element("previous").addEventListener("click", () => step(-1));
  element("next").addEventListener("click", () => step(1));
  document.querySelectorAll(".card").forEach((card) => card.addEventListener("click", () => {
    if (chooseFov(Number(card.dataset.fov))) element("traces").scrollIntoView();
  }));
  choose(0, false);
  follow();
  addEventListener("hashchange", follow);
}

const KINDS = [["good", "in the tables", "#0072b2", ""], ["short", "in few frames", "#e69f00", "/"], ["border", "near the edge", "#56b4e9", "x"], ["both", "both", "#7f7f7f", "+"], ["refused", "refused", "#d55e00", "."]];

(async () => {
  try {
    const [library, data, arrays, cells] = await Promise.all(["library", "data", "arrays", "cell-list"].map(unpack));
    document.head.append(make("script", text(library)));
    start(new Report({ ...JSON.parse(text(data)), listed: text(cells) }, arrays));
    document.body.dataset.ready = "yes"; // for tests
  } catch (error) {
    element("trouble").textContent = `Plots cannot be drawn: ${error}. Browsers from 2023 on can.`;
    element("trouble").hidden = false;
  }
})();
