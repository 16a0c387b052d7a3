"""What ends a completion: the tokens that any file of a model folder names, or that a run's settings name instead."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from adaswitch.data.model_folder import read_json
from adaswitch.errors import ModelError

SETTING = "student.stop_token_ids"
QUESTION, CONTENT = "askswitch", "adaswitch"
"""The contents of the messages that are rendered to see what follows the assistant's."""


@dataclass(frozen=True)
class StopTokens:
    """The tokens that end a completion, and what was found on the way."""

    sources: Mapping[int, tuple[str, ...]]
    """Where each stop token is named, in the order in which they were found; not empty."""
    texts: Mapping[int, str]
    """The text of each stop token, and of the end of a turn."""
    end_of_turn: int | None
    """The token that ends the assistant's turn in the chat template; None without one."""
    end_of_text: int | None
    """The tokenizer's end of sequence; None without one."""
    ignored: tuple[str, ...] = ()
    """A line for each entry that could not be used, with the reason."""

    @property
    def ids(self) -> list[int]:
        """The stop tokens."""
        return list(self.sources)

    def end_of_reference(self, wraps_prompts: bool) -> int:
        """The token that ends a data set's own completion: of those that stop, what a model would end its answer with.

        If a chat template wraps the prompts, that is the end of a turn, else the tokenizer's end of sequence.
        """
        wanted = (
            (self.end_of_turn, self.end_of_text) if wraps_prompts else (self.end_of_text, self.end_of_turn)
        )
        return next((token for token in wanted if token is not None and token in self.sources), self.ids[0])

    def lines(self) -> list[str]:
        """What to tell people: the stop tokens with their sources, what was ignored, and a warning if one is due."""
        named = ", ".join(
            f"{self._shown(token)} ({', '.join(sources)})" for token, sources in self.sources.items()
        )
        lines = [f"a completion ends with {named}", *self.ignored]
        if self.end_of_turn is not None and self.end_of_turn not in self.sources:
            lines.append(
                f"warning: the chat template ends a turn with {self._shown(self.end_of_turn)}, which does not end a "
                f"completion here: add it to {SETTING}"
            )
        return lines

    def _shown(self, token: int) -> str:
        text = self.texts.get(token)
        return str(token) if text is None else f"{token} {text!r}"


def find_stop_tokens(
    folder: str,
    tokenizer: PreTrainedTokenizerBase,
    vocab_size: int,
    setting: str,
    chosen: Sequence[int] | None = None,
    others: Sequence[tuple[str, int]] = (),
) -> StopTokens:
    """The stop tokens of the model in ``folder``, whose V is ``vocab_size``.

    They are the union of what generation_config.json, config.json, the tokenizer and the chat template name, and of
    ``others``: pairs of a source's name and a token, as of the teacher. ``chosen``, a user's own choice, replaces them
    all. Raises ``ModelError`` for a chosen token beyond V, or if there is no stop token at all.
    """
    end_of_turn, problem = _end_of_turn(tokenizer)
    named = [*_named(folder, tokenizer, setting, end_of_turn), *others]
    found, ignored = _usable(named, vocab_size, f"{setting}: {folder!r}")
    ignored += [f"{setting}: {folder!r}: {problem}"] if problem else []
    sources: dict[int, tuple[str, ...]] = {}
    for source, token in found if chosen is None else _checked(chosen, vocab_size):
        sources[token] = tuple(dict.fromkeys([*sources.get(token, ()), source]))
    if not sources:
        raise ModelError(_none_found(folder, setting, ignored))
    end_of_text = tokenizer.eos_token_id
    return StopTokens(
        sources=sources,
        texts=_texts(tokenizer, [*sources, *([] if end_of_turn is None else [end_of_turn])]),
        end_of_turn=end_of_turn,
        end_of_text=end_of_text if isinstance(end_of_text, int) else None,
        ignored=tuple(ignored) if chosen is None else (),
    )


def own_stop_token_ids(
    folder: str, tokenizer: PreTrainedTokenizerBase, vocab_size: int, setting: str
) -> list[int]:
    """The tokens that end a text by the files of the model in ``folder``; empty if they name none."""
    named = list(_named(folder, tokenizer, setting, _end_of_turn(tokenizer)[0]))
    found, _ = _usable(named, vocab_size, folder)
    return list(dict.fromkeys(token for _, token in found))


