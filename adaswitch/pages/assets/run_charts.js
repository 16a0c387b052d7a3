// The curves of a run: its metrics, and the marks of its evaluations.

let runCurves = null;

/** Shows the curves of a run. */
function showCurves(content) {
  runCurves = content;
  curveState.charts = () => chartsOf(runCurves);
  byId("curves-note").textContent = curveState.charts().length === 0
    ? "There are no curves yet: no step is on record."
    : content.steps_a_point > 1 ? `Each point is the mean of ${content.steps_a_point} steps.` : "";
  const anyTeacher = (content.points.teacher_tokens_so_far ?? []).some((tokens) => tokens > 0);
  const radio = document.querySelector('input[name="axis"][value="teacher_tokens_so_far"]');
  radio.disabled = !anyTeacher;
  radio.parentElement.title = anyTeacher ? "" : "the teacher has written no tokens";
  showCharts();
}

/** A line's colour in the style sheet. */
function inkOf(name) {
  return { student: "student", teacher: "teacher", faint: "faint" }[name] ?? "ink";
}

/** The charts of all content: those of the metrics, and one for each metric of the evaluations. */
function chartsOf(content) {
  const points = content.points;
  const metrics = content.charts.map((chart) => ({
    ...chart,
    data: (axis) => [points[axis], ...chart.lines.map((line) => points[line.name])],
    series: chart.lines.map((line) => ({ label: line.label, colour: inkOf(line.colour), dashed: line.dashed })),
    bands: [],
  }));
  const names = [...new Set(content.scores.map((score) => score.metric))];
  return [...names.map((name) => scoreChart(name, content.scores.filter((score) => score.metric === name))), ...metrics];
}

/** A chart of one metric of the evaluations: a line for each split, within its 95 % interval. */
function scoreChart(metric, scores) {
  const series = [], bands = [];
  scores.forEach((score, number) => {
    const ink = score.is_main ? "ink" : number % 2 ? "muted" : "faint";
    bands.push({ series: [series.length + 2, series.length + 3], ink });
    series.push({ label: score.split, colour: ink, dashed: !score.is_main, points: true }, { edge: true }, { edge: true });
  });
  return {
    key: `score ${metric}`, title: metric[0].toUpperCase() + metric.slice(1), unit: "share", series, bands,
    meaning: "The marks of the evaluations on held-out prompts, with their 95% intervals.",
    data: (axis) => {
      const places = [...new Set(scores.flatMap((score) => score[axis]))].sort((a, b) => a - b);
      const along = (score, values) => {
        const at = new Map(score[axis].map((place, i) => [place, values[i]]));
        return places.map((place) => at.get(place) ?? null);
      };
      return [places, ...scores.flatMap((score) => [score.value, score.high, score.low].map((v) => along(score, v)))];
    },
  };
}
