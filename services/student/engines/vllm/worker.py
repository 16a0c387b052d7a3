"""Methods that the student adds to vLLM's worker, in its own process. vLLM finds their class by its name.

Shapes: b requests in a step, n rows that are kept of one request, d numbers of a final hidden state, V tokens.

They are written for vLLM's first model runner. It hands the hidden states and the logits of a step from
``execute_model`` to ``sample_tokens``, with a row for each request, and ``_sample`` draws a token from each row.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adaswitch.method.distribution import outcome_logprobs_of
from adaswitch.method.sampling import Place, draw, gumbel_noise

SLIP = "student_slip"
"""Key in the ``extra_args`` of a request for its ``Slip``."""
MAX_LOGITS = 2**24
"""The most logits that are computed again at once: 64 MiB in float32."""
ROUNDING = 0.02
"""The share of the largest logit by which half precision may change one."""


class Slip(NamedTuple):
    """What a request needs beside its tokens."""

    number: int
    """The engine's own name of the request, by which its rows are fetched."""
    prompt_id: int
    num_before: int
    """The number of the completion's tokens that the request begins with."""
    num_tokens: int
    """The most tokens that it writes."""
    keeps_logits: bool = False
    """Whether each token's logits are kept, instead of the state that they follow from."""
    greedy: bool = False
    """Whether each token is the most likely one."""


class StudentWorkerExtension:
    """Methods that the engine calls with ``collective_rpc``, once the model is loaded."""

    model_runner: Any

    def student_setup(self, seed: int, temperature: float, vocab_size: int) -> tuple[int, int]:
        """Draw every token as ``adaswitch.method.sampling`` says, and keep what its row followed from.

        Returns the bytes of a token's state, and of its logits.
        """
        runner = self.model_runner
        self._seed, self._temperature, self._vocab_size = seed, temperature, vocab_size
        self._kept: dict[int, Tensor] = {}
        hand_over = runner.sample_tokens
        states: list[Tensor] = []

        def sample_tokens(*arguments: Any) -> Any:  # noqa: ANN401
            # The next call forgets what ``execute_model`` has handed over.
            handed = runner.execute_model_state
            states[:] = [] if handed is None else [handed.sample_hidden_states]
            return hand_over(*arguments)

        def sample(logits: Tensor, drafts: object) -> Any:  # noqa: ANN401
            from vllm.v1.outputs import SamplerOutput

            if drafts is not None:
                raise ValueError("a student drafts no tokens")
            tokens = self._drawn(logits, states.pop())
            return SamplerOutput(tokens.to(torch.int32).unsqueeze(-1), None)

        runner.sample_tokens, runner._sample = sample_tokens, sample
        config = runner.model_config
        size = config.dtype.itemsize
        return int(config.get_hidden_size() * size), vocab_size * size

    @torch.no_grad()
    def _drawn(self, logits: Tensor, states: Tensor) -> Tensor:
        """The tokens ``[b]`` that ``logits [b, V']`` draw. These or ``states [b, d]`` are kept, as each slip says."""
        runner = self.model_runner
        tokens = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        # A row of a request whose prompt is not computed to its end yet draws nothing.
        early = runner.discard_request_mask.np[: len(logits)]
        rows = [i for i in range(len(logits)) if not early[i]]
        if not rows:
            return tokens
        requests = [runner.requests[runner.input_batch.req_ids[i]] for i in rows]
        chosen = (
            logits[rows, : self._vocab_size] if len(rows) < len(logits) else logits[:, : self._vocab_size]
        )
        kept = [
            self._keep(request, own, states[i])
            for request, own, i in zip(requests, chosen, rows, strict=True)
        ]
        drawn = draw(chosen, [place for place, _ in kept], self._temperature)
        tokens[rows] = drawn
        # What is drawn is not finite if any logit is NaN or infinite, or if none is more than minus infinity.
        is_finite = chosen.gather(-1, drawn.unsqueeze(-1)).squeeze(-1).isfinite().tolist()
        for (_, row), finite in zip(kept, is_finite, strict=True):
            if not finite:
                row.fill_(torch.nan)
        return tokens

    def _keep(self, request: Any, logits: Tensor, state: Tensor) -> tuple[Place | None, Tensor]:  # noqa: ANN401
        """Keep the ``logits [V]`` that the request's next token is drawn from, or the ``state [d]`` before them.

        Returns the token's place, None if it is the most likely token, and the row in which it is kept.
        """
        slip: Slip = request.sampling_params.extra_args[SLIP]
        num_written = len(request.output_token_ids)
        value = logits if slip.keeps_logits else state
        rows = self._kept.get(slip.number)
        if rows is None:
            rows = self._kept[slip.number] = value.new_empty(slip.num_tokens, len(value))
        rows[num_written] = value
        place = Place(self._seed, slip.prompt_id, slip.num_before + num_written)
        return None if slip.greedy else place, rows[num_written]

    def student_rows(self, number: int, num_tokens: int) -> Tensor | None:
        """Hand over what was kept ``[num_tokens, V or d]`` of a request that is over; None if it wrote nothing.

        A row is NaN throughout if the logits were not finite, whatever the state's own numbers were.
        """
        rows = self._kept.pop(number, None)
        if rows is None or num_tokens == len(rows):
            return rows
        return rows[:num_tokens].clone()

    @torch.no_grad()
    def student_outcomes(self, states: Tensor, ids: Tensor) -> Tensor:
        """The log-probabilities ``[n, k + 1]`` of ``ids [n, k]`` and of all others, from ``states [n, d]``.

        The model's own head computes them, with the caps and scales that the model has on its logits.
        """
        size = max(1, MAX_LOGITS // self._vocab_size)
        parts = [
            outcome_logprobs_of(self.model_runner.model.compute_logits(some), own, self._vocab_size)
            for some, own in zip(states.split(size), ids.to(states.device).split(size), strict=True)
        ]
        return torch.cat(parts).cpu()

    @torch.no_grad()
    def student_agrees(self, states: Tensor, token_ids: list[int], prompt_id: int) -> bool:
        """Whether the first tokens of a completion are those that its ``states [n, d]`` draw, but for rounding."""
        logits = self.model_runner.model.compute_logits(states)[:, : self._vocab_size].float().cpu()
        scores = logits.clone()
        if self._temperature:
            places = [Place(self._seed, prompt_id, i) for i in range(len(token_ids))]
            noise = gumbel_noise(places, self._vocab_size)
            scores += self._temperature * noise
        chosen = scores.gather(-1, torch.tensor(token_ids).unsqueeze(-1)).squeeze(-1)
        # Where a number is not finite, nothing is larger: the weights are at fault, and whoever asks is told so.
        return not bool(((scores.amax(-1) - chosen) > ROUNDING * (1 + logits.abs().amax(-1))).any())

    def student_load_weights(self, weights: Sequence[tuple[str, Tensor]]) -> None:
        """Load weights under the names that the model's folder has."""
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

        runner = self.model_runner
        runner.reload_weights(weights_iterator=iter(weights))
        for module in runner.get_model().modules():
            # A head that is tied to the embedding is not loaded itself, and on CPU it has a packed copy of its own.
            if isinstance(module, ParallelLMHead):
                module.quant_method.process_weights_after_loading(module)

    def student_num_kept(self) -> int:
        """The number of requests whose rows are kept here, because they are under way."""
        return len(self._kept)


def extra_args(slip: Slip) -> Mapping[str, object]:
    """``slip`` as vLLM takes it with a request."""
    return {SLIP: slip}
