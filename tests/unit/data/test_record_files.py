"""Data files of every form: plain, compressed, Parquet, several at once; and what is said of broken ones."""

import gzip
import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from adaswitch.data.datasets import load_examples
from adaswitch.data.record_files import find_files, read_file
from adaswitch.errors import DataError
from adaswitch.tasks.jsonl import JsonlTask

RECORDS = [{"prompt": "a", "reference": "b"}, {"prompt": "c", "reference": "d"}]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS).encode()
NUMBERED = [(1, RECORDS[0]), (2, RECORDS[1])]


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def table(path: Path, records: list[dict[str, object]]) -> Path:
    parquet.write_table(pyarrow.Table.from_pylist(records), path)
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", LINES),
        ("a.jsonl", b"\xef\xbb\xbf" + LINES.replace(b"\n", b"\r\n")),
        ("a.jsonl.gz", gzip.compress(LINES, mtime=0)),
        ("a.jsonl", gzip.compress(LINES, mtime=0)),
        ("a.json", LINES),
        ("a.json", json.dumps(RECORDS, indent=2).encode()),
        ("a.json", b"\xef\xbb\xbf \r\n" + json.dumps(RECORDS).encode()),
        ("a.json.gz", gzip.compress(json.dumps(RECORDS).encode(), mtime=0)),
    ],
)
def test_json_is_read_in_every_form(tmp_path, name, content):
    path = written(tmp_path / name, content)
    assert read_file(path) == NUMBERED
    assert read_file(path, limit=1) == NUMBERED[:1]


def test_a_byte_order_mark_on_a_line_of_its_own_is_no_record(tmp_path):
    path = written(tmp_path / "a.jsonl", b"\xef\xbb\xbf\r\n" + LINES)
    assert [number for number, _ in read_file(path)] == [2, 3]


@pytest.mark.parametrize("name", ["a.parquet", "a.data"])
def test_parquet_is_read_row_by_row(tmp_path, name):
    path = table(tmp_path / name, RECORDS)
    assert read_file(path) == NUMBERED
    assert read_file(path, limit=1) == NUMBERED[:1]


def test_parquet_holds_nested_fields_and_numbers(tmp_path):
    path = table(tmp_path / "a.parquet", [{"turns": [{"role": "user", "content": "1+1?"}], "answer": 2}])
    source = {"path": str(path)}
    task = JsonlTask.model_validate(
        {"train": source, "prompt_field": "turns", "reference_field": "answer", "chat_template": True}
    )
    [example] = load_examples(task, "train")
    assert (example.prompt, example.reference, example.place) == ("1+1?", "2", f"{path}, line 1")
    [plain] = load_examples(
        JsonlTask.model_validate(
            {"train": source, "prompt_field": "turns.0.content", "reference_field": "answer"}
        ),
        "train",
    )
    assert plain.prompt == "1+1?"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.jsonl.gz", gzip.compress(LINES * 999, mtime=0)[:-20], ": the gzip file is cut off or damaged: "),
        (
            "a.jsonl.gz",
            gzip.compress(LINES, mtime=0)[:10] + b"\xff" * 20,
            ": the gzip file is cut off or damaged: ",
        ),
        ("a.jsonl.gz", LINES, ": is called .gz, and is no gzip file: rename it"),
        (
            "a.jsonl.gz",
            gzip.compress(b"\n", mtime=0),
            ": holds no records: one JSON object a line is expected",
        ),
        ("a.jsonl.gz", gzip.compress(LINES + b"{", mtime=0), ", line 3: not valid JSON: "),
        ("a.jsonl.gz", b"", ": holds no records"),
        ("a.parquet", b"", ": is no whole Parquet file: "),
        ("a.parquet", LINES, ": is no whole Parquet file: "),
        ("a.parquet", b"PAR1" + b"\0" * 40, ": is no whole Parquet file: "),
        ("a.json", b"[", ", line 1: not valid JSON: "),
        ("a.json", b"[\n{}, 3]", ": element 2 must be a JSON object, and is int"),
        ("a.json", b"[]", ": holds no records: an array of objects is expected"),
        ("a.json", b'["\xff"]', ": not UTF-8 text"),
        ("a.json", b"[" * 100_000, ": not valid JSON: nested too deeply"),
        ("a.json", b"[" + b"9" * 5000 + b"]", ": a number with too many digits"),
        ("a.jsonl", LINES.decode().encode("utf-16"), ", line 1: not UTF-8 text"),
    ],
)
def test_a_broken_file_is_one_line_with_the_cause(tmp_path, name, content, complaint):
    path = written(tmp_path / name, content)
    with pytest.raises(DataError) as caught:
        read_file(path)
    assert str(caught.value).startswith(f"{path}{complaint}")
    assert "\n" not in str(caught.value)


