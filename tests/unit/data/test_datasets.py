"""Reading examples, and their token ids."""

import sys
from types import SimpleNamespace

import pytest
from tokenizers.processors import TemplateProcessing

from adaswitch.data.datasets import (
    encode_prompt,
    encode_reference,
    eval_examples,
    load_examples,
    load_records,
)
from adaswitch.data.record_files import read_jsonl
from adaswitch.errors import ConfigError, DataError, EnvironmentProblem, ModelError
from adaswitch.tasks.base import DataSource, Example
from adaswitch.tasks.chain import ChainTask
from adaswitch.tasks.gsm8k import Gsm8kTask
from adaswitch.tasks.gsm_plus import GsmPlusTask
from adaswitch.tasks.jsonl import JsonlTask
from tests.model_folders import BOS, EOS, make_tokenizer

SOURCE = DataSource(path="train.jsonl")

EXAMPLE = Example(prompt="ab", reference="c", number=5)


@pytest.fixture
def write(tmp_path):
    def write_file(content: bytes):
        path = tmp_path / "data.jsonl"
        path.write_bytes(content)
        return path

    return write_file


def test_records_carry_their_line_numbers(write):
    path = write(b'\xef\xbb\xbf{"a": 1}\n\n  \n{"a": "\xc3\xa9"}\r\n{"a": 3}')
    assert read_jsonl(path) == [(1, {"a": 1}), (4, {"a": "é"}), (5, {"a": 3})]


def test_nothing_is_read_behind_the_limit(write):
    path = write(b'{"a": 1}\n{"a": 2}\nbroken\n')
    assert read_jsonl(path, limit=2) == [(1, {"a": 1}), (2, {"a": 2})]
    assert load_records(DataSource(path=str(path), limit=1)) == [(1, {"a": 1})]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b'{"a": 1}\n{"a": }\n', ", line 2: not valid JSON: Expecting value at column 7"),
        (b'{"a": 1}\n\n{"a": 1', ", line 3: not valid JSON: Expecting ',' delimiter at column 8"),
        (b"[1]\n", ", line 1: a JSON object is expected, not list"),
        (b'{"a": 1}\n7\n', ", line 2: a JSON object is expected, not int"),
        (b'{"a": "\xff"}\n', ", line 1: not UTF-8 text"),
        (b"[" * 100_000, ", line 1: not valid JSON: nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", ", line 1: a number with too many digits"),
        (b"", ": holds no records: one JSON object a line is expected"),
        (b"\n \n", ": holds no records: one JSON object a line is expected"),
    ],
)
def test_a_broken_file_names_the_line(write, content, complaint):
    path = write(content)
    with pytest.raises(DataError) as caught:
        read_jsonl(path)
    assert str(caught.value) == f"{path}{complaint}"


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.jsonl: no such file: check the path under task"):
        read_jsonl(tmp_path / "nowhere.jsonl")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_jsonl(tmp_path)


def test_examples_come_from_the_split_that_was_asked_for(write, tmp_path):
    train = write(b'{"question": "2 + 2?", "answer": "#### 4"}\n')
    held_out = tmp_path / "eval.jsonl"
    held_out.write_text('\n{"question": "1 + 2?", "answer": "#### 3"}\n')
    settings = Gsm8kTask(
        train=DataSource(path=str(train)), eval=DataSource(path=str(held_out)), prompt_suffix=" Well?"
    )
    assert load_examples(settings, "train") == [Example("2 + 2? Well?", "#### 4", 1)]
    assert load_examples(settings, "eval") == [Example("1 + 2? Well?", "#### 3", 2)]


def test_a_task_without_an_eval_source_has_no_held_out_examples(write):
    settings = JsonlTask(train=DataSource(path=str(write(b'{"prompt": "a", "reference": "b"}'))))
    assert load_examples(settings, "train") == [Example("a", "b", 1)]
    assert load_examples(settings, "eval") == []


def test_a_record_that_cannot_be_used_names_file_line_and_field(write):
    path = write(b'\n{"prompt": "a"}\n')
    with pytest.raises(DataError) as caught:
        load_examples(JsonlTask(train=DataSource(path=str(path))), "train")
    assert str(caught.value) == f'{path}, line 2: no field "reference" (there are: prompt)'


