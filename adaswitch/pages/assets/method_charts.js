// The curves of a comparison: a line and a band for each method.

/** The charts of the chosen methods. */
function methodCharts(content) {
  return content.charts.map(methodChart).filter((chart) => chart.series.length > 0);
}

function methodChart(chart) {
  const lines = chart.lines.filter((line) => isChosen(line.method));
  const series = [], bands = [];
  for (const line of lines) {
    const ink = inkOfMethod(line.method);
    bands.push({ series: [series.length + 2, series.length + 3], ink });
    series.push({ label: line.method, colour: ink, dashed: isDashed(line.method), points: chart.points }, { edge: true }, { edge: true });
  }
  return {
    key: chart.key, title: chart.title, unit: chart.unit, meaning: chart.meaning, series, bands, isSparse: true,
    data: (axis) => {
      const places = [...new Set(lines.flatMap((line) => line[axis]))].sort((a, b) => a - b);
      const along = (line, values) => {
        const at = new Map(line[axis].map((place, i) => [place, values[i]]));
        return places.map((place) => at.get(place) ?? null);
      };
      return [places, ...lines.flatMap((line) => [line.mean, line.high, line.low].map((values) => along(line, values)))];
    },
  };
}

/** Shows the curves of a comparison. */
function showMethodCurves(content) {
  byId("curves-note").textContent = content.note;
  curveState.charts = () => methodCharts(content);
  showCharts();
}
