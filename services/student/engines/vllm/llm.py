"""``StudentLLM``: vLLM's engine in this process with the student's methods in its worker. It is not thread-safe."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from adaswitch.errors import AdaSwitchError
from services.student.engines.vllm.worker import Slip, extra_args

if TYPE_CHECKING:
    from vllm.v1.engine.llm_engine import LLMEngine

Finished = list[tuple[int, list[int]]]
"""The numbers of requests that have ended, each with the tokens that were written."""


class LLM(Protocol):
    """What the engine's thread asks of vLLM. Requests go by the number in their slip."""

    max_tokens: int
    """The longest sequence that fits into the cache."""
    state_bytes: int
    """The bytes of a token's final hidden state."""
    logits_bytes: int
    """The bytes of a token's logits; 0 if they are never to be kept."""

    def add(self, token_ids: list[int], slip: Slip, stop_token_ids: Collection[int]) -> None:
        """Begin to write after ``token_ids``."""

    def step(self) -> Finished:
        """Write a token for many requests at once."""

    def abort(self, numbers: Collection[int]) -> None:
        """End requests. Nothing is kept of them."""

    def rows(self, number: int, num_tokens: int) -> Tensor:
        """The states ``[num_tokens, d]`` of a request that has ended, or its logits ``[num_tokens, V]``.

        Its slip says which. They are handed over once.
        """

    def outcomes(self, states: Tensor, ids: Tensor) -> Tensor:
        """See ``StudentWorkerExtension.student_outcomes``."""

    def agrees(self, states: Tensor, token_ids: list[int], prompt_id: int) -> bool:
        """See ``StudentWorkerExtension.student_agrees``."""

    def load_weights(self, weights: Sequence[tuple[str, Tensor]]) -> None:
        """See ``StudentWorkerExtension.student_load_weights``."""

    def reset_cache(self) -> bool:
        """Drop all keys and values. Returns whether that was possible."""

    def shut_down(self) -> None:
        """Free the memory."""


class StudentLLM:
    """An ``LLM`` over vLLM's ``LLMEngine``."""

    def __init__(
        self, engine: "LLMEngine", seed: int, temperature: float, vocab_size: int, *, on_gpu: bool
    ) -> None:
        """Tokens are drawn by the run's ``seed``, at ``temperature``, from the first ``vocab_size`` ids."""
        self._engine = engine
        self.max_tokens: int = engine.model_config.max_model_len
        self.state_bytes, logits_bytes = self._call("student_setup", seed, temperature, vocab_size)
        # On a GPU memory is dear, and projecting states once more takes no time.
        self.logits_bytes: int = 0 if on_gpu else logits_bytes

    def add(self, token_ids: list[int], slip: Slip, stop_token_ids: Collection[int]) -> None:
        """See ``LLM``."""
        from vllm import SamplingParams
        from vllm.inputs import tokens_input
        from vllm.sampling_params import RequestOutputKind

        params = SamplingParams(
            max_tokens=slip.num_tokens,
            temperature=0.0,  # the worker draws
            stop_token_ids=list(stop_token_ids),
            ignore_eos=True,  # only stop_token_ids may end a completion
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            extra_args=extra_args(slip),
            skip_clone=True,
        )
        self._engine.add_request(str(slip.number), tokens_input(token_ids), params)

    def step(self) -> Finished:
        """See ``LLM``."""
        finished = [
            (int(output.request_id), list(output.outputs[0].token_ids))
            for output in self._engine.step()
            if output.finished
        ]
        if not all(token_ids for _, token_ids in finished):
            raise AdaSwitchError("vLLM ended a request by itself, before anything was written")
        return finished

    def abort(self, numbers: Collection[int]) -> None:
        """See ``LLM``."""
        self._engine.abort_request([str(number) for number in numbers])
        for number in numbers:
            self._call("student_rows", number, 0)

    def rows(self, number: int, num_tokens: int) -> Tensor:
        """See ``LLM``."""
        states: Tensor = self._call("student_rows", number, num_tokens)
        return states

    def outcomes(self, states: Tensor, ids: Tensor) -> Tensor:
        """See ``LLM``."""
        outcomes: Tensor = self._call("student_outcomes", states, ids)
        return outcomes

    def agrees(self, states: Tensor, token_ids: list[int], prompt_id: int) -> bool:
        """See ``LLM``."""
        return bool(self._call("student_agrees", states, token_ids, prompt_id))

    def load_weights(self, weights: Sequence[tuple[str, Tensor]]) -> None:
        """See ``LLM``."""
        self._call("student_load_weights", weights)

    def reset_cache(self) -> bool:
        """See ``LLM``."""
        return bool(self._engine.reset_prefix_cache())

    def shut_down(self) -> None:
        """See ``LLM``."""
        core: Any = self._engine.engine_core
        core.shutdown()

    def _call(self, method: str, *arguments: object) -> Any:  # noqa: ANN401
        """What a method of the worker's extension returns."""
        (result,) = self._engine.collective_rpc(method, args=arguments)
        return result
