// Draws the figures with Plotly, in the colors of the page, and the kernel that is chosen.
"use strict";

const report = JSON.parse(document.getElementById("report-data").textContent);
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const config = { responsive: true, displayModeBar: false };
const dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom"; // a finger scrolls the page
const small = { l: 56, r: 12, t: 12, b: 48 };
const isNarrow = matchMedia("(max-width: 30rem)").matches;
const byId = (id) => document.getElementById(id);

function draw(id, data, layout) {
  const legend = { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom", maxheight: isNarrow ? 0.4 : 0.3 };
  const template = report.themes[prefersDark.matches ? "dark" : "light"];
  const traces = isNarrow ? data.map((trace) => ({ ...trace, name: wrapped(trace.name) })) : data;
  const axes = { xaxis: { automargin: true, ...layout.xaxis }, yaxis: { automargin: true, ...layout.yaxis } };
  return Plotly.react(`figure-${id}`, traces, { autosize: true, dragmode, margin: small, legend, uirevision: true, ...layout, ...axes, template }, config);
}

// A legend cuts what is wider than the figure.
function wrapped(name) {
  return name?.replace(/(.{16,26}?[\s\/:_-])(?=.{6})/g, "$1<br>");
}

function drawFigures() {
  for (const [id, figure] of Object.entries(report.figures)) draw(id, figure.data, figure.layout);
}

// The kernels: choice of run, layer, channel and epoch.

const runs = report.kernels;
const choice = { run: byId("kernel-run"), layer: byId("kernel-layer"), channel: byId("kernel-channel") };
const slider = byId("kernel-epoch");
const chosenRun = () => runs[choice.run.value];
const chosenLayer = () => chosenRun().layers[choice.layer.value];

function fill(select, texts) {
  const before = select.value;
  select.replaceChildren(...texts.map((text, index) => new Option(text, index)));
  select.value = before !== "" && before < texts.length ? before : 0;
}

function fillLayers() {
  fill(choice.layer, chosenRun().layers.map((layer) => layer.name));
  fillChannels();
}

function fillChannels() {
  const layer = chosenLayer();
  const texts = layer.kernels.map((kernel) => String(kernel.channel));
  const isPart = texts.length < layer.channels;
  fill(choice.channel, texts);
  choice.channel.parentElement.firstChild.textContent = isPart
    ? `Channel (${texts.length} of ${layer.channels}, the strongest first) `
    : "Channel (the strongest first) ";
  const wasAtEnd = slider.value === slider.max;
  slider.max = layer.epochs.length - 1;
  if (wasAtEnd || Number(slider.value) > Number(slider.max)) slider.value = slider.max;
  byId("epoch-control").hidden = layer.epochs.length < 2;
  drawKernel();
}

function momentOf(epoch) {
  if (epoch === null) return `in ${chosenRun().weights}`;
  return epoch === 0 ? "before training" : `after ${epoch} ${epoch === 1 ? "epoch" : "epochs"}`;
}

// Null is what was not a finite number, and is not drawn.
const isKnown = (...values) => values.every((value) => value !== null);

function rings([rows, columns], [heights, widths]) {
  const x = [], y = [];
  rows.forEach((row, element) => {
    if (!isKnown(row, columns[element], heights[element], widths[element])) return;
    for (let step = 0; step <= 32; step++) {
      x.push(columns[element] + widths[element] * Math.cos((step * Math.PI) / 16));
      y.push(row + heights[element] * Math.sin((step * Math.PI) / 16));
    }
    x.push(null);
    y.push(null);
  });
  return { x, y };
}

function paths(positions) {
  const x = [], y = [];
  positions[0][0].forEach((_, element) => {
    for (const [rows, columns] of positions) {
      x.push(columns[element]);
      y.push(rows[element]);
    }
    x.push(null);
    y.push(null);
  });
  return { x, y };
}

// Along one axis, from a kernel's first cell to its last, and as far as rings reach: of all channels and epochs, since
// Plotly keeps a zoom only where the range that it is given does not change.
function range(layer, axis) {
  const first = layer.origin[axis], { levels } = layer.kernels[0], count = axis ? levels[0].length : levels.length;
  let lowest = first - 0.5, highest = first + count - 0.5;
  for (const kernel of layer.kernels) {
    kernel.positions.forEach((places, epoch) => places[axis].forEach((place, element) => {
      const spread = kernel.spreads[epoch][axis][element];
      if (!isKnown(place, spread)) return;
      lowest = Math.min(lowest, (place - spread) / 100);
      highest = Math.max(highest, (place + spread) / 100);
    }));
  }
  return [lowest - 0.3, highest + 0.3];
}

// [rows, columns], found once for a layer: the slider draws at every step.
function rangesOf(layer) {
  layer.ranges ??= [range(layer, 0), range(layer, 1)];
  return layer.ranges;
}

// Positions and spreads come in hundredths of a pixel: [rows, columns] of the elements, for each epoch.
const inPixels = (epochs) => epochs.map((both) => both.map((along) => along.map((value) => value === null ? null : value / 100)));

function colorOf(weight) {
  if (!isKnown(weight)) return "rgba(0, 0, 0, 0)";
  return weight < 0 ? "#1f6fc4" : "#d1402f";
}

function drawKernel() {
  const layer = chosenLayer(), at = Number(slider.value), stored = layer.kernels[choice.channel.value];
  const kernel = { ...stored, positions: inPixels(stored.positions), spreads: inPixels(stored.spreads) };
  const ink = report.inks[prefersDark.matches ? "dark" : "light"];
  const [firstRow, firstColumn] = layer.origin;
  const positions = kernel.positions[at], spreads = kernel.spreads[at], isEnd = at === layer.epochs.length - 1;
  const scale = kernel.largest / 999;
  const line = { mode: "lines", hoverinfo: "skip", showlegend: false };
  const data = [
    {
      type: "heatmap",
      z: kernel.levels.map((row) => row.map((level) => level === null ? null : level * scale)),
      x0: firstColumn, dx: 1, y0: firstRow, dy: 1,
      zmin: -kernel.largest || -1, zmax: kernel.largest || 1, autocolorscale: true,
      opacity: isEnd ? 1 : 0.35,
      colorbar: { title: { text: "weight", side: "top" }, orientation: "h", y: -0.12, yanchor: "top", thickness: 10 },
      hovertemplate: "row %{y}, column %{x}<br>weight %{z:.3g}<extra></extra>",
    },
    { ...line, ...paths(kernel.positions.slice(0, at + 1)), line: { color: ink, width: 1, dash: "dot" }, opacity: 0.6 },
    { ...line, ...rings(positions, spreads), line: { color: ink, width: 1.2 } },
    {
      mode: "markers", showlegend: false,
      x: positions[1], y: positions[0],
      customdata: kernel.weights.map((weight, element) => [weight, spreads[0][element], spreads[1][element], element]),
      marker: { size: 7, color: kernel.weights.map(colorOf), line: { color: ink, width: 1.2 } },
      hovertemplate:
        "element %{customdata[3]}<br>row %{y:.2f}, column %{x:.2f}<br>" +
        "spread %{customdata[1]:.2f} x %{customdata[2]:.2f}<br>weight %{customdata[0]:.3g}<extra></extra>",
    },
  ];
  const axis = { constrain: "domain", showgrid: false, zeroline: false };
  const title = `${layer.name}, channel ${kernel.channel}, elements ${momentOf(layer.epochs[at])}`;
  byId("kernel-title").textContent = title;
  byId("kernel-moment").textContent = momentOf(layer.epochs[at]);
  slider.setAttribute("aria-valuetext", momentOf(layer.epochs[at]));
  byId("figure-kernel").setAttribute("aria-label", `Dense kernel and elements of ${title}. The numbers are in the table below.`);
  byId("kernel-remark").textContent =
    `${layer.kind}. The weights are those of ${chosenRun().weights}. ${layer.remark} ` +
    (layer.epochs.length > 1 ? "Of earlier epochs, a run keeps positions and spreads but no weights; dotted lines are the paths of the elements." : "");
  fillElements(kernel, positions, spreads);
  const [rows, columns] = rangesOf(layer);
  draw("kernel", data, {
    uirevision: `${choice.run.value} ${choice.layer.value}`, // a zoom stays while epoch or channel change
    xaxis: { ...axis, title: { text: "column" }, range: [...columns] },
    yaxis: { ...axis, title: { text: "row" }, range: [...rows].reverse(), scaleanchor: "x" },
  });
}

function fillElements(kernel, positions, spreads) {
  const lines = kernel.weights.map((weight, element) => {
    const line = document.createElement("tr");
    const values = [positions[0], positions[1], spreads[0], spreads[1]].map((of) => of[element]?.toFixed(2) ?? "–");
    [element, ...values, weight].forEach((value, index) => {
      const cell = document.createElement(index ? "td" : "th");
      if (!index) cell.scope = "row";
      cell.textContent = value ?? "–";
      line.append(cell);
    });
    return line;
  });
  byId("kernel-elements").tBodies[0].replaceChildren(...lines);
}

function startKernels() {
  fill(choice.run, runs.map((run) => run.run));
  choice.run.parentElement.hidden = runs.length < 2;
  choice.run.addEventListener("change", fillLayers);
  choice.layer.addEventListener("change", fillChannels);
  choice.channel.addEventListener("change", drawKernel);
  slider.addEventListener("input", drawKernel);
  slider.max = slider.value = 0;
  fillLayers();
}

drawFigures();
if (runs.length) startKernels();
prefersDark.addEventListener("change", () => {
  drawFigures();
  if (runs.length) drawKernel();
});
