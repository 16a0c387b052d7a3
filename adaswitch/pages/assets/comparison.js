// Puts the parts of a comparison's page together.

function showMethodSettings(figures) {
  const { settings, environment } = figures;
  byId("settings").replaceChildren(
    make("div", { class: "settings-list" }, make("div", { class: "head" }, make("h2", { id: "settings-title", text: "Settings" })),
      differingPanel(settings, figures.reference), seedPanel(settings.by_seed),
      make("div", { class: "panel" }, make("h3", { text: "In all runs" }), settingsPanel({ settings: settings.common, settings_text: "" }), planOf(settings.plan))),
    make("div", { class: "settings-list" }, make("div", { class: "head" }, make("h2", { text: "Environment" })), environmentPanel(environment)));
  byId("settings").classList.add("settings");
}

/** What each method has other than the reference. */
function differingPanel(settings, reference) {
  const rows = settings.differing.filter((row) => isChosen(row.method));
  return make("div", { class: "panel", id: "differing" }, make("h3", { text: `What differs from ${reference}` }),
    rows.length === 0 ? make("p", { class: "note", text: "No settings differ between the methods shown." })
      : headedWith(["method", "setting", "value", `in ${reference}`], rows.map((row) => make("tr", { "data-method": row.method },
        make("th", { scope: "row" }, methodName(row.method)), make("td", {}, make("code", { text: row.path })),
        make("td", {}, make("code", { text: row.value })), make("td", {}, make("code", { text: row.reference }))))));
}

function headedWith(heads, rows) {
  return make("div", { class: "wide" }, make("table", {},
    make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col", text })))), make("tbody", {}, ...rows)));
}

function seedPanel(bySeed) {
  const entries = Object.entries(bySeed);
  if (!entries.length) return null;
  return make("div", { class: "panel" }, make("h3", { text: "By seed" }), table([], entries.map(([path, values]) => [path, values.join("; ")])));
}

function planOf(text) {
  if (!text) return null;
  return make("details", {}, make("summary", { text: "the plan" }), make("div", { class: "raw", text }));
}

function startComparison() {
  const { figures, rollouts } = JSON.parse(byId("data").textContent);
  /** Shows what depends on the choice of methods. */
  const showChosen = () => {
    showResult(figures);
    showCharts();
    showQuality();
    showMethodSettings(figures);
    showGroups();
  };
  showProblems([...new Set([...figures.problems, ...rollouts.problems])]);
  startMethods(figures.methods, showChosen);
  startTheme(() => { redrawCurves(); showQuality(); showGroups(); });
  startCurves();
  startQuality(figures.quality);
  showMethodCurves(figures.curves);
  startGroups(rollouts);
  showResult(figures);
  showMethodSettings(figures);
}

startComparison();
