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
  redrawCurves();
  if (listState.content) showList();
}

function start() {
  const data = JSON.parse(byId("data").textContent);
  startTheme(recolour);
  startCurves();
  startRollouts();
  if (data.live) return follow();
  showPart("figures", data.figures);
  showPart("rollouts", data.rollouts);
}

start();
