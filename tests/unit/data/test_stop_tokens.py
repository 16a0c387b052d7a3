"""What ends a completion: every file that names an end, the chat template, the teacher, or the settings instead."""

import re
from pathlib import Path
from typing import Any

import pytest

from adaswitch.data.models import load_tokenizer
from adaswitch.data.stop_tokens import StopTokens, find_stop_tokens, own_stop_token_ids
from adaswitch.errors import ModelError
from tests.model_folders import CHAT, CHAT_TOKENS, EOS, make_folder, make_tokenizer

V = 60
TURN = CHAT_TOKENS["<turn>"]


def found(folder: str, **settings: Any) -> StopTokens:
    return find_stop_tokens(folder, load_tokenizer(folder), V, "student.model", **settings)


def test_every_file_that_names_an_end_counts(tmp_path: Path) -> None:
    chat = make_tokenizer(CHAT_TOKENS, chat_template=CHAT)
    generation, config = {"eos_token_id": [7, EOS]}, {"eos_token_id": [9, 8]}
    stops = found(
        make_folder(tmp_path, chat, generation=generation, config=config), others=[("the teacher", 11)]
    )
    assert stops.sources == {
        7: ("generation_config.json",),
        EOS: ("generation_config.json", "the tokenizer"),
        9: ("config.json",),
        8: ("config.json",),
        TURN: ("the chat template",),
        11: ("the teacher",),
    }
    assert stops.lines() == [
        "a completion ends with 7 '4' (generation_config.json), 2 '<eos>' (generation_config.json, the tokenizer), "
        "9 '6' (config.json), 8 '5' (config.json), 51 '<turn>' (the chat template), 11 '8' (the teacher)"
    ]


def test_without_generation_settings_the_whole_list_of_config_json_counts(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, make_tokenizer(eos=None), config={"eos_token_id": [9, 8]})
    assert found(folder).ids == [9, 8]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ([], r"names \[\]: ignored, since it names no token"),
        ("2", "names '2': ignored, since a token is a whole number"),
        (True, "names True: ignored, since a token is a whole number"),
        ([2.5, [3]], r"names 2\.5: ignored"),
        ([70, 5], "names 70: ignored, since the models have tokens 0 to 59"),
        (-1, "names -1: ignored, since the models have tokens 0 to 59"),
    ],
)
def test_what_is_no_token_is_ignored_with_the_reason(tmp_path: Path, entry: object, reason: str) -> None:
    folder = make_folder(tmp_path, generation={"eos_token_id": entry})
    stops = found(folder)
    assert EOS in stops.ids
    assert set(stops.ids) <= {EOS, 5}
    [line, *_] = stops.ignored
    assert line.startswith(f"student.model: {folder!r}: generation_config.json names")
    assert re.search(reason, line)
    assert line in stops.lines()


@pytest.mark.parametrize("entry", [None, [], "2"])
def test_no_end_at_all_is_an_error(tmp_path: Path, entry: object) -> None:
    folder = make_folder(tmp_path, make_tokenizer(eos=None), generation={"eos_token_id": entry})
    with pytest.raises(
        ModelError, match=r"^student\.model: .* names no token that ends a completion.*: name them as"
    ):
        found(folder)
    assert own_stop_token_ids(folder, load_tokenizer(folder), V, "model") == []


@pytest.mark.parametrize(
    ("content", "fault"), [("{", "not JSON"), ("[1]", "must hold a JSON object, and holds a list")]
)
def test_generation_settings_that_cannot_be_read_are_named(tmp_path: Path, content: str, fault: str) -> None:
    folder = make_folder(tmp_path, generation=content)
    with pytest.raises(ModelError, match=rf"^student\.model: .*generation_config\.json: {fault}"):
        found(folder)


