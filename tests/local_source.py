"""Teacher and student in this process, behind the trainer's ``RolloutSource``: no HTTP, no Ray."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from adaswitch.config import RunConfig
from adaswitch.io.models import load_tokenizer, stop_token_ids
from adaswitch.roles import Budget, Chunk
from adaswitch.rollout import Prompt, Rollout
from adaswitch.sampling import draw
from adaswitch.wire import GenerateRequest, ModelInfo, ScoreSequence, SequenceAnswer
from services.student.engine import WriteRequest
from services.student.group import Group
from services.student.teacher_calls import TeacherCalls
from services.student.transformers_engine import Sampling, TransformersEngine


class LocalTeacher:
    """Answers the REST client's calls from a model in this process, one sequence at a time, the slow way."""

    def __init__(self, folder: str) -> None:
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.vocab_size = self._model.config.vocab_size
        self.info = ModelInfo(
            model=folder,
            backend="local",
            dtype="float32",
            vocab_size=self.vocab_size,
            max_model_len=self._model.config.max_position_embeddings,
            max_top_k=self.vocab_size,
            max_request_tokens=1_000_000,
            tokenizer_sha256="",
        )

    async def score(self, sequences: list[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        return [self._score(sequence, top_k) for sequence in sequences]

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        answers = []
        for prompt in request.prompts:
            uniforms = np.random.default_rng(prompt.seed).random(prompt.max_tokens)
            tokens = list(prompt.token_ids)
            reason = "length"
            for uniform in uniforms:
                logprobs = self._logprobs(tokens)[len(tokens) - 1 :]
                tokens.append(int(draw(logprobs, torch.tensor([uniform]), request.temperature)))
                if tokens[len(tokens) - 1] in prompt.stop_token_ids:
                    reason = "stop"
                    break
            scored = ScoreSequence(token_ids=tokens, start=len(prompt.token_ids))
            answer = self._score(scored, request.top_k)
            rows = len(answer.token_ids)
            answers.append(
                replace(
                    answer,
                    top_ids=answer.top_ids[:rows],
                    top_logprobs=answer.top_logprobs[:rows],
                    finish_reason=reason,
                )
            )
        return answers

    @torch.inference_mode()
    def _logprobs(self, token_ids: list[int]) -> Tensor:
        return self._model(torch.tensor([token_ids])).logits[0].log_softmax(-1)

    def _score(self, sequence: ScoreSequence, top_k: int) -> SequenceAnswer:
        rows = self._logprobs(sequence.token_ids)[sequence.start - 1 :]
        values, ids = rows.topk(top_k, dim=-1)
        tokens = torch.tensor(sequence.token_ids[sequence.start :], dtype=torch.long)
        own = rows[: len(tokens)].gather(-1, tokens[:, None]).squeeze(-1)
        return SequenceAnswer(
            tokens.int().numpy(), own.numpy(), ids.int().numpy(), values.numpy(), finish_reason=None
        )


class LocalSource:
    """Rolls a step out when it is taken, with the weights published last."""

    def __init__(self, config: RunConfig, teacher: LocalTeacher) -> None:
        folder = config.student.model
        tokenizer = load_tokenizer(folder)
        stops = stop_token_ids(folder, tokenizer)
        self._config = config
        self._engine = TransformersEngine.from_folder(
            folder,
            "float32",
            len(tokenizer),
            Sampling(config.seed, config.student.temperature, config.student.max_new_tokens, stops),
            "cpu",
        )
        self._teacher = TeacherCalls(
            teacher, teacher.info, config.teacher, len(tokenizer), config.seed, stops
        )
        self._budget = Budget(config.student.max_new_tokens, stops)
        self._version = 0
        self.offered: list[int] = []
        self.closed_because: str | None = None

    def publish(self, version: int, weights: Mapping[str, Tensor]) -> None:
        self._engine.load_weights(weights)
        self._version = version

    def offer(self, prompts: Sequence[Prompt]) -> None:
        self.offered += [prompt.id for prompt in prompts]

    def take(self, prompts: Sequence[Prompt], should_stop: Callable[[], bool]) -> list[Rollout] | None:
        if should_stop():
            return None
        rollouts = asyncio.run(self.roll_out(prompts))
        return [replace(rollout, weights_version=self._version) for rollout in rollouts]

    async def roll_out(self, prompts: Sequence[Prompt]) -> list[Rollout]:
        """In groups, one after the other."""
        size = self._config.student.group_size
        rollouts: list[Rollout] = []
        for start in range(0, len(prompts), size):
            group = Group(self._write, self._teacher, self._config.policy, self._budget)
            rollouts += await group.roll_out(prompts[start : start + size])
        self._engine.forget([prompt.id for prompt in prompts])
        return rollouts

    async def _write(self, requests: Sequence[WriteRequest]) -> list[Chunk]:
        return self._engine.write(requests)

    def depth(self) -> int:
        return 0

    def close(self, reason: str) -> None:
        self.closed_because = reason
