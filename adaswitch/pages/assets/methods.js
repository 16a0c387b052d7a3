// The methods of a comparison: their colours, and which of them are shown. A choice counts for the whole page.

const NUM_INKS = 8;
const methodState = { all: [], chosen: new Set() };

/** The name of a method's colour in the style sheet. */
function inkOfMethod(method) {
  return `method-${methodState.all.indexOf(method) % NUM_INKS}`;
}

/** Whether a method's line is dashed, because its colour belongs to an earlier one too. */
function isDashed(method) {
  return methodState.all.indexOf(method) >= NUM_INKS;
}

function isChosen(method) {
  return methodState.chosen.has(method);
}

/** A method's name beside its colour. */
function methodName(method, tag = "span") {
  const swatch = make("i", { class: isDashed(method) ? "swatch dashed" : "swatch", "aria-hidden": "true" });
  swatch.style.setProperty("--of-method", `var(--${inkOfMethod(method)})`);
  return make(tag, { class: "method" }, swatch, make("span", { text: method, dir: "auto" }));
}

/** Offers the methods. `changed` is called as soon as others are chosen. */
function startMethods(methods, changed) {
  methodState.all = methods;
  methodState.chosen = new Set(methods);
  const boxes = methods.map((method) => make("input", { type: "checkbox", checked: true, value: method }));
  const take = () => {
    methodState.chosen = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    changed();
  };
  const all = make("button", { type: "button", class: "quiet", id: "all-methods", text: "All", onclick: () => {
    for (const box of boxes) box.checked = true;
    take();
  } });
  byId("methods").replaceChildren(make("legend", { text: "Methods" }),
    ...boxes.map((box, i) => make("label", {}, box, methodName(methods[i]))), all);
  byId("methods").addEventListener("change", take);
  byId("methods").hidden = methods.length === 0;
}
