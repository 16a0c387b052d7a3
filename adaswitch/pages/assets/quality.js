// Cost against quality: one point for each method.

const QUALITY_HEIGHT = 380;
const qualityState = { content: null, plot: null };

/** Fills the two choices, and draws. */
function startQuality(content) {
  qualityState.content = content;
  byId("quality").hidden = content.points.length === 0 || content.marks.length === 0;
  const choice = (id, entries) => byId(id).replaceChildren(...entries.map(([value, text]) => make("option", { value, text })));
  choice("cost", content.costs.map((cost) => [cost.key, cost.title]));
  choice("mark", content.marks.map((title, i) => [String(i), title]));
  for (const id of ["cost", "mark"]) byId(id).addEventListener("change", showQuality);
  new ResizeObserver(() => {
    const width = byId("quality-plot").clientWidth, plot = qualityState.plot;
    if (plot && width && width !== plot.width) plot.setSize({ width, height: QUALITY_HEIGHT });
  }).observe(byId("quality-plot"));
  whenNear(byId("quality-plot"), showQuality);
}

/** The chosen methods' points for the chosen cost and mark. */
function qualityPoints() {
  const mark = Number(byId("mark").value), cost = byId("cost").value;
  return qualityState.content.points.filter((point) => isChosen(point.method) && point.marks[mark])
    .map((point) => ({ method: point.method, cost: point.costs[cost], ...point.marks[mark] }));
}

function showQuality() {
  if (byId("quality").hidden) return;
  const box = byId("quality-plot"), points = qualityPoints();
  qualityState.plot?.destroy();
  qualityState.plot = null;
  box.replaceChildren();
  const costName = byId("cost").selectedOptions[0].text, markName = byId("mark").selectedOptions[0].text;
  byId("quality-figure").setAttribute("aria-label", `${markName} against ${costName}: ${points.map((point) =>
    `${point.method} ${plain(point.mean)} for ${plain(point.cost)}`).join("; ")}`);
  if (!points.length || !box.clientWidth) return;
  const places = [...new Set(points.map((point) => point.cost))].sort((a, b) => a - b);
  const options = plotOptions(box.clientWidth, QUALITY_HEIGHT, "", false, {
    series: [
      { label: costName, value: (_, value) => plain(value) },
      ...points.map((point) => ({
        label: point.method, stroke: colour(inkOfMethod(point.method)), paths: () => null,
        points: { show: true, size: 9, fill: isDashed(point.method) ? colour("surface") : colour(inkOfMethod(point.method)), width: 2 },
        value: (_, value) => plain(value),
      })),
    ],
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    legend: { show: false },
    hooks: { draw: [(plot) => drawIntervals(plot, points)] },
  });
  const costs = points.map((point) => point.cost), ends = points.flatMap((point) => [point.low ?? point.mean, point.high ?? point.mean]);
  options.scales.x.range = wider(costs, 0.08);
  options.scales.y.range = wider(ends, 0.08);
  delete options.axes[0].incrs;
  qualityState.plot = new uPlot(options, [
    places, ...points.map((point) => places.map((place) => (place === point.cost ? point.mean : null))),
  ], box);
}

/** From the least to the greatest of the values, with some room. */
function wider(values, share) {
  const low = Math.min(...values), high = Math.max(...values);
  const room = (high - low || Math.abs(high) || 1) * share;
  return [low - room, high + room];
}

/** Each point's interval, and its method's name beside it. */
function drawIntervals(plot, points) {
  const { ctx, bbox } = plot, scale = devicePixelRatio;
  ctx.save();
  ctx.font = `${12 * scale}px system-ui, sans-serif`;
  ctx.textBaseline = "middle";
  points.forEach((point, i) => {
    if (!plot.series[i + 1].show) return;
    const x = plot.valToPos(point.cost, "x", true), y = plot.valToPos(point.mean, "y", true);
    ctx.strokeStyle = ctx.fillStyle = colour(inkOfMethod(point.method));
    ctx.lineWidth = 1.5 * scale;
    if (point.low !== null) {
      ctx.beginPath();
      ctx.moveTo(x, plot.valToPos(point.low, "y", true));
      ctx.lineTo(x, plot.valToPos(point.high, "y", true));
      ctx.stroke();
    }
    const width = ctx.measureText(point.method).width, gap = 9 * scale;
    const isRight = x + gap + width < bbox.left + bbox.width;
    ctx.textAlign = isRight ? "left" : "right";
    ctx.fillText(point.method, isRight ? x + gap : x - gap, y);
  });
  ctx.restore();
}
