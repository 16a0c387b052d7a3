"""The teacher on real vLLM with a draft: what it writes comes from its own distribution, and says so."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from adaswitch.contract.wire import SequenceAnswer
from tests.teacher_models import Reference, assert_rows, make_model
from tests.teacher_process import TeacherProcess

pytestmark = [pytest.mark.integration, pytest.mark.needs_vllm, pytest.mark.timeout(300)]

V, NUM_ROWS = 19, 24
PROMPT = [3, 5, 7, 3, 5]
"""What follows 3, 5 has stood there before, so that n-grams have something to propose."""
NUM_DRAWS = 1500


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("models") / "teacher", V, num_rows=NUM_ROWS, sharpness=2.0)


@pytest.fixture(scope="module", params=["ngram", "model"])
def service(
    request: pytest.FixtureRequest, teacher: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TeacherProcess]:
    root = tmp_path_factory.mktemp(request.param)
    draft = request.param
    if draft == "model":
        draft = str(make_model(root / "draft", V, num_rows=NUM_ROWS, sharpness=1.0))
    process = TeacherProcess(root / "teacher.log", teacher, "--speculative", draft, "--max-top-k", "32")
    try:
        yield process.wait_until_ready(250.0)
    finally:
        process.end()


def write(service: TeacherProcess, seeds: range, max_tokens: int, temperature: float) -> list[SequenceAnswer]:
    answers: list[SequenceAnswer] = []
    for start in range(0, len(seeds), 250):
        prompts = [
            {"token_ids": PROMPT, "max_tokens": max_tokens, "seed": seed, "stop_token_ids": []}
            for seed in seeds[start : start + 250]
        ]
        answers += service.ask("/v1/generate", {"prompts": prompts, "top_k": -1, "temperature": temperature})
    return answers


def test_what_a_draft_proposes_changes_no_distribution(service: TeacherProcess, teacher: Path) -> None:
    reference = Reference(teacher, V)
    [greedy] = write(service, range(1), 24, 0.0)
    text = list(PROMPT)
    for token in greedy.token_ids.tolist():
        assert token == int(np.argmax(reference.rows(text)[-1]))
        text.append(token)

    for temperature in (1.0, 2.0):
        answers = write(service, range(NUM_DRAWS), 3, temperature)
        for answer in answers[:20]:
            written = [*PROMPT, *answer.token_ids.tolist()]
            assert_rows(answer, reference.rows(written)[len(PROMPT) - 1 : -1])
        for length in (1, 2, 3):
            drawn = Counter(tuple(answer.token_ids[:length].tolist()) for answer in answers)
            for tokens, number in drawn.most_common(5):
                chance = likelihood(reference, tokens, temperature)
                spread = (NUM_DRAWS * chance * (1 - chance)) ** 0.5
                assert abs(number - NUM_DRAWS * chance) < 4.5 * spread, (tokens, number, NUM_DRAWS * chance)
    proposed = [
        line
        for line in service.http.get("/metrics").text.splitlines()
        if "num_accepted_tokens_total{" in line
    ]
    assert sum(float(line.split()[-1]) for line in proposed) > 0


def likelihood(reference: Reference, tokens: tuple[int, ...], temperature: float) -> float:
    """How likely the model writes ``tokens`` after the prompt."""
    rows = np.asarray(reference.rows([*PROMPT, *tokens]))[len(PROMPT) - 1 : -1] / temperature
    chances = np.exp(rows) / np.exp(rows).sum(-1, keepdims=True)
    return float(np.prod([row[token] for row, token in zip(chances, tokens, strict=True)]))
