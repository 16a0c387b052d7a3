"""What breaks the contract of the two roles ends a rollout, and never goes into one."""

import asyncio
import weakref
from collections.abc import Collection, Sequence
from typing import Literal

import pytest
import torch

from adaswitch.errors import NonFiniteError, TeacherProtocolError
from adaswitch.method.distribution import TopK
from adaswitch.method.kept_logits import KeptLogits
from adaswitch.method.policies.adaswitch import AdaSwitch
from adaswitch.method.policies.base import Policy
from adaswitch.method.policies.off_policy import OffPolicy
from adaswitch.method.policies.on_policy import OnPolicy
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget, Chunk, Continuation
from adaswitch.method.roll_out import roll_out
from adaswitch.method.rollout import Ending, Rollout
from adaswitch.method.stages import Stages
from adaswitch.method.switching import NeverSwitch
from tests.fakes import FakeStudent, FakeTeacher, hash_model, neighbour


def one_rollout(student: FakeStudent, teacher: FakeTeacher, policy: Policy) -> Rollout:
    return asyncio.run(roll_out(policy, Prompt(0, (1,)), student, teacher, Budget(5, ())))


class Weighing(Policy):
    """Explores to the end after it has said what the first tokens are worth."""

    kind: str = "weighing"
    weights: tuple[float, ...] = (0.5, 0.0)

    async def roll_out(self, stages: Stages) -> None:
        await stages.guide(2)
        stages.weigh(self.weights)
        await stages.explore(NeverSwitch())

    @property
    def writers(self) -> frozenset[Literal["student", "other"]]:
        return frozenset({"student", "other"})


def test_a_policy_says_what_tokens_are_worth_and_later_ones_count_one() -> None:
    model = hash_model(0, 3)
    student, teacher = FakeStudent(model, 0), FakeTeacher(model, 3, 0)
    weights = one_rollout(student, teacher, Weighing()).token_weights
    assert weights is not None
    assert weights.tolist() == [0.5, 0.0, 1.0, 1.0, 1.0]
    assert one_rollout(student, teacher, OnPolicy()).token_weights is None
    for wrong in ((1.0,), (1.0, -1.0), (1.0, 1e4), (1.0, 1e-4)):
        with pytest.raises(ValueError, match="the tokens' weights"):
            one_rollout(student, teacher, Weighing(weights=wrong))


