// Puts the parts of the page together.

const problemsOf = { figures: [], rollouts: [] };
const drawn = { settings: "" };

/** Shows one part of the page: the figures, or the rollouts. */
function showPart(name, content) {
  problemsOf[name] = content.problems;
  showProblems([...new Set([...problemsOf.figures, ...problemsOf.rollouts])]);
  if (name === "rollouts") return offerRollouts(content);
  showVerdict(content.verdict);
  showCurves(content.curves);
  const settings = JSON.stringify([content.settings, content.settings_text, content.environment]);
  if (settings !== drawn.settings) showSettings(content);
  drawn.settings = settings;
}

/** Draws what has colours of its own anew: canvases do not follow the style sheet. */
function recolour() {
  if (curveState.content) redrawCurves();
  if (listState.content) showList();
}

function startTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", recolour);
  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const isDark = root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
    root.dataset.theme = isDark ? "light" : "dark";
    recolour();
  });
}

function start() {
  const data = JSON.parse(byId("data").textContent);
  startTheme();
  startCurves();
  startRollouts();
  if (data.live) return follow();
  showPart("figures", data.figures);
  showPart("rollouts", data.rollouts);
}

start();
