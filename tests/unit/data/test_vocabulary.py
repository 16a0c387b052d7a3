"""V: the highest id + 1 or the rows, whichever is less; gaps, tokens without a row, rows without a token."""

from pathlib import Path

import pytest

from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.config.run import RunConfig
from adaswitch.config.teacher import TeacherServiceConfig
from adaswitch.data.preflight import load_run_data
from adaswitch.data.run_models import cut_to_student, read_run_models
from adaswitch.data.vocabulary import Vocabulary, check_ids, notes_on, shared_size, vocabulary_of
from adaswitch.errors import ModelError
from tests.model_folders import CHAT, CHAT_TOKENS, EOS, NUM_IDS, make_folder, make_tokenizer, write_records

PADDED = {"[PAD]": NUM_IDS}


class Tokens:
    """A tokenizer with the ids 0, 1 and 5."""

    def get_vocab(self) -> dict[str, int]:
        return {"a": 0, "b": 1, "<eos>": 5}


@pytest.mark.parametrize(("num_rows", "size"), [(5, 5), (6, 6), (9, 6)])
def test_it_is_the_smaller_of_ids_and_rows(num_rows: int, size: int) -> None:
    assert vocabulary_of(Tokens(), num_rows, "model") == Vocabulary(6, num_rows)
    assert vocabulary_of(Tokens(), num_rows, "model").size == size


def test_a_tokenizer_without_tokens_is_refused() -> None:
    class Nothing:
        def get_vocab(self) -> dict[str, int]:
            return {}

    with pytest.raises(ModelError, match="model: the tokenizer has 0 tokens and the embedding 9 rows"):
        vocabulary_of(Nothing(), 9, "model")


def test_tokens_without_a_row_are_said() -> None:
    assert notes_on(Vocabulary(6, 6), Tokens(), "model") == []
    assert notes_on(Vocabulary(6, 5), Tokens(), "model") == [
        "model: 1 of the tokenizer's tokens have no row in the model, which has 5, and are never written: 5 '<eos>'"
    ]


def test_a_text_with_a_token_without_a_row_is_named() -> None:
    check_ids([0, 4], 5, "here", Tokens())
    with pytest.raises(
        ModelError, match=r"^here has token 5 \('<eos>'\), and the models have rows for 5 tokens"
    ):
        check_ids([0, 5], 5, "here", Tokens())


def test_a_teacher_over_more_tokens_than_the_student_has_is_refused_with_the_fix() -> None:
    student = Vocabulary(6, 5)
    assert [shared_size(student, size, "big") for size in (4, 5)] == [4, 5]
    with pytest.raises(ModelError, match=r"'big' gives distributions over 6 .* for 5: .* --vocab-size 5"):
        shared_size(student, 6, "big")


def config(student: str, teacher: str, **settings: object) -> RunConfig:
    document = {
        "name": "run",
        "task": {"kind": "chain", "num_train": 3, "num_eval": 3},
        "teacher": {"serve": {"model": teacher}},
        "student": {"model": student, "max_new_tokens": 16},
    }
    return parse_config(with_overrides(document, list(settings.items())))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Models with one tokenizer, whose last token is an added ``[PAD]``, by the rows of their embeddings."""
    place = tmp_path_factory.mktemp("models")
    rows = (NUM_IDS - 1, NUM_IDS, NUM_IDS + 1, 64)
    return {num: make_folder(place / str(num), make_tokenizer(PADDED), num_rows=num) for num in rows}


@pytest.mark.parametrize(
    ("student", "teacher", "size"),
    [
        (NUM_IDS, 64, NUM_IDS),
        (64, NUM_IDS, NUM_IDS),
        (64, 64, NUM_IDS + 1),
        (NUM_IDS - 1, NUM_IDS, NUM_IDS - 1),
    ],
)
def test_a_pair_has_the_tokens_that_both_have(
    folders: dict[int, str], student: int, teacher: int, size: int
) -> None:
    assert read_run_models(config(folders[student], folders[teacher])).vocab_size == size


def test_a_run_may_ask_for_fewer_and_a_served_teacher_is_cut_to_its_student(folders: dict[int, str]) -> None:
    run = config(folders[64], folders[64], **{"teacher.serve.vocab_size": 50})
    assert read_run_models(run).vocab_size == 50
    serve = TeacherServiceConfig(model=folders[64])
    assert cut_to_student(serve, folders[NUM_IDS]).vocab_size == NUM_IDS
    assert cut_to_student(serve, "somebody/elsewhere") == serve
    asked = serve.model_copy(update={"vocab_size": 7})
    assert cut_to_student(asked, folders[NUM_IDS]) == asked


def test_a_prompt_or_reference_with_a_token_without_a_row_is_named_with_its_record(
    folders: dict[int, str], tmp_path: Path
) -> None:
    records = [{"prompt": "1", "reference": "2"}, {"prompt": "1[PAD]", "reference": "2"}]
    answers = [{"prompt": "1", "reference": "2"}, {"prompt": "1", "reference": "[PAD]2"}]
    for name, lines, what in (("p", records, "prompt"), ("r", answers, "reference")):
        task = {"kind": "jsonl", "train": {"path": write_records(tmp_path / f"{name}.jsonl", lines)}}
        for student, teacher in ((NUM_IDS, 64), (64, NUM_IDS)):
            run = config(folders[student], folders[teacher], task=task, policy={"kind": "dataset"})
            with pytest.raises(
                ModelError, match=rf"{name}\.jsonl, line 2: the {what} has token 49 \('\[PAD\]'\)"
            ):
                load_run_data(run)
        load_run_data(config(folders[64], folders[64], task=task, policy={"kind": "dataset"}))


def test_other_tokenizers_are_refused(folders: dict[int, str]) -> None:
    with pytest.raises(ModelError, match=r"^teacher\.serve\.model: 'models/chain-teacher' and .* different"):
        read_run_models(config(folders[64], "models/chain-teacher"))


def test_stop_tokens_of_both_models_are_those_of_the_run(tmp_path: Path) -> None:
    tokenizer = make_tokenizer(CHAT_TOKENS, chat_template=CHAT)
    base = make_tokenizer(CHAT_TOKENS)
    student = make_folder(tmp_path / "student", base, generation={"eos_token_id": 8})
    teacher = make_folder(tmp_path / "teacher", tokenizer, generation={"eos_token_id": [9]})
    models = read_run_models(config(student, teacher))
    assert models.stop_tokens.sources == {
        8: ("generation_config.json",),
        EOS: ("the tokenizer", "the teacher"),
        9: ("the teacher",),
        CHAT_TOKENS["<turn>"]: ("the teacher",),
    }
    named = models.named_in(config(student, teacher))
    assert named.student.stop_token_ids == [8, EOS, 9, CHAT_TOKENS["<turn>"]]
    again = read_run_models(named)
    assert again.stop_tokens.ids == named.student.stop_token_ids
    elsewhere = config(student, teacher, **{"teacher.serve": None})
    assert read_run_models(elsewhere, [11]).stop_tokens.ids == [8, EOS, 11]


def test_references_of_a_chat_task_end_with_its_turn(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "chat", make_tokenizer(CHAT_TOKENS, chat_template=CHAT))
    path = write_records(tmp_path / "own.jsonl", [{"prompt": "1", "reference": "2"}])
    for wraps, end in ((True, CHAT_TOKENS["<turn>"]), (False, EOS)):
        task = {"kind": "jsonl", "train": {"path": path}, "chat_template": wraps}
        data = load_run_data(config(folder, folder, task=task, policy={"kind": "dataset"}))
        assert data.train_references == [(5, end)]
