"""The load benchmark's spot check: a good answer passes, and each way to be wrong is seen."""

from dataclasses import replace

import numpy as np
import pytest

from adaswitch.contract.wire import SequenceAnswer
from bench.load_clients import K, Report, _compare
from tests.teacher_fakes import fake_answer, fake_logprobs

SCORE = ("/v1/score", {"sequences": [{"token_ids": [3, 1, 4, 1], "start": 2}]})
SCORED = fake_answer([3, 1], [4, 1], 3, K)
GENERATE = ("/v1/generate", {"prompts": [{"token_ids": [3, 1], "max_tokens": 2, "seed": 0}]})
GENERATED = fake_answer([3, 1], [5, 9], 2, K, "length")


def reference(token_ids: list[int]) -> np.ndarray:
    return np.stack([fake_logprobs(token_ids[: n + 1]) for n in range(len(token_ids))])


def compared(request: tuple[str, dict], answer: SequenceAnswer) -> Report:
    report = Report(1, 1.0)
    _compare(*request, answer, reference, report)
    return report


def test_good_answers_pass() -> None:
    for report in (compared(SCORE, SCORED), compared(GENERATE, GENERATED)):
        assert report.problems == []
        assert (report.compared, report.largest_difference) == (1, 0.0)


@pytest.mark.parametrize(
    ("request_", "answer", "words"),
    [
        (SCORE, replace(SCORED, token_ids=SCORED.token_ids[::-1]), "other tokens came"),
        (GENERATE, fake_answer([3, 1], [5], 1, K, "length"), "other tokens came"),
        (SCORE, fake_answer([3, 1], [4, 1], 2, K), "3 rows of 8 asked"),
        (SCORE, fake_answer([3, 1], [4, 1], 3, K - 1), "3 rows of 8 asked"),
        (SCORE, replace(SCORED, token_logprobs=SCORED.token_logprobs[:1]), "2 tokens, 1 of their"),
        (SCORE, replace(SCORED, token_logprobs=SCORED.token_logprobs - 0.5), "0.5 nats"),
        (SCORE, replace(SCORED, top_logprobs=SCORED.top_logprobs + 0.25), "0.25 nats"),
        (GENERATE, replace(GENERATED, token_logprobs=GENERATED.token_logprobs[::-1]), "nats"),
        (GENERATE, replace(GENERATED, top_ids=GENERATED.top_ids[::-1]), "nats"),
    ],
)
def test_each_way_to_be_wrong_is_seen(request_, answer: SequenceAnswer, words: str) -> None:
    [problem] = compared(request_, answer).problems
    assert words in problem
