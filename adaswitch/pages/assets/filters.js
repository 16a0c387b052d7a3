// Which rollouts are shown: the form above them, and what it asks for.

const ANY = "";
const FILTERS = [
  { name: "step", label: "step", kind: "select" },
  { name: "switched", label: "switch", kind: "select", options: [["yes", "switched"], ["no", "never switched"]] },
  { name: "right", label: "answer", kind: "select", options: [["yes", "right"], ["no", "wrong"], ["unknown", "not marked"]] },
  { name: "from", label: "switched at token", kind: "pair" },
  { name: "search", label: "text of prompt or completion", kind: "search" },
];

/** Fills the form. `changed` is called as soon as it asks for something else. */
function startFilters(changed) {
  const form = byId("filters");
  form.replaceChildren(...FILTERS.map(fieldOf));
  form.addEventListener("input", changed);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(changed));
}

function fieldOf(filter) {
  const named = { name: filter.name, id: `filter-${filter.name}` };
  if (filter.kind === "select") {
    return labelled(filter, make("select", named, ...optionsOf(filter.options ?? [])));
  }
  if (filter.kind === "search") return labelled(filter, make("input", { ...named, type: "search", autocomplete: "off" }));
  const number = (name, label) => make("input", { name, type: "number", min: "0", "aria-label": label, id: `filter-${name}` });
  return make("div", { class: "field" }, make("span", { text: filter.label }),
    make("span", { class: "pair" }, number("from", "switched at token, from"), make("span", { text: "to" }), number("to", "switched at token, to")));
}

function labelled(filter, input) {
  return make("label", { class: "field" }, make("span", { text: filter.label }), input);
}

function optionsOf(options) {
  return [[ANY, "all"], ...options].map(([value, text]) => make("option", { value, text }));
}

/** Offers the steps of the rollouts that are there. */
function offerSteps(rollouts) {
  const select = byId("filter-step"), chosen = select.value;
  const steps = [...new Set(rollouts.map((rollout) => rollout.step))].sort((a, b) => a - b);
  select.replaceChildren(...optionsOf(steps.map((step) => [String(step), String(step)])));
  select.value = steps.includes(Number(chosen)) && chosen !== ANY ? chosen : ANY;
}

/** The rollouts that fit what the form asks for. */
function fitting(rollouts) {
  const asked = Object.fromEntries(new FormData(byId("filters")));
  const words = folded(asked.search);
  return rollouts.filter((rollout) =>
    (asked.step === ANY || rollout.step === Number(asked.step))
    && (asked.switched === ANY || (rollout.switch !== null) === (asked.switched === "yes"))
    && (asked.right === ANY || { yes: true, no: false, unknown: null }[asked.right] === rollout.right)
    && (asked.from === "" || (rollout.switch !== null && rollout.switch >= Number(asked.from)))
    && (asked.to === "" || (rollout.switch !== null && rollout.switch <= Number(asked.to)))
    && (words === "" || folded(`${rollout.prompt}\n${rollout.pieces.join("")}`).includes(words)));
}

/** A text as it is searched: without case, and with one form of each character. */
function folded(text) {
  return text.normalize("NFKC").toLocaleLowerCase();
}
