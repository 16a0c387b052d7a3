// The text of a rollout, token by token, and the strip under it.

const STRIP_HEIGHT = 96;
const MOST_HEAT = 45;

/** The divergence that is drawn strongest: only one token in twenty has a larger one. */
function heatScale(rollouts) {
  const all = rollouts.flatMap((rollout) => rollout.divergences).sort((a, b) => a - b);
  return all[Math.floor(0.95 * (all.length - 1))] || 1;
}

/** The completion as spans in the colour of who wrote them. Arrow keys go from token to token. */
function textOf(rollout, names, scale) {
  const box = make("div", {
    class: "text", dir: "auto", tabindex: "0", role: "group",
    "aria-label": "The completion. Arrow keys go through its tokens.",
  });
  const tokens = rollout.pieces.map((piece, i) => tokenSpan(rollout, piece, i, scale));
  tokens.forEach((token, i) => {
    if (rollout.by[i] === "1" && (i === 0 || rollout.by[i - 1] === "0")) box.append(switchMark(i));
    box.append(token);
  });
  const point = pointer(box, tokens, rollout, names);
  box.addEventListener("keydown", (event) => stepToken(event, point, tokens.length));
  box.addEventListener("blur", () => point(null));
  box.addEventListener("pointerover", (event) => {
    const token = event.target.closest(".token");
    if (token && box.contains(token)) point(Number(token.dataset.i));
  });
  box.addEventListener("pointerleave", () => { if (document.activeElement !== box) point(null); });
  return { box, point };
}

function tokenSpan(rollout, piece, i, scale) {
  const writer = rollout.by[i] === "1" ? "teacher" : "student";
  const mark = piece === "" ? "·" : /[\n\r]/.test(piece) ? "↵" : /^\t+$/.test(piece) ? "⇥" : /^ +$/.test(piece) ? "␣" : null;
  const span = make("span", { class: `token ${writer}`, "data-i": i, "data-mark": mark === "␣" ? null : mark, text: piece });
  if (mark === "␣") span.classList.add("blank");
  if (i < rollout.divergences.length) {
    span.style.setProperty("--heat", `${Math.round(MOST_HEAT * Math.min(1, rollout.divergences[i] / scale))}%`);
  }
  return span;
}

function switchMark(i) {
  const words = `the teacher takes over at token ${i}`;
  return make("span", { class: "switch", role: "img", "aria-label": words, title: words, text: "▸" });
}

/** Marks one token, or none, and shows what is known of it. Returns what does so, with `at` for the marked one. */
function pointer(box, tokens, rollout, names) {
  const point = (i) => {
    if (point.at !== null) tokens[point.at].classList.remove("here");
    point.at = i;
    if (i === null) return hideTip();
    tokens[i].classList.add("here");
    showTip(rollout, names, i, tokens[i]);
  };
  point.at = null;
  return point;
}

function stepToken(event, point, number) {
  if (event.key === "Escape" && point.at !== null) {
    event.preventDefault();
    event.stopPropagation();
    return point(null);
  }
  const right = getComputedStyle(event.currentTarget).direction === "rtl" ? -1 : 1;
  const move = { ArrowLeft: -right, ArrowRight: right, Home: -Infinity, End: Infinity }[event.key];
  if (move === undefined || number === 0) return;
  event.preventDefault();
  point(point.at === null ? 0 : Math.min(number - 1, Math.max(0, point.at + move)));
}

/** Divergence against threshold, token by token. Pointing at it marks the token in the text. */
function stripOf(rollout, point) {
  if (!rollout.divergences.length) {
    return [make("p", { class: "strip-name", text: "No divergence was looked at in this rollout." })];
  }
  const name = make("p", { class: "strip-name" },
    make("span", { text: "nats at each token" }), make("i", { class: "bar", text: "divergence" }),
    make("i", { class: "over", text: "where it crossed" }), make("i", { class: "line", text: "threshold" }));
  const box = make("div", { class: "strip" });
  whenNear(box, () => drawStrip(rollout, box, point));
  return [name, box];
}

function drawStrip(rollout, box, point) {
  const { divergences, thresholds, ids } = rollout;
  const over = (i) => thresholds[i] !== null && divergences[i] > thresholds[i];
  const places = ids.map((_, i) => i);
  const along = (value) => places.map((i) => (i < divergences.length ? value(i) : null));
  const bars = uPlot.paths.bars({ size: [0.7, 14], align: 0 });
  const bar = (ink) => ({ stroke: colour(ink), fill: colour(ink, 70), width: 0, paths: bars, points: { show: false } });
  const options = plotOptions(box.clientWidth, STRIP_HEIGHT, "nats", false, {
    legend: { show: false },
    series: [
      {}, bar("student"), bar("teacher"),
      { stroke: colour("ink"), width: 1.5, points: { show: true, size: 4, fill: colour("ink") }, paths: uPlot.paths.stepped({ align: 1 }) },
    ],
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    hooks: { setCursor: [(plot) => {
      if (!plot.over.matches(":hover")) return;
      point(plot.cursor.idx ?? null);
    }] },
  });
  options.axes[1].space = 18;
  options.scales.x.range = [-0.6, ids.length - 0.4];
  options.scales.y.range = (_, low, high) => [0, (high || 1) * 1.08];
  const plot = new uPlot(options, [
    places,
    along((i) => (over(i) ? null : divergences[i])), along((i) => (over(i) ? divergences[i] : null)),
    along((i) => (thresholds[i] === null || thresholds[i] < 0 ? null : thresholds[i])),
  ], box);
  plot.over.addEventListener("pointerleave", () => point(null));
  new ResizeObserver(() => {
    if (box.clientWidth && box.clientWidth !== plot.width) plot.setSize({ width: box.clientWidth, height: STRIP_HEIGHT });
  }).observe(box);
}
