// Draws the comparison of samples. In the page it stands after pictures/shared.js, data.js and charts.js, in the same
// script.

const DASHES = ["solid", "dash", "dot", "dashdot", "longdash", "longdashdot"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "star", "triangle-down", "hexagon"];
const ACROSS = 0.62; // width of a sample's cells, in distances between samples

function start(page, bytes) {
  const row = (place, at) => numbersAt(bytes, place, at);
  const feature = () => page.features[element("feature").value];
  const quantity = () => page.quantities[element("quantity").value];
  const time = `time (${page.unit})`;
  const named = ([dataset, fov]) => `${page.datasets[dataset].name}, FOV ${fov}`;
  const bySample = () => element("colours").value === "samples";
  const colourOf = ([dataset, , sample]) => (bySample() ? page.samples[sample] : page.datasets[dataset]).colour;
  const turn = (list, at) => list[at % list.length];
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const grid = row(page.grid, 0);

  // ------------------------------------------------------------------------------------------------- traces

  const there = (xs, ys) => ys.flatMap((value, at) => (Number.isNaN(value) || Number.isNaN(xs[at]) ? [] : [at]));

  const legend = { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" };

  /** An entry of the legend for each dataset, where there are several: how its lines or points look. */
  function entries(mode, look) {
    return page.datasets.length < 2 ? [] : page.datasets.map(({ name, colour }, at) => (
      { type: "scatter", mode, x: [null], y: [null], name: plain(name), showlegend: true, ...look(bySample() ? palette().soft : colour, at) }
    ));
  }

  function drawTraces() {
    const traces = page.fovs.map((fov, at) => {
      const [xs, ys] = [row(page.times, at), row(feature().fovs, at)];
      const known = there(xs, ys);
      return {
        type: "scatter", mode: known.length > 1 ? "lines" : "markers", x: known.map((frame) => xs[frame]), y: known.map((frame) => ys[frame]),
        line: { color: colourOf(fov), width: 1, dash: turn(DASHES, fov[0]) }, marker: { color: colourOf(fov), symbol: turn(SYMBOLS, fov[0]) },
        opacity: 0.6, showlegend: false,
        hovertemplate: `${plain(named(fov))}<br>%{x:.4~g} ${page.unit}, %{y:${NUMBER}}<extra>${plain(page.samples[fov[2]].name)}</extra>`,
      };
    });
    page.samples.forEach((sample, at) => {
      const ys = row(feature().samples, at);
      const known = there(grid, ys);
      traces.push({
        type: "scatter", mode: known.length > 1 ? "lines" : "markers", x: known.map((point) => grid[point]), y: known.map((point) => ys[point]),
        line: { color: bySample() ? sample.colour : palette().ink, width: 3.5, dash: bySample() ? "solid" : turn(DASHES, at) },
        marker: { color: bySample() ? sample.colour : palette().ink, size: 10 }, name: plain(sample.name), showlegend: true,
        hovertemplate: `mean of FOVs<br>%{x:.4~g} ${page.unit}, %{y:${NUMBER}}<extra>${plain(sample.name)}</extra>`,
      });
    });
    const yaxis = axisFor(traces.flatMap(({ y }) => y), element("log").checked);
    traces.push(...entries("lines", (color, at) => ({ line: { color, width: 1.5, dash: turn(DASHES, at) } })));
    draw("plot-traces", traces, layout(time, plain(feature().label), { yaxis, legend, showlegend: true }));
  }

  function dataOfTraces() {
    const rows = [["sample", "dataset", "fov", `time_${page.unit}`, feature().column]];
    const add = (place, xs, ys) => there(xs, ys).forEach((at) => rows.push([...place, xs[at], ys[at]]));
    page.samples.forEach((sample, at) => add([sample.name, "mean of FOVs", ""], grid, row(feature().samples, at)));
    page.fovs.forEach(([dataset, fov, sample], at) => add([page.samples[sample].name, page.datasets[dataset].name, fov], row(page.times, at), row(feature().fovs, at)));
    return rows;
  }

  // ----------------------------------------------------------------------------------------------- numbers

  // Side by side in steps of the golden section: evenly strewn, and every time the same.
  const strewn = (sample, at, width = ACROSS) => sample + width * (((at * 0.618034) % 1) - 0.5);

  function drawNumbers() {
    const chosen = quantity();
    const points = row(chosen.points, 0);
    const traces = [];
    page.datasets.forEach((_, which) => {
      const cells = page.cells.flatMap(([at], cell) => (page.fovs[at][0] === which && !Number.isNaN(points[cell]) ? [cell] : []));
      const symbol = turn(SYMBOLS, which);
      traces.push({
        type: "scatter", mode: "markers", x: cells.map((cell, at) => strewn(page.fovs[page.cells[cell][0]][2], at)), y: cells.map((cell) => points[cell]),
        marker: { color: cells.map((cell) => colourOf(page.fovs[page.cells[cell][0]])), size: 4, symbol, opacity: 0.35 }, showlegend: false,
        text: cells.map((cell) => `${plain(named(page.fovs[page.cells[cell][0]]))}, cell ${page.cells[cell][1]}`),
        hovertemplate: `%{text}<br>%{y:${NUMBER}}<extra></extra>`,
      });
    });
    page.datasets.forEach((_, which) => {
      const fovs = page.fovs.flatMap(([of], at) => (of === which && chosen.fovs[at] !== null ? [at] : []));
      traces.push({
        type: "scatter", mode: "markers", x: fovs.map((at) => strewn(page.fovs[at][2], at, ACROSS / 2)), y: fovs.map((at) => chosen.fovs[at]),
        marker: { color: fovs.map((at) => colourOf(page.fovs[at])), size: 13, symbol: turn(SYMBOLS, which), line: { color: palette().ink, width: 1.5 } },
        text: fovs.map((at) => `${plain(named(page.fovs[at]))}: mean of ${shown(chosen.cells[at])} cells`), showlegend: false,
        hovertemplate: `%{text}<br>%{y:${NUMBER}}<extra></extra>`,
      });
    });
    const narrow = element("plot-numbers").clientWidth < 130 * page.samples.length + 60;
    const names = page.samples.map((sample, which) => {
      const fovs = page.fovs.flatMap(([, , of], at) => (of === which && chosen.fovs[at] !== null ? [at] : []));
      if (fovs.length) {
        const middle = mean(fovs.map((at) => chosen.fovs[at]));
        traces.push({ type: "scatter", mode: "lines", x: [which - ACROSS / 2, which + ACROSS / 2], y: [middle, middle], line: { color: palette().ink, width: 2.5 }, hoverinfo: "skip", showlegend: false });
      }
      const cells = fovs.reduce((sum, at) => sum + chosen.cells[at], 0);
      const days = new Set(fovs.map((at) => page.fovs[at][0])).size;
      if (narrow) return plain(sample.name.length > 12 ? `${sample.name.slice(0, 11)}…` : sample.name);
      return `${plain(sample.name)}<br>${fovs.length} FOV${fovs.length === 1 ? "" : "s"}, ${days} dataset${days === 1 ? "" : "s"}<br>${shown(cells)} cells`;
    });
    const xaxis = { tickvals: names.map((_, at) => at), ticktext: names, range: [-0.6, page.samples.length - 0.4], zeroline: false, showgrid: false };
    const yaxis = axisFor(traces.flatMap(({ y }) => y), element("log-quantity").checked);
    traces.push(...entries("markers", (color, at) => ({ marker: { color, size: 12, symbol: turn(SYMBOLS, at), line: { color: palette().ink, width: 1.5 } } })));
    draw("plot-numbers", traces, layout("", plain(chosen.label).replaceAll(narrow ? /(?<=[:,]) /g : ": ", narrow ? "<br>" : ":<br>"), { xaxis, yaxis, legend, showlegend: true }));
  }

  function dataOfNumbers() {
    const points = row(quantity().points, 0);
    const placed = (at) => [page.samples[page.fovs[at][2]].name, page.datasets[page.fovs[at][0]].name, page.fovs[at][1]];
    return [
      ["sample", "dataset", "fov", "cell", quantity().name],
      ...page.fovs.map((_, at) => [...placed(at), "mean", quantity().fovs[at]]),
      ...page.cells.map(([at, cell], which) => [...placed(at), cell, points[which]]),
    ];
  }

  // ----------------------------------------------------------------------------------------------- effects

  /** The effects of the chosen quantity against the chosen reference: [name of the sample, effect]. */
  function chosenEffects() {
    const reference = Number(element("reference").value);
    return quantity().effects.flatMap(([of, sample, effect]) => (of === reference ? [[page.samples[sample], effect]] : []));
  }

  const interval = (effect, name) => (effect[`${name}_low`] === null ? "none" : `${shown(effect[`${name}_low`])} to ${shown(effect[`${name}_high`])}`);

  function drawEffects() {
    if (page.samples.length < 2) return;
    const effects = chosenEffects();
    const reference = page.samples[element("reference").value].name;
    element("of-quantity").textContent = quantity().label;
    const traces = effects.map(([sample, effect], at) => {
      const half = effect.difference_low === null ? {} : { error_x: { type: "data", symmetric: false, array: [effect.difference_high - effect.difference], arrayminus: [effect.difference - effect.difference_low], color: sample.colour, thickness: 3, width: 8 } };
      return {
        type: "scatter", mode: "markers", x: [effect.difference], y: [at], marker: { color: sample.colour, size: 11 }, ...half,
        hovertemplate: `${plain(sample.name)} – ${plain(reference)}: %{x:${NUMBER}}<br>95 %: ${interval(effect, "difference")}<extra></extra>`,
      };
    });
    const ends = effects.flatMap(([, effect]) => [effect.difference, effect.difference_low, effect.difference_high].filter((value) => value !== null));
    const zero = { type: "line", x0: 0, x1: 0, y0: 0, y1: 1, yref: "paper", line: { color: palette().soft, width: 1.5 } };
    const yaxis = { tickvals: effects.map((_, at) => at), ticktext: effects.map(([sample]) => plain(sample.name)), range: [effects.length - 0.4, -0.6], zeroline: false, showgrid: false };
    element("plot-effects").style.height = `${Math.max(130, 90 + 34 * effects.length)}px`;
    draw("plot-effects", traces, layout(`difference from ${plain(reference)}`, "", { xaxis: axisFor([0, ...ends]), yaxis, shapes: [zero] }));
    const heads = ["sample", "difference", "95 % by FOVs", "95 % by datasets", "ratio", "95 %", "Hedges' g", "95 %", "FOVs", "datasets", "cells", "method; notes"];
    const head = make("tr");
    head.append(...heads.map((words) => make("th", words)));
    const rows = effects.map(([sample, effect]) => {
      const both = (name) => `${shown(effect[name])} against ${shown(effect[`${name}_reference`])}`;
      const line = make("tr");
      line.append(make("td", sample.name), ...[
        shown(effect.difference), interval(effect, "difference"), interval(effect, "by_datasets"), shown(effect.ratio), interval(effect, "ratio"),
        shown(effect.hedges_g), interval(effect, "hedges_g"), both("fovs"), both("datasets"), both("cells"),
      ].map((words) => make("td", words, { class: "number" })), make("td", [effect.method, effect.notes].filter(Boolean).join("; "), { class: "why" }));
      return line;
    });
    element("table-effects").replaceChildren(head, ...rows);
  }

  function dataOfEffects() {
    const effects = chosenEffects();
    const names = Object.keys(effects[0][1]);
    const reference = page.samples[element("reference").value].name;
    return [["quantity", "sample", "reference", ...names], ...effects.map(([sample, effect]) => [quantity().name, sample.name, reference, ...names.map((name) => effect[name])])];
  }

  // ---------------------------------------------------------------------------------------------- what is shown

  function fill(id, words) {
    element(id).replaceChildren(...words.map((label, at) => make("option", label, { value: at })));
  }

  function drawAll() {
    [drawTraces, drawNumbers, drawEffects].forEach((part) => part());
  }

  if (!page.fovs.length) {
    ["plot-traces", "plot-numbers"].forEach((id) => nothing(id, "There is no cell in the tables."));
    document.querySelectorAll(".controls, #plot-effects").forEach((part) => part.remove());
    return;
  }
  fill("feature", page.features.map(({ label }) => label));
  fill("quantity", page.quantities.map(({ label }) => label));
  if (page.samples.length > 1) fill("reference", page.samples.map(({ name }) => name));
  else element("colours").value = "datasets";
  const light = (list, key) => Math.max(list.findIndex((item) => item[key].startsWith("intensity")), 0);
  element("feature").value = light(page.features, "column");
  element("quantity").value = light(page.quantities, "name");
  const on = (id, what, ...parts) => element(id)?.addEventListener(what, () => parts.forEach((part) => part()));
  on("feature", "change", drawTraces);
  on("log", "change", drawTraces);
  on("colours", "change", drawTraces, drawNumbers);
  on("quantity", "change", drawNumbers, drawEffects);
  on("log-quantity", "change", drawNumbers);
  on("reference", "change", drawEffects);
  on("data-traces", "click", () => download(`traces_${feature().column}.csv`, csvText(dataOfTraces())));
  on("data-numbers", "click", () => download(`${quantity().name}.csv`, csvText(dataOfNumbers())));
  on("data-effects", "click", () => download(`differences_${quantity().name}.csv`, csvText(dataOfEffects())));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  onPaper(drawAll);
  drawAll();
}

(async () => {
  try {
    const [library, data, arrays] = await Promise.all(["library", "data", "arrays"].map(unpack));
    document.head.append(make("script", text(library)));
    start(JSON.parse(text(data)), arrays);
    document.body.dataset.ready = "yes"; // for tests
  } catch (error) {
    element("trouble").textContent = `Plots cannot be drawn: ${error}. Browsers from 2023 on can.`;
    element("trouble").hidden = false;
  }
})();