def test_a_parquet_file_that_is_cut_off_or_empty_is_named(tmp_path):
    whole = table(tmp_path / "whole.parquet", RECORDS).read_bytes()
    with pytest.raises(DataError, match=r"cut\.parquet: is no whole Parquet file: .*download it again$"):
        read_file(written(tmp_path / "cut.parquet", whole[:-30]))
    empty = tmp_path / "empty.parquet"
    parquet.write_table(pyarrow.table({"prompt": pyarrow.array([], pyarrow.string())}), empty)
    with pytest.raises(DataError, match=r"empty\.parquet: holds no records: a row a record is expected"):
        read_file(empty)


def test_files_come_by_a_pattern_in_order_of_name(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "c.txt"):
        written(tmp_path / name, LINES)
    (tmp_path / "d.jsonl").mkdir()
    names = [str(tmp_path / name) for name in ("a.jsonl", "b.jsonl")]
    assert find_files(f"{tmp_path}/*.jsonl") == names
    assert find_files([f"{tmp_path}/[b].jsonl", names[0]]) == [names[1], names[0]]
    odd = str(written(tmp_path / "[a].jsonl", LINES))
    assert find_files(odd) == [odd]
    with pytest.raises(DataError, match=r"\*\.csv: no file matches this pattern: check the path under task"):
        find_files([names[0], f"{tmp_path}/*.csv"])


def examples_of(path: object, **settings: object):
    source = {"path": path, **settings}
    return load_examples(JsonlTask.model_validate({"train": source, "eval": source}), "eval")


def test_several_files_are_numbered_through_and_named_one_by_one(tmp_path):
    first = str(written(tmp_path / "a.jsonl", LINES + b"\n"))
    second = str(written(tmp_path / "b.jsonl.gz", gzip.compress(b"\n" + LINES, mtime=0)))
    examples = examples_of([first, second])
    assert [example.number for example in examples] == [1, 2, 4, 5]
    assert [example.place for example in examples] == [
        *(f"{first}, line {line}" for line in (1, 2)),
        *(f"{second}, line {line}" for line in (2, 3)),
    ]
    assert [example.place for example in examples_of([first, second], limit=3)][2:] == [f"{second}, line 2"]
    assert len(examples_of([first, str(tmp_path / "not-looked-at.jsonl")], limit=2)) == 2
    broken = str(written(tmp_path / "c.jsonl", LINES + b'{"prompt": 3, "reference": "x"}\n'))
    with pytest.raises(DataError) as caught:
        examples_of([first, broken])
    assert str(caught.value) == f'{broken}, line 3: field "prompt" must be a string, and is int'


def test_parquet_is_read_through_gzip_as_well(tmp_path):
    inner = table(tmp_path / "a.parquet", RECORDS).read_bytes()
    assert read_file(written(tmp_path / "b.parquet.gz", gzip.compress(inner, mtime=0))) == NUMBERED


def test_numbers_of_few_bits_are_their_shortest_decimals(tmp_path):
    single = pyarrow.float32()
    columns = {
        "one": pyarrow.array([0.1, None], single),
        "many": pyarrow.array([[0.7], None], pyarrow.list_(single)),
        "inner": pyarrow.array([{"x": 0.3}, None], pyarrow.struct([("x", single)])),
        "double": pyarrow.array([0.1, 2.0]),
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    [(_, first), (_, second)] = read_file(tmp_path / "a.parquet")
    assert first == {"one": 0.1, "many": [0.7], "inner": {"x": 0.3}, "double": 0.1}
    assert second == {"one": None, "many": None, "inner": None, "double": 2.0}


def test_a_map_is_an_object(tmp_path):
    kind = pyarrow.map_(pyarrow.string(), pyarrow.string())
    parquet.write_table(pyarrow.table({"m": pyarrow.array([[("a", "b")]], kind)}), tmp_path / "a.parquet")
    assert read_file(tmp_path / "a.parquet") == [(1, {"m": {"a": "b"}})]


def test_an_array_is_read_whatever_the_file_is_called(tmp_path):
    assert read_file(written(tmp_path / "a.jsonl", json.dumps(RECORDS, indent=1).encode())) == NUMBERED


def test_a_file_that_is_named_twice_is_read_once(tmp_path):
    files = [str(written(tmp_path / name, LINES)) for name in ("a.jsonl", "b.jsonl")]
    assert find_files([str(tmp_path / "*.jsonl"), files[0], files[1]]) == files


@pytest.mark.parametrize("content", [b"prompt,reference\na,b\n", json.dumps(RECORDS[0], indent=1).encode()])
def test_a_file_of_another_form_is_told_the_forms(tmp_path, content):
    with pytest.raises(DataError, match="a data file holds JSON lines, an array of JSON objects, or Parquet"):
        read_file(written(tmp_path / "a.csv", content))
