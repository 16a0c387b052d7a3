"""Writes ``docs/models.md`` from the rows."""

from collections.abc import Sequence

from bench.families.checks import TOLERANCE
from bench.families.rows import NOT_CHECKED, WRONG, YES, Row

_BEGINNING = """\
# Models

This table is made by `python -m bench.families`. For each family it builds a tiny model with random weights from
transformers' config class, with two layers or a few more and a tokenizer of 60 words, and uses it as the project would.
A model of the same family that is larger computes the same; how much memory and time it takes is not looked at here.

- **student**: it writes in batches and in chunks, from the keys and values that it has kept, and in between somebody
  else's tokens are put in. A step of the trainer is done, and its loss compared. Every parameter must get a gradient.
  The checkpoint is saved and loaded, and both trainer and student go on with it.
- **teacher on transformers**, **teacher on vLLM**: the engine scores several sequences, one of them in parts or from
  the middle, and continues prompts.

Whatever comes out is compared with plain forward passes of transformers, one sequence at a time, in float32. No
log-probability may differ by more than {tolerance:g} nats. The rows for students and for transformers are checked again
by every run of the unit tests ([tests/unit/bench/test_families.py](../tests/unit/bench/test_families.py)). The column
for vLLM was checked on a CPU on {versions}. On a GPU, vLLM runs more of these models.

| family | `model_type` | student | teacher on transformers | teacher on vLLM (CPU) |
|---|---|---|---|---|
"""
_MESSAGES = """
## What to know of some of them

- **Phi-3 (128k)** and other models with `longrope`: at most `original_max_position_embeddings` tokens. Beyond them, the
  rotary embedding changes for all positions of a sequence, so that what is cached would be wrong.
- **Phi-3.5-MoE**: its class draws experts at random in training mode, and gives its routers hardly any gradient in
  evaluation mode. Here a student always computes as it does when it writes, so its routers hardly change.
- **Gemma 2**: attention is computed by the plain implementation, the only one that caps its logits.
- **BLOOM** and other models without a longest sequence as a teacher: set `max_model_len`.

## What is refused

A model that cannot be had is refused before anything is computed with it. A student, and a teacher that a run serves
itself, are looked at before the run starts anything. The messages for the families above:

"""


def page(rows: Sequence[Row]) -> str:
    """The page in Markdown."""
    versions = "; on ".join(sorted({row.versions for row in rows}))
    notes: dict[str, list[str]] = {}
    lines = []
    for row in rows:
        cells = []
        for what, outcome in (
            ("student", row.student),
            ("transformers", row.transformers),
            ("vLLM", row.vllm),
        ):
            cells.append(_cell(outcome))
            if outcome not in (YES, NOT_CHECKED):
                notes.setdefault(row.family, []).append(f"{what}: `{outcome}`")
        lines.append(f"| {row.family} | `{row.model_type}` | {' | '.join(cells)} |\n")
    messages = [f"- {family}\n" + "".join(f"  - {said}\n" for said in notes[family]) for family in notes]
    return (
        _BEGINNING.format(tolerance=TOLERANCE, versions=versions)
        + "".join(lines)
        + _MESSAGES
        + "".join(messages)
    )


def _cell(outcome: str) -> str:
    if outcome.startswith(WRONG):
        return "**wrong**"
    return {YES: "✓", NOT_CHECKED: NOT_CHECKED}.get(outcome, "refused")
