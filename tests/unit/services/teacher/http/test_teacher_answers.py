"""Answers of a teacher's service that break the contract: none is passed on."""

import httpx
import numpy as np
import pytest

from adaswitch.contract.wire import SequenceAnswer, answers_to_safetensors
from adaswitch.errors import NonFiniteError, TeacherProtocolError
from tests.teacher_fakes import VOCAB_SIZE, fake_answer
from tests.unit.teachers.test_teacher_client import GOOD, REQUEST, SEQUENCES, answering


def changed(answer: SequenceAnswer, **changes: object) -> SequenceAnswer:
    return SequenceAnswer(**{**vars(answer), **changes})


NAN = np.full_like(GOOD.top_logprobs, np.nan)


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ([], TeacherProtocolError),
        ([GOOD, GOOD], TeacherProtocolError),
        ([changed(GOOD, token_ids=np.array([1, 5], np.int32))], TeacherProtocolError),
        ([changed(GOOD, top_ids=GOOD.top_ids[:2], top_logprobs=GOOD.top_logprobs[:2])], TeacherProtocolError),
        ([changed(GOOD, top_ids=GOOD.top_ids[:, :1])], TeacherProtocolError),
        ([changed(GOOD, top_ids=GOOD.top_ids + VOCAB_SIZE)], TeacherProtocolError),
        ([changed(GOOD, top_ids=GOOD.top_ids - VOCAB_SIZE)], TeacherProtocolError),
        ([changed(GOOD, top_ids=np.zeros_like(GOOD.top_ids))], TeacherProtocolError),
        ([changed(GOOD, top_logprobs=np.zeros_like(GOOD.top_logprobs))], TeacherProtocolError),
        (
            [changed(GOOD, top_ids=GOOD.top_ids[:, ::-1], top_logprobs=GOOD.top_logprobs[:, ::-1])],
            TeacherProtocolError,
        ),
        ([changed(GOOD, top_logprobs=NAN)], NonFiniteError),
        ([changed(GOOD, token_logprobs=np.array([-1, -np.inf], np.float32))], NonFiniteError),
    ],
)
async def test_a_score_that_breaks_the_contract_is_never_passed_on(answers, kind):
    def handle(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=answers_to_safetensors(answers) if answers else b"")

    with pytest.raises(kind):
        await answering(handle).score(SEQUENCES[:1], top_k=2)


async def test_the_same_score_unbroken_is_passed_on():
    client = answering(lambda _: httpx.Response(200, content=answers_to_safetensors([GOOD])))
    (answer,) = await client.score(SEQUENCES[:1], top_k=2)
    np.testing.assert_array_equal(answer.top_logprobs, GOOD.top_logprobs)


@pytest.mark.parametrize(("logprobs", "fits"), [("float32", False), ("float16", True)])
async def test_a_rows_sum_may_be_beyond_1_by_what_rounding_makes_of_it(logprobs: str, fits: bool) -> None:
    half = np.full((3, 2), np.log(0.5025), np.float32)
    answer = changed(GOOD, top_logprobs=half)
    client = answering(
        lambda _: httpx.Response(200, content=answers_to_safetensors([answer])), logprobs=logprobs
    )
    if fits:
        # Both are equally likely, which is in order as well.
        assert len(await client.score(SEQUENCES[:1], top_k=2)) == 1
        return
    with pytest.raises(TeacherProtocolError, match="add up to more than 1"):
        await client.score(SEQUENCES[:1], top_k=2)


@pytest.mark.parametrize(
    "answer",
    [
        fake_answer([3, 1], [1, 2, 3, 4, 5], 5, 2, "length"),
        fake_answer([3, 1], [1, 2], 2, 2),
        fake_answer([3, 1], [1, 2], 2, 1, "stop"),
        changed(fake_answer([3, 1], [1], 1, 2, "stop"), token_ids=np.array([VOCAB_SIZE], np.int32)),
    ],
)
async def test_a_continuation_that_breaks_the_contract_is_never_passed_on(answer):
    client = answering(lambda _: httpx.Response(200, content=answers_to_safetensors([answer])))
    with pytest.raises(TeacherProtocolError):
        await client.generate(REQUEST)
