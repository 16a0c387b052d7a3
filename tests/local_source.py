"""Teacher and student in this process, behind the trainer's ``RolloutSource``: no HTTP, no Ray."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

import experiments.local
from adaswitch.config.run import RunConfig
from adaswitch.contract.fingerprint import tokenizer_sha256
from adaswitch.contract.wire import GenerateRequest, ModelInfo, ScoreSequence, SequenceAnswer
from adaswitch.data.models import load_tokenizer
from adaswitch.method.prompt import Prompt
from adaswitch.method.sampling import Place, draw


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
            tokenizer_sha256=tokenizer_sha256(load_tokenizer(folder).get_vocab()),
        )

    async def score(self, sequences: list[ScoreSequence], top_k: int) -> list[SequenceAnswer]:
        return [self._score(sequence, top_k) for sequence in sequences]

    async def generate(self, request: GenerateRequest) -> list[SequenceAnswer]:
        answers = []
        for prompt in request.prompts:
            tokens = list(prompt.token_ids)
            reason = "length"
            for position in range(prompt.max_tokens):
                logprobs = self._logprobs(tokens)[len(tokens) - 1 :]
                tokens.append(int(draw(logprobs, [Place(prompt.seed, 0, position)], request.temperature)))
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


class LocalSource(experiments.local.LocalSource):
    """The comparisons' own source, which also notes what it was offered and why it was closed."""

    def __init__(self, config: RunConfig, teacher: LocalTeacher) -> None:
        super().__init__(config, teacher, teacher.info)
        self.offered: list[int] = []
        self.closed_because: str | None = None

    def offer(self, prompts: Sequence[Prompt]) -> None:
        self.offered += [prompt.id for prompt in prompts]

    def close(self, reason: str) -> None:
        self.closed_because = reason
