"""``Stages``: the steps from which a policy makes a rollout: ``explore``, ``guide``, ``recite`` and ``take_turns``."""

from collections.abc import Collection, Sequence

from torch import Tensor

from adaswitch.errors import DataError, TeacherProtocolError
from adaswitch.method.chunks import Chunks
from adaswitch.method.distribution import TopK
from adaswitch.method.divergence import DIVERGENCES, divergences
from adaswitch.method.draft import RolloutDraft
from adaswitch.method.prompt import Prompt
from adaswitch.method.roles import Budget, Chunk, Student, Teacher
from adaswitch.method.switching import NeverSwitch, SwitchRule, TokenRule, first_switch, last_place
from adaswitch.method.takeover.places import Places, Watch


class Stages:
    """The stages of one rollout, which use its draft, the student and the teacher."""

    def __init__(self, draft: RolloutDraft, student: Student, teacher: Teacher, num_ahead: int = 0) -> None:
        """``num_ahead`` chunks are written ahead while the teacher scores one."""
        self.draft = draft
        self.student = student
        self.teacher = teacher
        self._num_ahead = num_ahead

    @property
    def prompt(self) -> Prompt:
        """The prompt that is being completed."""
        return self.draft.prompt

    @property
    def budget(self) -> Budget:
        """The limits at which the completion is over."""
        return self.draft.budget

    @property
    def token_ids(self) -> Sequence[int]:
        """The completion so far."""
        return tuple(self.draft.token_ids)

    @property
    def ended(self) -> bool:
        """Whether the completion is over."""
        return self.draft.ended

    @property
    def num_left(self) -> int:
        """The number of tokens that may still follow."""
        return self.draft.num_left

    @property
    def teacher_may_write(self) -> bool:
        """Whether the completion goes on, and the teacher may write a token more."""
        return not self.ended and self.draft.num_left_for_teacher > 0

    async def explore(
        self, rule: SwitchRule | TokenRule | Watch, metric: str = "forward_kl", chunk_size: int = 16
    ) -> bool:
        """Exploration: the student writes chunk by chunk, up to the first d_i > tau_i. True if there was a crossing.

        The student's tokens before the switch do not depend on the teacher. So a whole chunk may be written first and
        scored in one request. After the chunk is cut at the crossing, the result is token for token the same as if the
        teacher had been asked after every token. So is it if the next chunks are written meanwhile.
        """
        draft = self.draft
        _require_count(chunk_size, "chunk_size")
        _require_metric(metric)
        if not any(hasattr(rule, method) for method in ("threshold", "accepts", "look")):
            raise ValueError(f"rule {rule!r} has neither a method threshold nor a method accepts")
        if draft.num_left_for_teacher == 0:
            # The teacher may write no more tokens, so a switch is no longer possible.
            rule = NeverSwitch()
        async with Chunks(self.student, draft, chunk_size, self._num_ahead, last_place(rule)) as chunks:
            while not draft.ended:
                if await self._explore_chunk(rule, metric, chunks):
                    return True
        return False

    async def _explore_chunk(self, rule: SwitchRule | TokenRule | Watch, metric: str, chunks: Chunks) -> bool:
        """The next chunk, of which nothing is kept but the record. True if there was a crossing."""
        draft = self.draft
        with draft.waiting("write_s"):
            chunk = await chunks.take()
        scores, own, new = await self._compare(chunk, metric)
        if isinstance(rule, Watch):
            with draft.waiting("write_s"):
                places = Places(len(draft.token_ids), chunk.token_ids, new, scores, chunk.rows)
                crossing, thresholds = await rule.look(places)
        else:
            crossing, thresholds = first_switch(rule, draft.divergences, new, chunk.token_ids, scores)
        draft.add_explored(chunk, scores, own, new, thresholds, crossing)
        return crossing is not None

    async def _compare(self, chunk: Chunk, metric: str) -> tuple[TopK, Tensor, list[float]]:
        """What each token of a chunk that follows the completion so far is given by both models.

        They are the teacher's scores, the student's log-probabilities ``[n, k + 1]`` of the same candidates and of all
        others, and the divergences.
        """
        draft = self.draft
        with draft.waiting("score_s"):
            scores = await self.teacher.score(
                draft.prompt, draft.token_ids + chunk.token_ids, start=len(draft.token_ids)
            )
        if len(scores) != len(chunk.token_ids):
            raise TeacherProtocolError(
                f"prompt {draft.prompt.id}: {len(chunk.token_ids)} tokens were to be scored, the teacher gave "
                f"{len(scores)} rows"
            )
        with draft.waiting("write_s"):
            own = await chunk.rows.outcomes(scores.ids)
        return scores, own, divergences(metric, scores, own)

    async def look(self, metric: str = "forward_kl") -> float:
        """The divergence in nats at the place that comes next, whoever will write there.

        The student writes one token there, which is scored, thrown away, and counted as wasted. Raises ``ValueError``
        if the completion is over.
        """
        draft = self.draft
        _require_metric(metric)
        if draft.ended:
            raise ValueError(
                f"prompt {draft.prompt.id}: the completion has ended; there is no place to look at"
            )
        with draft.waiting("write_s"):
            chunk = await self.student.write(draft.prompt, tuple(draft.token_ids), 1)
        _, _, (divergence,) = await self._compare(chunk, metric)
        draft.add_looked()
        return divergence

    def cut_back(self, num_tokens: int) -> None:
        """Throw away the last ``num_tokens``. Raises ``ValueError`` if any of them is not the student's."""
        self.draft.cut_back(num_tokens)

    def cut_short(self) -> None:
        """End the rollout here, as where the teacher's budget is used up."""
        self.draft.cut_short()

    def shorten(self, num_tokens: int) -> None:
        """End the completion after ``num_tokens``, if that is sooner than the budget says."""
        self.draft.shorten(_require_count(num_tokens, "num_tokens"))

    def limit_teacher(self, num_tokens: int) -> None:
        """Let the teacher write no more than ``num_tokens`` in this rollout, beside the run's own limit."""
        self.draft.limit_teacher(_require_count(num_tokens, "num_tokens"))

    async def guide(self, max_tokens: int | None = None, end_token_ids: Collection[int] = ()) -> None:
        """Guidance: the teacher writes to the end, or at most ``max_tokens``, within the teacher's budget.

        It stops at any of ``end_token_ids`` as well, which is then the last token that it wrote.
        """
        draft = self.draft
        num_tokens = draft.num_left_for_teacher
        if max_tokens is not None:
            _require_count(max_tokens, "max_tokens")
            num_tokens = min(num_tokens, max_tokens)
        if num_tokens < 1:
            why = "has ended" if draft.ended else "has had all the teacher's tokens that it may"
            raise ValueError(f"prompt {draft.prompt.id}: the completion {why}; there is nothing to guide")
        # A teacher that knows of no ends of its own is not asked for any.
        ends = {"end_token_ids": end_token_ids} if end_token_ids else {}
        with draft.waiting("generate_s"):
            continuation = await self.teacher.generate(draft.prompt, draft.token_ids, num_tokens, **ends)
        draft.add_guided(continuation, num_tokens, end_token_ids)

    async def recite(self) -> None:
        """The data set's own answer, cut to ``max_new_tokens``, is the completion. The teacher scores it at once."""
        draft = self.draft
        if draft.token_ids:
            raise ValueError(f"prompt {draft.prompt.id}: the answer is a whole completion, and one was begun")
        token_ids = list(draft.prompt.reference_token_ids[: draft.num_left])
        if not token_ids:
            raise DataError(
                f"prompt {draft.prompt.id} comes without a reference, which this policy trains on",
                source="training data",
                line=draft.prompt.record,
            )
        with draft.waiting("score_s"):
            scores = await self.teacher.score(draft.prompt, token_ids, start=0)
        draft.add_reference(token_ids, scores)

    def weigh(self, weights: Sequence[float]) -> None:
        """Say what each token of the completion so far counts in the loss: 0 leaves it out, 1 is the usual.

        Tokens that come later count 1, so call it last. Raises ``ValueError`` unless there is one number for each
        token: 0, or from 0.001 to 1000.
        """
        self.draft.weigh(weights)

    async def take_turns(self, rule: SwitchRule | TokenRule, chunk_size: int, guide_tokens: int) -> None:
        """Exploration and guidance take turns to the end: after ``guide_tokens`` of the teacher the student goes on.

        The student proposes a chunk, the teacher scores it, and the first token that is rejected ends the accepted
        part. The rejected token and all tokens after it are thrown away. The student's token at a place depends only
        on the tokens before it, so the result is token for token the same as if the teacher judged after every token.

        The limit ``max_teacher_tokens`` does not cut the rollout short: once it is reached, the student goes on alone.
        """
        while not self.ended:
            if self.draft.num_left_for_teacher == 0:
                await self.explore(NeverSwitch(), "forward_kl", self.draft.num_left)
            elif await self.explore(rule, "forward_kl", chunk_size):
                await self.guide(guide_tokens)


def _require_count(value: object, name: str) -> int:
    """``value``. Raises ``ValueError`` unless it is a whole number from 1 on."""
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}, and must be a whole number from 1 on")
    return value


def _require_metric(metric: str) -> None:
    if metric not in DIVERGENCES:
        raise ValueError(f"metric {metric!r} is none of {', '.join(DIVERGENCES)}")
