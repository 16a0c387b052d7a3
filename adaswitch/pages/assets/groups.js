// Rollouts of the same prompt by method, side by side.

const GROUPS_AT_ONCE = 5;
const groupState = { content: null, scale: 1, shown: GROUPS_AT_ONCE };

/** Shows the rollouts, with the form above them. */
function startGroups(content) {
  groupState.content = content;
  groupState.scale = heatScale(content.rollouts);
  byId("rollouts-note").textContent = groupWords(content);
  byId("filters").hidden = content.rollouts.length === 0;
  startFilters(() => {
    groupState.shown = GROUPS_AT_ONCE;
    showGroups();
  });
  offerSteps(content.rollouts);
  byId("more").addEventListener("click", () => {
    groupState.shown += GROUPS_AT_ONCE;
    showGroups();
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
  showGroups();
}

/** What the page holds of what the runs have kept. */
function groupWords(content) {
  if (!content.rollouts.length) return "No rollouts are kept here (trainer.save_rollouts).";
  return `${counted(content.prompts, "prompt")} of seed ${content.seed}, each with the rollouts that ${counted(content.methods.length, "method")} `
    + "wrote for it in the same step: a choice from steps all over the runs, so that the page stays small.";
}

/** The rollouts in groups: of one step and one prompt. */
function grouped(rollouts) {
  const found = new Map();
  for (const rollout of rollouts) {
    const key = JSON.stringify([rollout.step, rollout.record, rollout.prompt]);
    if (!found.has(key)) found.set(key, []);
    found.get(key).push(rollout);
  }
  return [...found.values()];
}

function showGroups() {
  const { content, shown } = groupState;
  hideTip();
  const wanted = fitting(content.rollouts).filter((rollout) => isChosen(rollout.method)), groups = grouped(wanted);
  byId("count").textContent = content.rollouts.length
    ? `${counted(groups.length, "prompt")}, ${counted(wanted.length, "rollout")} of ${content.rollouts.length.toLocaleString("en")}` : "";
  byId("cards").replaceChildren(...groups.slice(0, shown).map(groupOf));
  byId("more").hidden = groups.length <= shown;
  byId("more").textContent = `Show ${Math.min(GROUPS_AT_ONCE, groups.length - shown)} more of ${groups.length - shown}`;
}

function groupOf(rollouts) {
  const { content, scale } = groupState, [first] = rollouts;
  const cards = rollouts.map((rollout) => cardOf(rollout, { tokens: content.tokens[rollout.vocabulary] }, scale, [], methodName(rollout.method, "h4")));
  return make("article", { class: "group", "data-step": first.step },
    make("h3", { text: `Step ${first.step}, prompt ${first.record}` }),
    make("p", { class: "prompt", dir: "auto", text: first.prompt }),
    make("div", { class: "columns", tabindex: "0", role: "group", "aria-label": "The rollouts by method" }, ...cards));
}
