"""ROUGE, and a user's own metric."""

import sys
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.errors import ConfigError, DataError, UnmarkedError
from adaswitch.tasks.base import DataSource, Example
from adaswitch.tasks.dialogsum import DialogsumTask
from adaswitch.tasks.jsonl import JsonlTask
from adaswitch.tasks.rouge import Rouge

SOURCE = DataSource(path="train.jsonl")

ROUGE = Rouge()
WORDS = st.lists(st.sampled_from(["cat", "dog", "sat", "mat", "ran"]), max_size=7)


def f1(overlap: int, num_completion: int, num_reference: int) -> float:
    return 2 * overlap / (num_completion + num_reference) if overlap else 0.0


def longest_common(one: list[str], other: list[str]) -> int:
    """The length of the longest common subsequence, by trying both ways at every step."""
    if not one or not other:
        return 0
    if one[0] == other[0]:
        return 1 + longest_common(one[1:], other[1:])
    return max(longest_common(one[1:], other), longest_common(one, other[1:]))


def bag_overlap(one: list[object], other: list[object]) -> int:
    return sum(min(one.count(item), other.count(item)) for item in set(one))


@given(completion=WORDS, reference=WORDS.filter(bool))
def test_rouge_is_the_textbook_formula(completion, reference):
    marks = ROUGE.mark(" ".join(completion), [" ".join(reference)])
    pairs = [list(pairwise(words)) for words in (completion, reference)]
    assert marks == pytest.approx(
        {
            "rouge1": f1(bag_overlap(completion, reference), len(completion), len(reference)),
            "rouge2": f1(bag_overlap(*pairs), len(pairs[0]), len(pairs[1])),
            "rougeL": f1(longest_common(completion, reference), len(completion), len(reference)),
        }
    )


def test_words_are_stemmed_and_case_and_signs_do_not_count():
    marks = ROUGE.mark("#Person1# INVITES jimmy, to going", ["person1 invited Jimmy to go."])
    assert marks == {"rougeL": 1.0, "rouge1": 1.0, "rouge2": 1.0}


def test_several_references_count_by_their_mean():
    assert ROUGE.mark("a b", ["a b", "c d"])["rouge1"] == 0.5
    assert ROUGE.mark("a b", ["a b", "a c", "c d"])["rougeL"] == pytest.approx((1 + 0.5 + 0) / 3)


def test_a_reference_that_rouge_cannot_read_is_unmarked():
    with pytest.raises(UnmarkedError, match="no word that ROUGE reads"):
        ROUGE.mark("\u65e5\u672c", ["\u65e5\u672c"])


def test_dialogsum_records():
    task = DialogsumTask(train=SOURCE, prompt_prefix="Sum up:\n", prompt_suffix="\nNow:")
    record = {"fname": "dev_0", "dialogue": "#Person1#: Hi.", "summary": "They greet.", "topic": "hi"}
    example = task.example(record, 1, "dev.jsonl")
    assert example.prompt == "Sum up:\n#Person1#: Hi.\nNow:"
    assert task.mark("They greet.", example) == {"rougeL": 1.0, "rouge1": 1.0, "rouge2": 1.0}
    test = {"dialogue": "Hi.", "summary1": "They greet.", "summary2": "A talk", "summary3": "They greet"}
    three = task.example(test, 1, "test.jsonl")
    assert three.references == ("They greet.", "A talk", "They greet")
    assert task.mark("they greeted", three)["rouge1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        ({"summary": "a"}, 'no field "dialogue"'),
        ({"dialogue": "a"}, 'no field "summary"'),
        ({"dialogue": "a", "summary1": "b", "summary2": "c"}, 'no field "summary3"'),
    ],
)
def test_a_dialogsum_record_that_cannot_be_used(record, complaint):
    with pytest.raises(DataError, match=f"test.jsonl, line 6: {complaint}"):
        DialogsumTask(train=SOURCE).example(record, 6, "test.jsonl")