def test_the_settings_replace_all_of_it_and_the_turn_that_is_left_out_is_warned_of(tmp_path: Path) -> None:
    folder = make_folder(
        tmp_path, make_tokenizer(CHAT_TOKENS, chat_template=CHAT), generation={"eos_token_id": []}
    )
    stops = found(folder, chosen=[EOS, 5, EOS], others=[("the teacher", 11)])
    assert stops.sources == {EOS: ("student.stop_token_ids",), 5: ("student.stop_token_ids",)}
    assert stops.lines()[1:] == [
        "warning: the chat template ends a turn with 51 '<turn>', which does not end a completion here: add it to "
        "student.stop_token_ids"
    ]
    assert found(folder, chosen=[TURN]).lines() == [
        "a completion ends with 51 '<turn>' (student.stop_token_ids)"
    ]
    with pytest.raises(
        ModelError, match=r"student\.stop_token_ids: there is no token 60: the models have tokens 0 to"
    ):
        found(folder, chosen=[60])


@pytest.mark.parametrize(
    ("chat_template", "end"),
    [
        (CHAT, TURN),
        (CHAT.replace("<turn>", "\n<turn>\n"), TURN),
        ("{% for m in messages %}{{ m.content }}{% endfor %}<turn>", TURN),
        ("{% for m in messages %}{{ m.content }}<turn>\n{% endfor %}<eos>", TURN),
        ("{% for m in messages %}{{ m.content }}\n### {% endfor %}", None),
        ("{% for m in messages %}{{ m.content }}{% endfor %}", None),
        ("{% for m in messages %}{{ m.role }}{% endfor %}", None),
    ],
)
def test_the_end_of_a_turn_is_the_special_token_behind_an_answer(
    tmp_path: Path, chat_template: str, end: int | None
) -> None:
    folder = make_folder(tmp_path, make_tokenizer(CHAT_TOKENS, chat_template=chat_template))
    stops = found(folder)
    assert stops.end_of_turn == end
    assert stops.ids == [EOS, *([] if end is None else [end])]


TURNS = "{% for m in messages %}<s{{ m.role[0] }}>{{ m.content }}BETWEEN{% endfor %}"


@pytest.mark.parametrize(
    ("chat_template", "end"),
    [
        (TURNS.replace("BETWEEN", "{% if not loop.last %}<turn>{% endif %}"), TURN),
        (
            "{% if messages[-1].role == 'assistant' %}{{ raise_exception('no prefill') }}{% endif %}"
            + TURNS.replace("BETWEEN", "<turn>"),
            TURN,
        ),
        # What opens a question ends no answer.
        (TURNS.replace("BETWEEN", " "), None),
        (TURNS.replace("m.content", "m.content | upper").replace("BETWEEN", "<turn>"), None),
    ],
)
def test_the_end_of_a_turn_is_also_looked_for_within_a_conversation(
    tmp_path: Path, chat_template: str, end: int | None
) -> None:
    stops = found(make_folder(tmp_path, make_tokenizer(CHAT_TOKENS, chat_template=chat_template)))
    assert stops.end_of_turn == end
    assert ("shows no special token behind an answer" in "".join(stops.ignored)) == (end is None)


def test_a_template_that_cannot_be_rendered_is_said(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, make_tokenizer(chat_template="{{ raise_exception('only tools') }}"))
    assert found(folder).ids == [EOS]
    assert any(
        "the chat template cannot render an answer: TemplateError: only tools" in one
        for one in found(folder).ignored
    )


def test_a_reference_ends_as_an_answer_would(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, make_tokenizer(CHAT_TOKENS, chat_template=CHAT))
    assert [found(folder).end_of_reference(wraps) for wraps in (True, False)] == [TURN, EOS]
    # What does not stop a completion must not be learnt as its end.
    assert [found(folder, chosen=[5, EOS]).end_of_reference(wraps) for wraps in (True, False)] == [EOS, EOS]
    assert [found(folder, chosen=[5]).end_of_reference(wraps) for wraps in (True, False)] == [5, 5]