@pytest.mark.parametrize("num_written", [0, 4])
def test_a_student_that_writes_nothing_or_too_much_is_refused(num_written: int) -> None:
    class Student(FakeStudent):
        async def write(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Chunk:
            return Chunk([1] * num_written, KeptLogits(torch.zeros(num_written, 3)))

    class Teacher(FakeTeacher):
        async def score(self, prompt: Prompt, completion: Sequence[int], start: int) -> TopK:
            rows = len(completion) - start
            return TopK(torch.arange(3).repeat(rows, 1), torch.zeros(rows, 3).log_softmax(-1), 3)

    model = hash_model(0, 3)
    student, teacher = Student(model, 0), Teacher(model, 3, 0)
    policy = AdaSwitch(window=9, chunk_size=3)
    with pytest.raises(ValueError, match="to write 1 to"):
        one_rollout(student, teacher, policy)


@pytest.mark.parametrize("num_written", [0, 3, 6])
def test_a_teacher_that_stops_early_or_goes_on_too_long_is_refused(num_written: int) -> None:
    class Teacher(FakeTeacher):
        async def generate(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Continuation:
            return await super().generate(prompt, completion, num_written)

    class Mute(FakeTeacher):
        async def generate(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Continuation:
            return Continuation([], TopK(torch.zeros(0, 3).long(), torch.zeros(0, 3), 3))

    model = hash_model(0, 3)
    teacher = (Teacher if num_written else Mute)(model, 3, 0)
    with pytest.raises(TeacherProtocolError, match=f"prompt 0: .* write 5 tokens .* wrote {num_written}"):
        one_rollout(FakeStudent(model, 0), teacher, OffPolicy())


def test_a_leg_may_end_early_only_at_an_end() -> None:
    class Legs(Policy):
        kind: str = "legs"
        ends: tuple[int, ...] = (2,)

        async def roll_out(self, stages: Stages) -> None:
            while not stages.ended:
                await stages.guide(3, self.ends)

    class Early(FakeTeacher):
        async def generate(
            self,
            prompt: Prompt,
            completion: Sequence[int],
            num_tokens: int,
            end_token_ids: Collection[int] = (),
        ) -> Continuation:
            return await super().generate(prompt, completion, num_tokens, {0, 1, 2})

    model = hash_model(0, 3)
    rollout = one_rollout(FakeStudent(model, 0), FakeTeacher(model, 3, 0), Legs())
    assert rollout.by_teacher.all()
    with pytest.raises(TeacherProtocolError, match="was to write 3 tokens or up to a stop token"):
        one_rollout(FakeStudent(model, 0), Early(model, 3, 0), Legs(ends=()))
    assert one_rollout(FakeStudent(model, 0), Early(model, 3, 0), Legs(ends=(0, 1, 2))).num_tokens == 5


class Stepping(Policy):
    """Does to the stages what ``what`` says, after two tokens of each model."""

    kind: str = "stepping"
    what: str
    num: int = 1

    async def roll_out(self, stages: Stages) -> None:
        await stages.guide(2)
        stages.shorten(4)
        await stages.explore(NeverSwitch(), chunk_size=2)
        if self.what == "cut_back":
            stages.weigh((1.0, 0.0, 0.5, 0.5))
            stages.cut_back(self.num)
            stages.cut_short()
        elif self.what == "look":
            await stages.look()
        else:
            await stages.look("nonsense")


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        (Stepping(what="cut_back", num=3), "the last 3 tokens are not all the student's"),
        (Stepping(what="cut_back", num=5), "the last 5 tokens are not all the student's"),
        (Stepping(what="cut_back", num=-1), "the last -1 tokens are not all the student's"),
        (Stepping(what="look"), "the completion has ended; there is no place to look at"),
        (Stepping(what="metric"), "metric 'nonsense' is none of"),
    ],
    ids=str,
)
def test_stages_that_cannot_be_are_refused(policy: Policy, message: str) -> None:
    model = hash_model(0, 3)
    with pytest.raises(ValueError, match=message):
        one_rollout(FakeStudent(model, 0), FakeTeacher(model, 3, 0), policy)


def test_what_is_cut_back_takes_its_weight_and_its_row_with_it() -> None:
    model = hash_model(0, 3)
    rollout = one_rollout(FakeStudent(model, 0), FakeTeacher(model, 3, 0), Stepping(what="cut_back"))
    assert rollout.by_teacher.tolist() == [True, True, False]
    assert rollout.weights.tolist() == [1.0, 0.0, 0.5]
    assert len(rollout.teacher) == 3
    assert (rollout.costs.student_tokens, rollout.costs.wasted_tokens) == (2, 1)
    assert rollout.ending is Ending.BUDGET


class Shortening(Policy):
    """Explores to the end, and then cuts some tokens back."""

    kind: str = "shortening"
    num: int

    async def roll_out(self, stages: Stages) -> None:
        await stages.explore(NeverSwitch(), chunk_size=2)
        if self.num:
            stages.cut_back(self.num)
            stages.cut_short()


@pytest.mark.parametrize("num_cut", [1, 2, 3])
def test_what_is_cut_back_takes_the_students_candidates_with_its_divergences(num_cut: int) -> None:
    model = hash_model(0, 7)
    whole, cut = (
        one_rollout(FakeStudent(model, 0), FakeTeacher(model, 7, 0), Shortening(num=num))
        for num in (0, num_cut)
    )
    num_kept = len(cut.divergences)
    assert num_kept == whole.num_tokens - num_cut + 1
    assert whole.student_top is not None
    assert cut.student_top is not None
    for name in ("ids", "logprobs"):
        kept, before = getattr(cut.student_top, name), getattr(whole.student_top, name)
        assert kept.tolist() == before[:num_kept].tolist()
        assert len(before) == whole.num_tokens


@pytest.mark.parametrize("num_rows", [1, 9])
def test_a_teacher_that_scores_too_few_or_too_many_is_refused(num_rows: int) -> None:
    class Teacher(FakeTeacher):
        async def score(self, prompt: Prompt, completion: Sequence[int], start: int) -> TopK:
            return TopK(torch.arange(3).repeat(num_rows, 1), torch.zeros(num_rows, 3).log_softmax(-1), 3)

    model = hash_model(0, 3)
    with pytest.raises(TeacherProtocolError, match=rf"5 tokens were to be scored, .* {num_rows} rows"):
        one_rollout(FakeStudent(model, 0), Teacher(model, 3, 0), OnPolicy())


def test_a_student_whose_numbers_are_not_finite_ends_the_rollout() -> None:
    class Student(FakeStudent):
        async def write(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Chunk:
            return Chunk([1] * num_tokens, KeptLogits(torch.full((num_tokens, 3), torch.nan)))

    model = hash_model(0, 3)
    with pytest.raises(NonFiniteError):
        one_rollout(Student(model, 0), FakeTeacher(model, 3, 0), OnPolicy())


def test_a_student_with_fewer_tokens_than_distributions_is_refused() -> None:
    class Student(FakeStudent):
        async def write(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Chunk:
            return Chunk([1], KeptLogits(torch.zeros(2, 3)))

    class Teacher(FakeTeacher):
        async def score(self, prompt: Prompt, completion: Sequence[int], start: int) -> TopK:
            return TopK(torch.arange(3).repeat(1, 1), torch.zeros(1, 3).log_softmax(-1), 3)

    model = hash_model(0, 3)
    with pytest.raises(ValueError, match="candidates of 1 tokens, for 2 distributions"):
        one_rollout(Student(model, 0), Teacher(model, 3, 0), OnPolicy())


@pytest.mark.parametrize("policy", [OnPolicy(), AdaSwitch(window=2, factor=1.0, chunk_size=5)])
def test_a_student_that_keeps_no_more_than_two_tokens_at_a_time_changes_no_rollout(policy: Policy) -> None:
    class Student(FakeStudent):
        async def write(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Chunk:
            return await super().write(prompt, completion, min(2, num_tokens))

    model = hash_model(0, 3)
    teacher = FakeTeacher(neighbour(model, 1, 1.0), 3, 0)
    one, two = (one_rollout(student(model, 0), teacher, policy) for student in (FakeStudent, Student))
    assert one.completion_token_ids == two.completion_token_ids
    assert one.divergences == pytest.approx(two.divergences)


def test_a_chunks_distributions_are_freed_before_the_next_chunk_is_written() -> None:
    class Student(FakeStudent):
        async def write(self, prompt: Prompt, completion: Sequence[int], num_tokens: int) -> Chunk:
            assert [kept() for kept in earlier] == [None] * len(earlier)
            chunk = await super().write(prompt, completion, num_tokens)
            earlier.append(weakref.ref(chunk.rows))
            return chunk

    earlier: list[weakref.ref[object]] = []
    model = hash_model(0, 3)
    one_rollout(Student(model, 0), FakeTeacher(model, 3, 0), AdaSwitch(window=9, chunk_size=2))
    assert [kept() for kept in earlier] == [None] * 3


def test_a_teacher_whose_k_changes_within_a_rollout_is_refused() -> None:
    class Teacher(FakeTeacher):
        async def score(self, prompt: Prompt, completion: Sequence[int], start: int) -> TopK:
            self.k = 3 - self.k
            return await super().score(prompt, completion, start)

    model = hash_model(0, 3)
    policy = AdaSwitch(window=9, chunk_size=2)
    with pytest.raises(ValueError, match="cannot join"):
        one_rollout(FakeStudent(model, 0), Teacher(model, 1, 0), policy)
