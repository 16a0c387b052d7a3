"""``Speaker``: one model in a conversation, which answers a line of text in pieces as it writes them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from adaswitch.chat.manner import Manner
from adaswitch.data.datasets import encode_prompt
from adaswitch.data.vocabulary import check_ids
from adaswitch.errors import ModelError, NonFiniteError
from adaswitch.method.decoding import Decoder, Draft
from adaswitch.method.sampling import Place, draw
from adaswitch.tasks.base import Example
from adaswitch.tasks.chat import Message

PIECE = 4
"""The number of tokens after which what was written is shown."""
HALF_A_CHARACTER = "\ufffd"


@dataclass(frozen=True)
class Drawing:
    """How tokens are drawn. Temperature 0 takes the most likely."""

    temperature: float
    seed: int


@dataclass(frozen=True)
class Answer:
    """What a model answered."""

    prompt_token_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    """The answer, with the token that ended it if one did."""
    text: str
    was_cut: bool
    """Whether the answer came to its largest length before its end."""


class Speaker:
    """A model, and what was said to it so far. If its prompts are plain text, every line stands by itself."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        manner: Manner,
        stop_token_ids: list[int],
        vocab_size: int,
        max_positions: int,
        drawing: Drawing,
    ) -> None:
        """``vocab_size`` is V; ``max_positions`` is the longest sequence in tokens. Raises ``ModelError``."""
        self.model = model
        self._tokenizer = tokenizer
        self._manner = manner
        self._stop_token_ids = stop_token_ids
        self._vocab_size = vocab_size
        self._max_positions = max_positions
        self._drawing = drawing
        self._decoder = Decoder(model, DynamicCache, vocab_size, str(model.device))
        self._said: list[Message] = []
        self._num_asked = 0

    def shown(self, token_id: int) -> str:
        """The text of one token, in quotes, with special tokens by their names."""
        return repr(str(self._tokenizer.decode([token_id])))

    def begin_anew(self) -> None:
        """Forget what was said."""
        self._said.clear()

    def answer(self, text: str, show: Callable[[str], None]) -> Answer:
        """Answer ``text``; ``show`` gets the answer in pieces.

        Raises ``ModelError`` for a text that the model cannot be asked, and ``NonFiniteError``. Then nothing was said.
        """
        asked: Message = {"role": "user", "content": self._manner.task.asking(text)}
        prompt = self._encoded(asked)
        room = min(self._manner.max_new_tokens, self._max_positions - len(prompt))
        if room < 1:
            raise ModelError(
                f"what was said comes to {len(prompt)} tokens, and the model takes {self._max_positions}: /new begins "
                "anew"
            )
        token_ids, written = self._write(prompt, room, show)
        if self._manner.task.wraps_prompts:
            self._said += [asked, {"role": "assistant", "content": written}]
        self._num_asked += 1
        ended = token_ids[-1] in self._stop_token_ids
        return Answer(tuple(prompt), tuple(token_ids), written, was_cut=not ended)

    def _encoded(self, asked: Message) -> list[int]:
        task = self._manner.task
        messages = (*self._said, asked) if task.wraps_prompts else ()
        example = Example(str(asked["content"]), "", 1, source="what was asked", messages=messages)
        prompt = encode_prompt(self._tokenizer, task, example)
        check_ids(prompt, self._vocab_size, "what was asked", self._tokenizer)
        return prompt

    def _write(self, prompt: list[int], room: int, show: Callable[[str], None]) -> tuple[list[int], str]:
        draft, shown = Draft(list(prompt)), ""
        stops = frozenset(self._stop_token_ids)
        while True:
            token_ids = draft.token_ids[len(prompt) :]
            is_over = len(token_ids) == room or bool(token_ids and token_ids[-1] in stops)
            text = self._text(token_ids)
            if is_over or (text.startswith(shown) and not text.endswith(HALF_A_CHARACTER)):
                show(text[len(shown) :] if text.startswith(shown) else f"\n{text}")
                shown = text
            if is_over:
                return token_ids, text
            self._decoder.write(
                [draft], [min(PIECE, room - len(token_ids))], [stops], self._choose(len(token_ids))
            )

    def _choose(self, position: int) -> Callable[[Tensor, int], Tensor]:
        def choose(logits: Tensor, j: int) -> Tensor:
            """The token of each row, which is the only one here."""
            if not bool(torch.isfinite(logits.amax(-1)).all()):
                raise NonFiniteError(
                    "the model's logits are not finite: its weights are damaged, or too large"
                )
            place = Place(self._drawing.seed, self._num_asked, position + j)
            return draw(logits, [place], self._drawing.temperature)

        return choose

    def _text(self, token_ids: list[int]) -> str:
        return str(self._tokenizer.decode(token_ids, skip_special_tokens=True))