def test_held_out_chains_depend_on_the_seed_alone_and_are_never_trained_on():
    small = ChainTask(num_train=10, num_eval=150, min_operations=1, max_operations=1)
    large = small.model_copy(update={"num_train": 150})
    held_out = load_examples(small, "eval")
    assert held_out == load_examples(large, "eval")
    train = load_examples(large, "train")
    assert {e.prompt for e in train}.isdisjoint(e.prompt for e in held_out)
    assert (len(train), len(held_out)) == (150, 150)
    assert train[:10] == load_examples(small, "train")
    assert load_examples(small.model_copy(update={"seed": 1}), "eval") != held_out


class HubData(list):
    """Looks like a ``datasets.Dataset``."""

    def select(self, indices):
        return [self[i] for i in indices]


def offer_hub(monkeypatch, load_dataset):
    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))


def test_records_come_from_the_hub_by_name(monkeypatch):
    asked = []

    def load_dataset(name, subset, split):
        asked.append((name, subset, split))
        return HubData([{"a": 1}, {"a": 2}, {"a": 3}])

    offer_hub(monkeypatch, load_dataset)
    source = DataSource(hub="openai/gsm8k", subset="main", split="test", limit=2)
    assert load_records(source) == [(1, {"a": 1}), (2, {"a": 2})]
    assert len(load_records(DataSource(hub="x/y", limit=9))) == 3
    assert asked == [("openai/gsm8k", "main", "test"), ("x/y", None, "train")]


def test_a_hub_that_cannot_be_reached_is_one_line_with_the_fix(monkeypatch):
    def load_dataset(name, subset, split):
        raise ConnectionError("Couldn't reach 'x/y' on the Hub\nand much more")

    offer_hub(monkeypatch, load_dataset)
    with pytest.raises(DataError) as caught:
        load_records(DataSource(hub="x/y"))
    assert str(caught.value) == (
        "hub:x/y: cannot be loaded from the hub: Couldn't reach 'x/y' on the Hub: check the name, subset and "
        "split, or download it and set path to the file"
    )


def test_an_empty_hub_split_is_refused(monkeypatch):
    offer_hub(monkeypatch, lambda name, subset, split: HubData())
    with pytest.raises(DataError, match="hub:x/y: split train holds no records"):
        load_records(DataSource(hub="x/y"))


def test_without_the_package_for_the_hub_the_fix_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(EnvironmentProblem, match=r"hub:x/y: .*uv pip install 'adaswitch\[hub\]'"):
        load_records(DataSource(hub="x/y"))


class LetterTokenizer:
    """a is 1, b is 2 ...; 100 is its BOS, 101 opens a chat, 102 the answer; 103 is its EOS."""

    def __init__(self, chat_template="template", eos_token_id=103):
        self.chat_template = chat_template
        self.eos_token_id = eos_token_id

    def encode(self, text, *, add_special_tokens):
        ids = [{"<": 101, ">": 102}.get(letter) or self._letter(letter) for letter in text]
        return [100, *ids] if add_special_tokens else ids

    def _letter(self, letter):
        if not letter.islower():
            raise Exception("no such token")  # what a tokenizer without an unknown token raises
        return ord(letter) - ord("a") + 1

    def apply_chat_template(self, conversation, *, add_generation_prompt, tokenize):
        assert (add_generation_prompt, tokenize) == (True, False)
        [message] = conversation
        assert message["role"] == "user"
        return f"<{message['content']}>"


def test_a_plain_prompt_has_the_tokenizers_own_special_tokens():
    assert encode_prompt(LetterTokenizer(), ChainTask(), EXAMPLE) == [100, 1, 2]


@pytest.mark.parametrize("frame", ["<bos> $A <eos>", "$A <eos>", "<bos> $A"])
def test_an_end_that_the_tokenizer_adds_is_not_asked(frame):
    tokenizer = make_tokenizer()
    ends = [("<bos>", BOS), ("<eos>", EOS)]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=frame, special_tokens=ends)
    start = [BOS] if frame.startswith("<bos>") else []
    task = JsonlTask(train=DataSource(path="a"))
    assert encode_prompt(tokenizer, task, Example("1+", "2", 1)) == [*start, 4, 13]
    assert encode_prompt(tokenizer, task, Example("1<eos>", "2", 1)) == [*start, 4, EOS]


def test_a_chat_prompt_has_those_of_the_template_alone():
    assert encode_prompt(LetterTokenizer(), Gsm8kTask(train=SOURCE), EXAMPLE) == [101, 1, 2, 102]


