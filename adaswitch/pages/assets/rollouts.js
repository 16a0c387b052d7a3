// The list of rollouts. It is long, so it grows by hand; new rollouts of a live run wait until they are asked for.

const AT_ONCE = 10;
const listState = { content: null, waiting: null, shown: AT_ONCE, scale: 1, alike: new Map() };

/** Takes over new rollouts: at once if none are shown yet, otherwise with a button. */
function offerRollouts(content) {
  if (listState.content === null || listState.content.rollouts.length === 0) return takeRollouts(content);
  listState.waiting = content;
  showList();
}

function takeRollouts(content) {
  listState.content = content;
  listState.waiting = null;
  listState.scale = heatScale(content.rollouts);
  listState.alike = alikeIn(content.rollouts);
  byId("rollouts-note").textContent = sampleWords(content);
  byId("filters").hidden = content.rollouts.length === 0;
  offerSteps(content.rollouts);
  showList();
}

/** What the page holds of what the run has kept. */
function sampleWords(content) {
  if (content.kept === 0) return "No rollouts are kept here (trainer.save_rollouts).";
  const all = `${counted(content.kept, "rollout")} of ${counted(content.steps, "step")} are kept${content.missing || ""}`;
  if (content.shown === content.kept) return `${all}, and all are here.`;
  return `${all}; ${content.shown.toLocaleString("en")} of them are here, so that the page stays small: some prompts `
    + "through all of training, and others from steps all over the run.";
}

/** The rollouts of each prompt by rising step, where a prompt has several. The whole prompt counts, not its number. */
function alikeIn(rollouts) {
  const found = new Map();
  for (const rollout of rollouts) {
    if (!found.has(rollout.prompt)) found.set(rollout.prompt, []);
    found.get(rollout.prompt).push(rollout);
  }
  return found;
}

function showList() {
  const { content, waiting, scale, alike } = listState;
  hideTip();
  const wanted = fitting(content.rollouts);
  const words = `${counted(wanted.length, "rollout")} of ${content.rollouts.length.toLocaleString("en")}`;
  const news = waiting === null ? null : make("button", { type: "button", id: "news", text: "Show newer rollouts", onclick: () => takeRollouts(waiting) });
  byId("count").replaceChildren(content.rollouts.length ? words : "", ...(news ? [news] : []));
  byId("cards").replaceChildren(...wanted.slice(0, listState.shown).map((one) => cardOf(one, content, scale, alike.get(one.prompt))));
  const more = byId("more");
  more.hidden = wanted.length <= listState.shown;
  more.textContent = `Show ${Math.min(AT_ONCE, wanted.length - listState.shown)} more of ${wanted.length - listState.shown}`;
}

function startRollouts() {
  startFilters(() => {
    listState.shown = AT_ONCE;
    showList();
  });
  byId("more").addEventListener("click", () => {
    listState.shown += AT_ONCE;
    showList();
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hideTip(); });
}
