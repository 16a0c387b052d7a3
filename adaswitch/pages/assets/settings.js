// The settings of the run, those that differ from the defaults first, and the environment.

function showSettings(figures) {
  byId("settings").replaceChildren(
    make("div", { class: "settings-list" }, make("div", { class: "head" }, make("h2", { id: "settings-title", text: "Settings" })), settingsPanel(figures)),
    make("div", { class: "settings-list" }, make("div", { class: "head" }, make("h2", { text: "Environment" })), environmentPanel(figures.environment)));
  byId("settings").classList.add("settings");
}

function settingsPanel(figures) {
  if (!figures.settings.length) {
    return make("div", { class: "panel" }, make("p", { class: "note", text: figures.settings_text ? "The file of settings as it is:" : "The run has no settings that can be read." }),
      make("div", { class: "raw", text: figures.settings_text }));
  }
  const differing = figures.settings.filter((setting) => setting.differs);
  const others = figures.settings.filter((setting) => !setting.differs);
  return make("div", { class: "panel" },
    make("h3", { text: `${differing.length} differ from the defaults, or have none` }), settingsTable(differing),
    make("details", {}, make("summary", { text: `${others.length} are as by default` }), settingsTable(others)));
}

function settingsTable(settings) {
  const rows = settings.map((setting) => make("tr", { class: setting.differs ? "differs" : null, title: setting.meaning },
    make("th", { scope: "row", text: setting.path }),
    make("td", {}, make("code", { text: setting.value })),
    make("td", { class: "default" }, make("code", { text: setting.default }))));
  return make("table", {}, make("thead", {}, make("tr", {}, ...["setting", "value", "default"].map((text) => make("th", { scope: "col", text })))),
    make("tbody", {}, ...rows));
}

function environmentPanel(environment) {
  const entries = Object.entries(environment);
  if (!entries.length) return make("div", { class: "panel" }, make("p", { class: "note", text: "The run has kept nothing of its environment." }));
  return make("div", { class: "panel" }, table([], entries));
}
