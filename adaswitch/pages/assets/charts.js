// The curves: uPlot draws them. A chart that is there already gets new points; all else draws it anew.

/** `charts` gives all charts as they are when it is called: key, title, unit, meaning, series, bands, data by axis. */
const curveState = { axis: "step", logarithmic: false, charts: () => [], plots: new Map(), shape: "" };
const HEIGHT = 210;
/** The steps between the marks of an axis that counts: never half a step. */
const WHOLE = [1, 2, 5].flatMap((size) => [...Array(13).keys()].map((power) => size * 10 ** power)).sort((a, b) => a - b);
const AXIS_NAMES = {
  step: "step", teacher_tokens_so_far: "teacher tokens", teacher_tokens: "teacher tokens", train_s: "seconds of training",
};

/** The colour of a name in the style sheet, for a canvas, which knows no names. */
function colour(name, alpha = 100) {
  const probe = make("span", { hidden: true });
  probe.style.color = `color-mix(in srgb, var(--${name}) ${alpha}%, transparent)`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

/** What every chart shares: axes, cursor, scales. */
function plotOptions(width, height, unit, logarithmic, more = {}) {
  const muted = colour("muted"), line = colour("line");
  const axis = {
    stroke: muted, font: "12px system-ui, sans-serif", ticks: { show: false },
    grid: { stroke: line, width: 1 },
  };
  return {
    width, height,
    scales: { x: { time: false }, y: { distr: logarithmic ? 3 : 1 } },
    axes: [
      { ...axis, grid: { show: false }, incrs: WHOLE, values: (_, splits) => splits.map((v) => (v === null ? "" : plain(v))), space: 70, size: 28 },
      { ...axis, values: (_, splits) => splits.map((v) => (v === null ? "" : unit === "share" ? roundPercent(v) : plain(v))), space: 36, size: 58 },
    ],
    ...more,
  };
}

/** The points of a chart as they can be drawn: a log axis has no place for what is not above zero. */
function drawable(chart) {
  const [places, ...lines] = chart.data(curveState.axis);
  if (!curveState.logarithmic) return [places, ...lines];
  return [places, ...lines.map((line) => line.map((value) => (value > 0 ? value : null)))];
}

/** Draws all curves, or gives those that are there their new points. */
function showCharts() {
  const charts = curveState.charts();
  const shape = JSON.stringify([charts.map((chart) => [chart.key, chart.series.map((one) => one.label)]), curveState.axis, curveState.logarithmic]);
  if (shape === curveState.shape) {
    for (const chart of charts) {
      const plot = curveState.plots.get(chart.key);
      plot?.setData(drawable(chart));
      if (plot) showNewest(plot, chart);
    }
    return;
  }
  curveState.shape = shape;
  redrawCurves(charts);
}

/** Draws all curves anew, as after a change of the colours. */
function redrawCurves(charts = curveState.charts()) {
  for (const plot of curveState.plots.values()) plot.destroy();
  curveState.plots.clear();
  byId("charts").replaceChildren(...charts.map(chartFigure));
}

/** The figure of one chart, which draws itself once it comes into sight. */
function chartFigure(chart) {
  const box = make("div", { class: "plot" });
  const figure = make("figure", { class: "chart", tabindex: "0", "data-chart": chart.key, "aria-label": spoken(chart) },
    make("figcaption", {}, make("h3", { text: chart.title }), make("small", { text: unitName(chart.unit) })),
    make("p", { class: "meaning", text: chart.meaning }), box);
  box.style.minHeight = `${HEIGHT}px`;
  // By then there may be newer points.
  whenNear(box, () => drawChart(curveState.charts().find((one) => one.key === chart.key) ?? chart, box, figure));
  return figure;
}

/** A chart in one sentence, for those who do not see it. */
function spoken(chart) {
  const [, ...lines] = chart.data("step");
  const parts = chart.series.map((series, i) => {
    const values = series.edge ? [] : lines[i].filter((value) => value !== null);
    if (!values.length) return null;
    return `${series.label} from ${inUnit(values[0], chart.unit)} to ${inUnit(values[values.length - 1], chart.unit)}`;
  });
  return `${chart.title}, ${unitName(chart.unit)}: ${parts.filter(Boolean).join("; ")}. Arrow keys read single points.`;
}

function drawChart(chart, box, figure) {
  const series = chart.series.map((one) => one.edge
    ? { label: "edge", stroke: "transparent", width: 0, spanGaps: true, points: { show: false } }
    : {
      label: one.label, stroke: colour(one.colour), width: 1.5, dash: one.dashed ? [5, 4] : undefined, spanGaps: true,
      points: one.points ? { show: true, size: 6 } : undefined, value: (_, value) => inUnit(value, chart.unit),
    });
  const options = plotOptions(box.clientWidth, HEIGHT, chart.unit, curveState.logarithmic, {
    series: [{ label: AXIS_NAMES[curveState.axis], value: (_, value) => (value === null ? DASH : value.toLocaleString("en")) }, ...series],
    bands: chart.bands.map((band) => ({ series: [band.series[0], band.series[1]], fill: colour(band.ink, 14) })),
    cursor: {
      sync: { key: "curves", scales: ["x", null] }, y: false, points: { size: 7 },
      dataIdx: (plot, number, at) => placeOf(plot, chart, number, at),
    },
    hooks: {
      setCursor: [(plot) => { if (plot.cursor.idx === null || plot.cursor.idx === undefined) showNewest(plot, chart); }],
      setSeries: [(plot, number, change) => hideBand(plot, chart, number, change)],
    },
  });
  const plot = new uPlot(options, drawable(chart), box);
  box.querySelectorAll(".u-series").forEach((row, i) => { row.hidden = i > 0 && Boolean(chart.series[i - 1].edge); });
  curveState.plots.set(chart.key, plot);
  showNewest(plot, chart);
  figure.addEventListener("keydown", (event) => stepCursor(event, plot));
}

/** Lets the legend show the newest point while nobody points at another one. */
function showNewest(plot, chart) {
  const last = plot.data[0].length - 1;
  if (last >= 0) plot.setLegend({ idxs: plot.series.map((_, number) => placeOf(plot, chart, number, last)) }, false);
}

/** The place at which line `number` is read for place `at`: the next one that it has a value at, if it has none there. */
function placeOf(plot, chart, number, at) {
  const values = plot.data[number];
  if (!chart.isSparse || number === 0 || at === null || values[at] !== null) return at;
  let low = at, high = at;
  while (low >= 0 && values[low] === null) low -= 1;
  while (high < values.length && values[high] === null) high += 1;
  if (low < 0) return high < values.length ? high : at;
  const places = plot.data[0];
  return high < values.length && places[high] - places[at] < places[at] - places[low] ? high : low;
}

/** Lets the band around a line go and come with the line, upon a click on its name. */
function hideBand(plot, chart, number, change) {
  if (change.show === undefined || chart.series[number - 1]?.edge !== undefined) return;
  for (let edge = number + 1; chart.series[edge - 1]?.edge; edge += 1) plot.setSeries(edge, { show: change.show }, false);
}

/** Moves the cursor of a chart by the arrow keys. */
function stepCursor(event, plot) {
  const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
  if (move === undefined) return;
  event.preventDefault();
  const last = plot.data[0].length - 1;
  const at = Math.min(last, Math.max(0, (plot.cursor.idx ?? last) + move));
  plot.setCursor({ left: plot.valToPos(plot.data[0][at], "x"), top: 10 });
}

/** The buttons above the curves, and charts that keep the width of their place. */
function startCurves() {
  document.querySelectorAll('input[name="axis"]').forEach((input) => input.addEventListener("change", () => {
    curveState.axis = input.value;
    showCharts();
  }));
  byId("log").addEventListener("change", (event) => {
    curveState.logarithmic = event.target.checked;
    showCharts();
  });
  new ResizeObserver(() => {
    for (const plot of curveState.plots.values()) {
      const width = plot.root.parentElement.clientWidth;
      if (width && width !== plot.width) plot.setSize({ width, height: HEIGHT });
    }
  }).observe(byId("charts"));
}
