"""``adaswitch chat``: reads lines, and prints what a model answers, or two models with their divergence."""

import sys
import unicodedata
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text as Styled

from adaswitch.chat.pair import ChatRequest as ChatRequest
from adaswitch.chat.pair import Speakers, load_speakers
from adaswitch.chat.speaker import Answer
from adaswitch.errors import DataError, ModelError
from adaswitch.evaluation.divergence import Text, TokenDivergence, token_divergences

ANEW = "/new"
PROMPT = "> "
MAX_ROWS = 48
"""The largest number of tokens whose divergence is shown one by one. The line above the table speaks of all."""
MAX_TOKEN_WIDTH = 24
MUCH = 1.0
"""From this divergence on, in nats, a token is shown in colour: there the models tell different stories."""
SOME = 0.1


def talk(request: ChatRequest) -> None:
    """Talk until the input ends. Raises ``UserError`` for models that cannot be loaded, or compared."""
    console = Console()
    speakers = load_speakers(request)
    for line in speakers.lines:
        _say(console, line)
    _say(console, f"write a line; {ANEW} begins anew; the end of the input (Ctrl-D) ends")
    for line in _lines():
        if line.strip() == ANEW:
            for speaker in speakers.speakers:
                speaker.begin_anew()
            _say(console, "what was said is forgotten")
        elif line.strip():
            try:
                _answer(speakers, line, console)
            except ModelError as error:
                _say(console, f"error: {error}")


def _lines() -> Iterator[str]:
    """What is typed, or piped in. Raises ``DataError`` for bytes that are no text."""
    number = 0
    while True:
        number += 1
        try:
            line = input(PROMPT if sys.stdin.isatty() else "")
        except EOFError:
            return
        except UnicodeDecodeError:
            raise DataError("is not UTF-8 text", source="the input", line=number) from None
        yield line


def _answer(speakers: Speakers, line: str, console: Console) -> None:
    answers = []
    for name, speaker in zip(speakers.names, speakers.speakers, strict=True):
        if len(speakers.names) > 1:
            console.print(Styled(f"{name}:", style="bold"), soft_wrap=True)
        answers.append(speaker.answer(line, _show))
        print(flush=True)
        if answers[-1].was_cut:
            _say(console, f"(cut after {len(answers[-1].token_ids)} tokens)")
    if len(answers) == 2:
        for index, answer in enumerate(answers):
            _compare(speakers, answer, speakers.names[index], console)


def _show(text: str) -> None:
    """Print ``text`` as it is, but for control characters, by which a model could give orders to the terminal."""
    shown = "".join(c if c in "\n\t" or unicodedata.category(c) != "Cc" else "\ufffd" for c in text)
    print(shown, end="", flush=True)


def _compare(speakers: Speakers, answer: Answer, whose: str, console: Console) -> None:
    """The divergences of the two models over ``answer``, which one of them wrote."""
    first, second = speakers.speakers
    text = Text(0, answer.prompt_token_ids, answer.token_ids)
    found = token_divergences(first.model, second.model, text, speakers.vocab_size)
    values = [token.value for token in found]
    furthest = values.index(max(values))
    _say(
        console,
        f"over what {whose} wrote, KL({speakers.names[1]} || {speakers.names[0]}) is {sum(values) / len(values):.3f} "
        f"nats a token; the largest is {values[furthest]:.3f} at token {furthest}",
    )
    console.print(_table(answer, found, speakers, first.shown))


def _table(
    answer: Answer, found: list[TokenDivergence], speakers: Speakers, shown: Callable[[int], str]
) -> Table:
    """A row for each token: its divergence, and what each model would have written in its place if not the same."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("token", no_wrap=True, overflow="ellipsis", max_width=MAX_TOKEN_WIDTH)
    table.add_column("divergence", justify="right")
    for name in speakers.names:
        table.add_column(
            f"{name[-MAX_TOKEN_WIDTH:]}", no_wrap=True, overflow="ellipsis", max_width=MAX_TOKEN_WIDTH
        )
    rows = list(zip(answer.token_ids, found, strict=True))
    for index, (token, divergence) in enumerate(rows[:MAX_ROWS]):
        likeliest = (divergence.likeliest, divergence.others_likeliest)
        others = [Styled("" if other == token else shown(other)) for other in likeliest]
        style = "bold red" if divergence.value >= MUCH else "yellow" if divergence.value >= SOME else ""
        table.add_row(
            str(index),
            Styled(shown(token), style=style),
            Styled(f"{divergence.value:.3f}", style=style),
            *others,
        )
    if len(rows) > MAX_ROWS:
        table.add_row("…", f"{len(rows) - MAX_ROWS} more")
    return table


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