def _usable(
    named: Sequence[tuple[str, Any]], vocab_size: int, whose: str
) -> tuple[list[tuple[str, int]], list[str]]:
    """The entries of ``named`` that are tokens, and a line for each entry that is none."""
    found: list[tuple[str, int]] = []
    ignored: list[str] = []
    for source, entry in named:
        if isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry < vocab_size:
            found.append((source, entry))
        else:
            ignored.append(f"{whose}: {source} names {entry!r}: ignored, since {_fault(entry, vocab_size)}")
    return found, ignored


def _fault(entry: object, vocab_size: int) -> str:
    if isinstance(entry, int) and not isinstance(entry, bool):
        return f"the models have tokens 0 to {vocab_size - 1}"
    return "it names no token" if entry == [] else "a token is a whole number"


def _named(
    folder: str, tokenizer: PreTrainedTokenizerBase, setting: str, end_of_turn: int | None
) -> Iterator[tuple[str, Any]]:
    """What a model folder names as an end, as it stands there: a source's name, and the entry."""
    for name in ("generation_config.json", "config.json"):
        document = read_json(folder, name, setting)
        for part in (document, document.get("text_config")):
            entry = part.get("eos_token_id") if isinstance(part, dict) else None
            entries = entry if isinstance(entry, list) and entry else [entry]
            yield from ((name, one) for one in entries if one is not None)
    if tokenizer.eos_token_id is not None:
        yield "the tokenizer", tokenizer.eos_token_id
    if end_of_turn is not None:
        yield "the chat template", end_of_turn


def _end_of_turn(tokenizer: PreTrainedTokenizerBase) -> tuple[int | None, str | None]:
    """The special token that follows an assistant's message in the chat template; None if no single token does.

    The second is why none was found, if there is a template. A template may end the last turn otherwise than those
    before, or refuse an assistant's message at the end, so a conversation that goes on is looked at as well.
    """
    if not tokenizer.chat_template:
        return None, None
    asked, answered = {"role": "user", "content": QUESTION}, {"role": "assistant", "content": CONTENT}
    problem = "the chat template shows no special token behind an answer, so none that ends a turn is known"
    for turns in ([asked, answered], [asked, answered, asked]):
        try:
            text = str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=False))
        except Exception as error:  # A template is a program of its own, and fails as it likes.
            reason = str(error)[:80].partition("\n")[0]
            problem = f"the chat template cannot render an answer: {type(error).__name__}: {reason}"
            continue
        if (found := _behind_answer(tokenizer, text)) is not None:
            return found, None
    return None, problem


def _behind_answer(tokenizer: PreTrainedTokenizerBase, text: str) -> int | None:
    """The special token at once behind the answer in ``text``, unless it is the one that opens a question."""
    _, content, rest = text.rpartition(CONTENT)
    special = dict(_special_tokens(tokenizer))
    matching = [text for text in special if text and rest.lstrip().startswith(text)]
    if not content or not matching:
        return None
    end, before = max(matching, key=len), text.partition(QUESTION)[0]
    opening = max(special, key=before.rfind)
    return None if end == opening and opening in before else special[end]


def _special_tokens(tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[str, int]]:
    """The texts and ids of the tokens that are never made of other text."""
    vocabulary = tokenizer.get_vocab()
    added = [token.content for token in getattr(tokenizer, "added_tokens_decoder", {}).values()]
    for text in [*tokenizer.all_special_tokens, *added]:
        if text in vocabulary:
            yield text, vocabulary[text]


def _checked(chosen: Sequence[int], vocab_size: int) -> list[tuple[str, int]]:
    """Raises ``ModelError`` for a token that no model of the run has."""
    for token in chosen:
        if not 0 <= token < vocab_size:
            raise ModelError(
                f"{SETTING}: there is no token {token}: the models have tokens 0 to {vocab_size - 1}"
            )
    return [(SETTING, token) for token in chosen]


def _none_found(folder: str, setting: str, ignored: Sequence[str]) -> str:
    reason = f" ({ignored[0]})" if ignored else ""
    return f"{setting}: {folder!r} names no token that ends a completion{reason}: name them as {SETTING}"


def _texts(tokenizer: PreTrainedTokenizerBase, token_ids: Sequence[int]) -> dict[int, str]:
    by_id = {token: text for text, token in tokenizer.get_vocab().items()}
    return {token: by_id[token] for token in token_ids if token in by_id}
