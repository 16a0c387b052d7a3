"""Every family of models as a student and as a teacher on transformers, and the page with the table of them."""

from pathlib import Path

import pytest

from bench.families.__main__ import main
from bench.families.families import FAMILIES
from bench.families.models import NUM_ROWS, Family
from bench.families.page import page
from bench.families.rows import NOT_CHECKED, WRONG, YES, Row, on_transformers, read_rows, versions
from services.teacher.engines import transformers_engine

ROOT = Path(__file__).parents[3]
MEASURED = ROOT / "docs/results/families.jsonl"
ROWS = {row.family: row for row in read_rows(MEASURED.read_text(encoding="utf-8").splitlines())}
AGAIN = "make docs/results/families.jsonl and docs/models.md again: python -m bench.families --help"
STUDENTS = {
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "qwen2_moe",
    "qwen3_moe",
    "gemma2",
    "gemma3_text",
    "phi3",
    "olmo2",
    "smollm3",
    "granite",
    "gpt_neox",
    "gpt2",
    "gpt_oss",
}
"""Kinds that must never be refused as students."""


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script. is deprecated:DeprecationWarning"
)  # GPT-BigCode's module
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_is_what_the_table_says(
    family: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Few rows at a time, so that the longest sequence is scored in parts, each from the cache of those before.
    monkeypatch.setattr(transformers_engine, "MAX_LOGITS", 30 * NUM_ROWS)
    student, transformers = on_transformers(family, tmp_path)
    row = ROWS.get(family.name)
    assert row is not None, AGAIN
    assert (student, transformers) == (row.student, row.transformers), AGAIN
    assert WRONG not in (student[: len(WRONG)], transformers[: len(WRONG)])


def test_the_page_is_that_of_the_rows() -> None:
    assert list(ROWS) == [family.name for family in FAMILIES], AGAIN
    assert (ROOT / "docs/models.md").read_text(encoding="utf-8") == page(list(ROWS.values())), AGAIN


def test_common_families_can_be_students_and_nothing_is_wrong_without_being_refused() -> None:
    assert {row.model_type for row in ROWS.values() if row.student == YES} >= STUDENTS
    for row in ROWS.values():
        for outcome in (row.student, row.transformers, row.vllm):
            assert not outcome.startswith(WRONG), row
            assert "\n" not in outcome, row


def test_the_last_row_of_a_family_counts_and_a_refusal_is_told_on_the_page() -> None:
    old, new = (Row("X", "x", YES, YES, vllm, "today") for vllm in ("it cannot", "it cannot: take another"))
    other = Row("Y", "y", "student.model: no", f"{WRONG}: off", NOT_CHECKED, "today")
    rows = read_rows([old.line(), other.line(), new.line()])
    assert rows == [new, other]
    written = page(rows)
    assert "| X | `x` | ✓ | ✓ | refused |\n| Y | `y` | refused | **wrong** | not checked |\n" in written
    assert "- X\n  - vLLM: `it cannot: take another`\n- Y\n  - student: `student.model: no`\n" in written


def test_a_name_that_is_unknown_is_refused_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["families", "--only", "mistrall"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    message = "error: --only: there is no family 'mistrall'; did you mean 'Mistral (sliding window)'?\n"
    assert capsys.readouterr().err == message


def test_versions_are_those_of_the_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.families.rows.version", lambda package: "2.13.0+cpu")
    assert versions().endswith(", with vLLM 2.13.0, transformers 2.13.0, torch 2.13.0")
