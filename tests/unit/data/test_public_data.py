"""The public files themselves, where ADASWITCH_DATA names a folder with gsm8k/, gsm_plus/ and dialogsum/ in it."""

import os
from collections import Counter
from pathlib import Path

import pytest

from adaswitch.data.datasets import load_examples
from adaswitch.tasks.dialogsum import DialogsumTask
from adaswitch.tasks.gsm8k import Gsm8kTask
from adaswitch.tasks.gsm_plus import GsmPlusTask

DATA = os.environ.get("ADASWITCH_DATA")

pytestmark = pytest.mark.skipif(DATA is None, reason="ADASWITCH_DATA names no folder of public data")


def files(folder: str, pattern: str = "*.jsonl") -> list[Path]:
    found = sorted(Path(str(DATA), folder).glob(pattern))
    assert found, f"no {folder}/{pattern} in {DATA}"
    return found


@pytest.mark.parametrize(
    ("settings", "folder"),
    [(Gsm8kTask, "gsm8k"), (GsmPlusTask, "gsm_plus")],
    ids=lambda x: str(x),
)
def test_the_gold_answers_are_all_right(settings, folder):
    for path in files(folder):
        config = settings(train={"path": str(path)}, eval={"path": str(path)})
        task, examples = config.ready(), load_examples(config, "eval")
        wrong = [e.number for e in examples if task.mark(e.reference, e) != {"exact_match": 1.0}]
        assert wrong == []


def test_the_bare_answers_of_gsm_plus_are_all_right_and_others_wrong():
    for path in files("gsm_plus"):
        config = GsmPlusTask(train={"path": str(path)}, eval={"path": str(path)})
        task, examples = config.ready(), load_examples(config, "eval")
        assert len(Counter(example.split for example in examples)) == 8
        for example in examples:
            answer = example.record["answer"]
            assert task.mark(f"So it is.\n#### {answer}", example) == {"exact_match": 1.0}
            assert task.mark(f"The answer is {answer}.", example) == {"exact_match": 1.0}
            assert task.mark("#### 123456789", example) == {"exact_match": 0.0}


def test_a_summary_scores_one_against_itself():
    for path in files("dialogsum"):
        config = DialogsumTask(train={"path": str(path)}, eval={"path": str(path)})
        task = config.ready()
        for example in load_examples(config, "eval"):
            marks = task.mark(example.reference, example)
            # Of three summaries by three people the mean is below 1, and at least a third.
            assert all(1 / len(example.all_references) <= value <= 1 for value in marks.values())
            assert (len(example.all_references) == 3) == ("summary1" in example.record)
