// The top of the page: what came out, what it took, whether the switch is healthy, where the run stands.

const STATE_CLASSES = { complete: "good", failed: "bad", died: "bad" };

function showVerdict(verdict) {
  byId("name").textContent = verdict.name;
  const state = byId("state");
  state.textContent = verdict.state === "?" ? "state unknown" : verdict.state;
  state.className = `chip ${STATE_CLASSES[verdict.state] ?? ""}`;
  byId("result").replaceChildren(
    aboutList(verdict),
    make("div", { class: "hero" }, ...verdict.marks.map(markPanel)),
    make("div", { class: "facts" }, conclusionPanel(verdict.health.conclusion), healthPanel(verdict.health), statusPanel(verdict), figuresPanel(verdict), totalsPanel(verdict)),
  );
}

function aboutList(verdict) {
  const steps = `${verdict.step.toLocaleString("en")} of ${verdict.num_steps?.toLocaleString("en") ?? "?"}`;
  const entries = [...Object.entries(verdict.about), ["steps", steps]];
  return make("dl", { class: "about" }, ...entries.map(([name, value]) =>
    make("div", {}, make("dt", { text: name }), make("dd", { text: value }))));
}

/** The marks of one split before and after, each with its interval. */
function markPanel(mark) {
  const kinds = { better: "good", worse: "bad" };
  const word = mark.words ? make("span", { class: `chip ${kinds[mark.words] ?? ""}`, text: mark.words }) : null;
  return make("div", { class: "panel mark" },
    make("p", { class: "label" }, make("span", { text: mark.label }), word),
    make("div", { class: "numbers" },
      make("span", { class: "before", text: mark.before, title: "before" }),
      make("span", { class: "arrow", "aria-label": "to", text: "→" }),
      make("span", { class: "after", text: mark.after, title: "after" }),
      make("span", { class: "interval", text: mark.before_interval }), make("span"),
      make("span", { class: "interval", text: mark.after_interval && `95% interval ${mark.after_interval}` })));
}

/** What the run came to, in sentences. */
function conclusionPanel(sentences) {
  if (!sentences.length) return null;
  return make("div", { class: "panel", id: "conclusion" }, make("h3", { text: "What came of it" }),
    ...sentences.map((sentence) => make("p", { text: sentence })));
}

function healthPanel(health) {
  const findings = health.found.map((found) => finding(found, found.is_fault ? "finding" : "finding calm"));
  if (health.unknown) findings.unshift(make("p", { class: "note", text: `Nothing can be said of the switch: ${health.unknown}.` }));
  else if (!health.found.some((found) => found.is_fault)) findings.unshift(make("p", { text: "No sign of trouble with the switch." }));
  if (health.waits) findings.push(finding(health.waits, "finding calm"));
  return make("div", { class: "panel", id: "health" }, make("h3", { text: "Is the switch healthy?" }), ...findings);
}

function finding(found, kind) {
  return make("div", { class: kind }, make("b", { text: found.name }),
    make("p", { text: found.evidence }), make("p", { class: "advice", text: `→ ${found.advice}` }));
}

function figuresPanel(verdict) {
  if (!verdict.figures.length) return null;
  return make("div", { class: "panel" }, make("h3", { text: "First and last tenth of the steps" }),
    table(["", "first", "last"], verdict.figures));
}

function totalsPanel(verdict) {
  if (!verdict.totals.length) return null;
  const rows = verdict.totals.map(([label, amount]) => [label.trimStart(), amount]);
  return make("div", { class: "panel" }, make("h3", { text: "What it took" }),
    table([], rows, (number) => (verdict.totals[number][0].startsWith(" ") ? "part" : null)));
}

function statusPanel(verdict) {
  const lines = verdict.status.length ? verdict.status : ["Nothing is on record of how the run went on or ended."];
  return make("div", { class: "panel status", id: "status" }, make("h3", { text: "Where the run stands" }),
    ...lines.map((line) => make("p", { text: line })),
    ...verdict.notes.map((note) => make("p", { class: "note", text: `note: ${note}` })));
}