@pytest.fixture
def own_metrics(monkeypatch):
    module = ModuleType("own_metrics")
    monkeypatch.setitem(sys.modules, "own_metrics", module)
    return module


def own_task(name: str = "metric") -> JsonlTask:
    return JsonlTask(train=SOURCE, metric=f"own_metrics:{name}")


def test_a_metric_of_ones_own_gets_the_completion_and_the_record(own_metrics):
    own_metrics.shorter = lambda completion, record: len(completion) <= record["most"]
    own_metrics.share = lambda completion, record: min(1, len(completion) / record["most"])
    example = own_task("shorter").example({"prompt": "?", "most": 4}, 1, "own.jsonl")
    assert own_task("shorter").metrics == ("shorter",)
    assert own_task("shorter").mark("abcd", example) == {"shorter": 1.0}
    assert own_task("shorter").mark("abcde", example) == {"shorter": 0.0}
    assert own_task("share").mark("a", example) == {"share": 0.25}


@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("good", "gave 'good', which is no number from 0 to 1"),
        (None, "gave None"),
        (float("nan"), "gave nan"),
        (1.5, "gave 1.5"),
        (-1, "gave -1"),
        (10**400, "gave 1000"),
        (np.float32(2), "gave np.float32"),
    ],
)
def test_what_is_no_mark_is_unmarked(own_metrics, value, cause):
    own_metrics.metric = lambda completion, record: value
    with pytest.raises(UnmarkedError, match=cause):
        own_task().mark("a", Example("?", "", 1))


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5), 0.5])
def test_numpys_numbers_are_numbers(own_metrics, value):
    own_metrics.metric = lambda completion, record: value
    assert own_task().mark("a", Example("?", "", 1)) == {"metric": 0.5}


def test_a_metric_that_would_end_the_program_does_not(own_metrics):
    own_metrics.metric = lambda completion, record: sys.exit(3)
    with pytest.raises(UnmarkedError, match="the metric raised SystemExit: 3"):
        own_task().mark("a", Example("?", "", 1))


def test_a_metric_that_raises_is_unmarked_with_its_words(own_metrics):
    own_metrics.metric = lambda completion, record: record["gone"]
    with pytest.raises(
        UnmarkedError,
        match=r"the metric raised KeyError: 'gone' in \S+:\S+ \(test_task_metrics.py, line \d+\)",
    ):
        own_task().mark("a", Example("?", "", 1))


def test_what_a_metric_says_can_be_written_down(own_metrics):
    class Odd:
        def __repr__(self):
            return "odd \ud83d"

    def fail(completion, record):
        raise ValueError("half of \ud83d\nand more")

    own_metrics.fail, own_metrics.odd = fail, lambda completion, record: Odd()
    for name, cause in (
        ("fail", r"the metric raised ValueError: half of \ud83d"),
        ("odd", r"the metric gave odd \ud83d, which is no number from 0 to 1"),
    ):
        with pytest.raises(UnmarkedError) as caught:
            own_task(name).mark("a", Example("?", "", 1))
        assert str(caught.value).startswith(cause)


def test_a_metric_that_cannot_be_had_is_refused(own_metrics):
    own_metrics.number = 3
    for path, complaint in (
        ("no_such_module:f", "cannot import 'no_such_module': ModuleNotFoundError"),
        ("own_metrics:f", "the module 'own_metrics' has no 'f'"),
        (
            "own_metrics:number",
            "own_metrics:number is a int and no function",
        ),
    ):
        with pytest.raises(ConfigError, match=rf"task\.metric: {complaint}"):
            JsonlTask(train=DataSource(path="a"), metric=path).check()


def test_a_module_that_fails_at_import_is_refused(tmp_path, monkeypatch):
    (tmp_path / "failing_metrics.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="cannot import 'failing_metrics': ZeroDivisionError"):
        JsonlTask(train=SOURCE, metric="failing_metrics:f").check()
