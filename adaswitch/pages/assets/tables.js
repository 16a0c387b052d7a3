// The top of a comparison's page: what came out, in tables with paired differences, and which runs there are.

const CELL_CLASSES = { complete: "good", failed: "bad", died: "bad" };

function showResult(figures) {
  byId("name").textContent = figures.title;
  const state = byId("state");
  const isComplete = figures.num_complete === figures.num_cells && figures.num_cells > 0;
  state.textContent = isComplete ? "complete" : `${figures.num_complete} of ${figures.num_cells} runs`;
  state.className = `chip ${isComplete ? "good" : ""}`;
  byId("result").replaceChildren(
    aboutComparison(figures),
    ...figures.tables.map((table) => marksPanel(table, figures)),
    costsPanel(figures.costs),
    cellsPanel(figures));
}

function aboutComparison(figures) {
  const entries = [
    ["methods", String(figures.methods.length)], ["compared with", figures.reference],
    ["seeds", figures.seeds.join(", ")], ["base", figures.base],
    ["runs complete", `${figures.num_complete} of ${figures.num_cells}`],
  ].filter(([, value]) => value);
  return make("div", {}, make("dl", { class: "about" }, ...entries.map(([name, value]) =>
    make("div", {}, make("dt", { text: name }), make("dd", { text: value })))),
  make("p", { class: "note", text: figures.meaning || "No run is complete yet, so there is nothing to compare." }));
}

/** A table in a frame of its own, which scrolls where it is too wide. */
function widePanel(title, note, content) {
  return make("div", { class: "panel table-panel" }, make("h3", { text: title }),
    make("div", { class: "wide", tabindex: "0", role: "group", "aria-label": title }, content),
    note ? make("p", { class: "note", text: note }) : null);
}

/** One table of marks: for each column the mean, and the difference from the reference, seed by seed. */
function marksPanel(table, figures) {
  const heads = table.columns.flatMap((column) => [column, `minus ${figures.reference}`]);
  const largest = table.columns.map((_, i) => Math.max(...table.rows.map((row) => reach(row.cells[i])), 1e-9));
  const rows = chosenRows(table.rows).map((row) => make("tr", { "data-method": row.method },
    make("th", { scope: "row" }, methodName(row.method)),
    ...row.cells.flatMap((cell, i) => [
      make("td", { class: "figure", text: cell ? cell.mean : "", title: cell ? `by seed: ${cell.by_seed}` : "" }),
      make("td", { class: "figure" }, ...differenceOf(cell, largest[i])),
    ])));
  return widePanel(table.head, table.note, headed(heads, rows));
}

function chosenRows(rows) {
  return rows.filter((row) => isChosen(row.method));
}

function headed(heads, rows) {
  return make("table", {}, make("thead", {}, make("tr", {}, ...["method", ...heads].map((text) => make("th", { scope: "col", text })))),
    make("tbody", {}, ...rows));
}

/** How far a difference with its interval goes from zero. */
function reach(cell) {
  if (!cell?.difference) return 0;
  const { mean, low, high } = cell.difference;
  return Math.max(...[mean, low, high].filter((value) => value !== null).map(Math.abs));
}

/** A difference in figures, and as a bar around zero. */
function differenceOf(cell, largest) {
  if (!cell?.difference) return [];
  const { text, clear, mean, low, high } = cell.difference;
  const place = (value) => `${50 + 50 * Math.max(-1, Math.min(1, value / largest))}%`;
  const bar = make("span", { class: clear ? "around clear" : "around", "aria-hidden": "true" },
    low === null ? null : make("i", { class: "span" }), make("i", { class: "dot" }));
  bar.style.setProperty("--mean", place(mean));
  if (low !== null) {
    bar.style.setProperty("--low", place(low));
    bar.style.setProperty("--high", place(high));
  }
  return [make(clear ? "strong" : "span", { class: "difference", text, title: clear ? "the interval excludes zero" : "the interval includes zero, or there is none" }), bar];
}

function costsPanel(costs) {
  if (!costs.rows.length) return null;
  const rows = chosenRows(costs.rows).map((row) => make("tr", { "data-method": row.method },
    make("th", { scope: "row" }, methodName(row.method)), ...row.cells.map((text) => make("td", { class: "figure", text }))));
  return widePanel("What it cost, a run", costs.note, headed(costs.heads, rows));
}

/** Every run of the comparison, and where it stands. */
function cellsPanel(figures) {
  const methods = figures.methods.filter(isChosen);
  const rows = methods.map((method) => make("tr", { "data-method": method }, make("th", { scope: "row" }, methodName(method)),
    ...figures.seeds.map((seed) => {
      const cell = figures.cells.find((one) => one.method === method && one.seed === seed);
      if (!cell) return make("td");
      return make("td", {}, make("span", { class: `chip ${CELL_CLASSES[cell.state] ?? ""}`, text: cell.state === "?" ? "state unknown" : cell.state }),
        cell.words ? make("small", { text: ` ${cell.words}` }) : null);
    })));
  return widePanel("The runs", "", headed(figures.seeds.map((seed) => `seed ${seed}`), rows));
}
