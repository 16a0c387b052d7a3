"""``TransformersWriter``: the ``Writer`` that writes with a model of transformers in this process.

Shapes: b completions that are written together, V tokens in the vocabulary.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel

from adaswitch.errors import NonFiniteError
from adaswitch.evaluation.writer import Rules, Unwritten, Written
from adaswitch.method.finite import non_finite_weight
from adaswitch.method.sampling import Place, draw


class TransformersWriter:
    """A ``Writer`` that lets ``generate`` write batch after batch with a model in this process."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model

    def write(self, texts: Sequence[Unwritten], rules: Rules) -> Generator[Written, None, None]:
        """See ``Writer``. The model is left as it was."""
        with _as_it_is(self._model):
            for start in range(0, len(texts), rules.batch_size):
                batch = texts[start : start + rules.batch_size]
                yield list(enumerate(_generate(self._model, batch, rules), start))


@contextmanager
def _as_it_is(model: PreTrainedModel) -> Generator[None, None, None]:
    """Switch off dropout, and the generation settings of the model's folder, such as a repetition penalty."""
    was_training, own_settings = model.training, model.generation_config
    model.eval()
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own_settings
        model.train(was_training)


@torch.inference_mode()
def _generate(model: PreTrainedModel, batch: Sequence[Unwritten], rules: Rules) -> list[list[int]]:
    """The completions of ``batch``, each up to and including the token that ends it."""
    rows = [text.prompt_token_ids for text in batch]
    width = max(map(len, rows))
    pad = rules.stop_token_ids[0]
    input_ids = torch.tensor([[pad] * (width - len(ids)) + list(ids) for ids in rows])
    mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in rows])
    starts = [Place(rules.seed, text.noise_id, 0) for text in batch]
    drawing = DrawByPosition(starts, width, rules.temperature, rules.vocab_size)
    try:
        output: Tensor = model.generate(  # type: ignore[operator]  # typed as a tensor in PreTrainedModel
            input_ids=input_ids.to(model.device),
            attention_mask=mask.to(model.device),
            logits_processor=LogitsProcessorList([drawing]),
            do_sample=False,
            max_new_tokens=rules.max_new_tokens,
            eos_token_id=list(rules.stop_token_ids),
            pad_token_id=pad,
        )
    except NonFiniteError as error:
        found = non_finite_weight(dict(model.named_parameters()))
        raise NonFiniteError(f"{error}: {found or 'its weights are finite, but too large'}") from None
    return [_up_to_stop(ids, rules.stop_token_ids) for ids in output[:, width:].tolist()]


class DrawByPosition(LogitsProcessor):
    """Makes ``generate`` take the token that a position's noise draws, whatever its own sampling rule is."""

    def __init__(self, starts: Sequence[Place], width: int, temperature: float, vocab_size: int) -> None:
        """``starts``: the places of the b first tokens. Prompts are padded to ``width``.

        Tokens beyond ``vocab_size`` are padding.
        """
        self._starts = starts
        self._width = width
        self._temperature = temperature
        self._vocab_size = vocab_size

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """``scores [b, V]`` in which all tokens but the chosen token are impossible.

        Raises ``NonFiniteError`` for logits from which no token can be chosen, such as NaN.
        """
        position = input_ids.shape[1] - self._width
        places = [start._replace(position=position) for start in self._starts]
        if not bool(scores[:, : self._vocab_size].amax(-1).isfinite().all()):
            raise NonFiniteError("the model's logits are not finite")
        chosen = draw(scores[:, : self._vocab_size], places, self._temperature)
        return torch.full_like(scores, -torch.inf).scatter(-1, chosen.unsqueeze(-1), 0.0)


def _up_to_stop(token_ids: list[int], stop_token_ids: Sequence[int]) -> list[int]:
    for i, token in enumerate(token_ids):
        if token in stop_token_ids:
            return token_ids[: i + 1]
    return token_ids