def test_a_reference_ends_with_eos():
    assert encode_reference(LetterTokenizer(), EXAMPLE) == [3, 103]
    with pytest.raises(ModelError, match="no end-of-sequence token"):
        encode_reference(LetterTokenizer(eos_token_id=None), EXAMPLE)


def test_a_tokenizer_without_a_chat_template_is_refused():
    with pytest.raises(ModelError, match=r"task\.chat_template: the tokenizer has no chat template"):
        encode_prompt(LetterTokenizer(chat_template=None), Gsm8kTask(train=SOURCE), EXAMPLE)


@pytest.mark.parametrize(("source", "place"), [("a.jsonl", r"a\.jsonl, line 5"), ("", r"record 5 \(eval\)")])
def test_what_cannot_be_put_into_tokens_names_its_place(source, place):
    with pytest.raises(ModelError, match=f"^{place}: the tokenizer cannot spell 'aB': no such token"):
        encode_prompt(LetterTokenizer(), ChainTask(), Example("aB", "c", 5, source=source))
    with pytest.raises(ModelError, match=f"^{place}: the tokenizer cannot spell 'C'"):
        encode_reference(LetterTokenizer(), Example("ab", "C", 5, source=source))
    with pytest.raises(DataError, match=f"^{place}: the reference is empty"):
        encode_reference(LetterTokenizer(), Example("ab", " ", 5, source=source))


GSM8K_LINE = b'{"question": "1 + 1?", "answer": "#### 2"}\n'
GSM_PLUS_LINE = b'{"question": "1 + 1?", "solution": "#### 2", "perturbation_type": "digit expansion"}\n'


def gsm_plus(path):
    return GsmPlusTask(train=DataSource(path=str(path)), eval=DataSource(path=str(path)))


@pytest.mark.parametrize("lines", [(GSM8K_LINE, GSM_PLUS_LINE), (GSM_PLUS_LINE, GSM8K_LINE)])
def test_held_out_records_of_two_data_sets_are_refused(write, lines):
    path = write(lines[0] + b"\n" + lines[1])
    assert len(load_examples(gsm_plus(path), "train")) == 2
    with pytest.raises(DataError, match=r"data\.jsonl, line 3: held-out records must be all of one data set"):
        load_examples(gsm_plus(path), "eval")


def test_held_out_records_of_several_kinds_are_one_data_set(write):
    path = write(GSM_PLUS_LINE + GSM_PLUS_LINE.replace(b"digit expansion", b"critical thinking"))
    assert [e.split for e in load_examples(gsm_plus(path), "eval")] == [
        "digit expansion",
        "critical thinking",
    ]
    assert len(load_examples(gsm_plus(write(GSM8K_LINE * 2)), "eval")) == 2


EXTRA = ChainTask(num_train=300, num_eval=40, extra_splits=["multiply", "longer"])


def test_the_extra_splits_leave_the_others_as_they_are():
    plain = ChainTask(num_train=300, num_eval=40)
    examples = load_examples(EXTRA, "eval")
    assert examples[:40] == load_examples(plain, "eval")
    assert [example.split for example in examples] == ["eval"] * 40 + ["multiply"] * 40 + ["longer"] * 40
    for example in examples[80:]:
        assert 8 <= example.reference.count(";") <= 10


def test_no_held_out_prompt_is_a_training_prompt():
    # So few operations that the splits would meet by chance.
    settings = ChainTask(
        num_train=2000, num_eval=300, min_operations=1, max_operations=2, extra_splits=["longer", "multiply"]
    )
    held_out = [example.prompt for example in load_examples(settings, "eval")]
    train = [example.prompt for example in load_examples(settings, "train")]
    assert len(held_out) == len(set(held_out)) == 900
    assert not set(held_out) & set(train)


def test_a_limit_counts_for_each_split_of_chains():
    assert [example.split for example in eval_examples(EXTRA, 1)] == ["eval", "multiply", "longer"]
    assert len(eval_examples(EXTRA, 1000)) == 120


def test_a_budget_that_cuts_the_longest_answers_off_is_refused():
    EXTRA.check(63)
    ChainTask().check(1)
    with pytest.raises(ConfigError, match=r"task\.extra_splits: an answer of 10 operations takes 63 tokens"):
        EXTRA.check(62)
