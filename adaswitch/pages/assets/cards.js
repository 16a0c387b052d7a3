// A rollout as a card, and the same prompt through training side by side.

/** The card of one rollout. `alike` are the rollouts of the same prompt, this one among them. Where `head` is given, it
    stands in place of step and prompt, which are said above. */
function cardOf(rollout, content, scale, alike, head = null) {
  const { box, point } = textOf(rollout, content.tokens, scale);
  const through = alike.length < 2 ? null : make("button", {
    type: "button", class: "quiet", "data-through": rollout.record,
    text: `Through training (${alike.length})`, onclick: () => showThrough(rollout, content, scale, alike),
  });
  return make("article", { class: "card", "data-rollout": `${rollout.step}:${rollout.id}` },
    make("header", {}, head ?? make("h3", { text: `Step ${rollout.step}, prompt ${rollout.record}` }), markChip(rollout),
      ...factsOf(rollout).map((text) => make("span", { text })), through),
    head ? null : make("p", { class: "prompt", dir: "auto", text: rollout.prompt }),
    box, ...stripOf(rollout, point), referenceOf(rollout));
}

/** Whether the answer is right, in a word, with the reason where it could not be marked. */
function markChip(rollout) {
  if (!rollout.answer) return null;
  if (rollout.right === null) return make("span", { class: "chip", text: "not marked", title: rollout.answer });
  return make("span", { class: `chip ${rollout.right ? "good" : "bad"}`, text: rollout.answer });
}

function factsOf(rollout) {
  const place = rollout.switch === null ? "never switched" : `switched at token ${rollout.switch} of ${rollout.ids.length}`;
  const length = rollout.switch === null ? [counted(rollout.ids.length, "token")] : [];
  return [place, ...length, `ended by ${rollout.ending}`, `weights ${rollout.weights}`];
}

function referenceOf(rollout) {
  if (!rollout.reference) return null;
  return make("details", {}, make("summary", { text: "the reference" }), make("p", { dir: "auto", text: rollout.reference }));
}

/** Opens the rollouts of one prompt side by side, by rising step. */
function showThrough(rollout, content, scale, alike) {
  const dialog = byId("through");
  document.body.append(tipBox);
  const close = make("button", { type: "button", text: "Close", onclick: () => dialog.close() });
  dialog.replaceChildren(
    make("div", { class: "head" }, make("h2", { id: "through-title", text: `Prompt ${rollout.record} through training` }), close),
    make("p", { class: "note", text: `${counted(alike.length, "rollout")} of it, from step ${alike[0].step} to step ${alike[alike.length - 1].step}.` }),
    make("div", { class: "columns" }, ...alike.map((one) => cardOf(one, content, scale, []))));
  dialog.showModal();
  close.focus();
}
