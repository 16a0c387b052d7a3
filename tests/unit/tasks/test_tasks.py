"""The tasks: what they ask, and what they mark right and wrong."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.errors import ConfigError, DataError, UnmarkedError
from adaswitch.tasks.base import DataSource, Example, Task
from adaswitch.tasks.chain import ChainTask, answer_length, chain_examples
from adaswitch.tasks.dialogsum import DialogsumTask
from adaswitch.tasks.gsm8k import Gsm8kTask, example_from_record
from adaswitch.tasks.gsm_plus import GsmPlusTask
from adaswitch.tasks.jsonl import ExactMatch, JsonlTask

SOURCE = DataSource(path="data.jsonl")


def right(task: Task, completion: str, example: Example) -> bool:
    """Whether ``completion`` gets the full mark, of a task that knows right and wrong only."""
    [(name, value)] = task.mark(completion, example).items()
    assert name == task.metrics[0]
    assert value in (0.0, 1.0)
    return value == 1.0


def worked_out_again(prompt: str) -> str:
    """The reference of a chain prompt, by Python's own arithmetic."""
    result, steps = int(prompt[0]), ""
    for operator, digit in zip(prompt[1:-1:2], prompt[2:-1:2], strict=True):
        term = f"{result}{operator}{digit}"
        result = eval(term) % 10
        steps += f"{term}={result};"
    return f"{steps}#{result}"


@given(seed=st.integers(0, 2**31), operations=st.tuples(st.integers(1, 4), st.integers(4, 9)))
def test_chain_examples_are_what_was_asked_for(seed, operations):
    examples = chain_examples(20, seed, *operations)
    assert [example.number for example in examples] == list(range(1, 21))
    assert len({example.prompt for example in examples}) == 20
    for example in examples:
        assert operations[0] <= example.reference.count(";") <= operations[1]
        assert example.reference == worked_out_again(example.prompt)


def test_a_chain_is_worked_out_left_to_right_modulo_10():
    references = {example.prompt: example.reference for example in chain_examples(300, 0, 1, 1)}
    assert references["3-5="] == "3-5=8;#8"
    assert references["7*8="] == "7*8=6;#6"
    assert references["9+1="] == "9+1=0;#0"
    assert worked_out_again("3+5*7-2=") == "3+5=8;8*7=6;6-2=4;#4"


def test_the_same_seed_gives_the_same_chains_and_another_seed_others():
    assert chain_examples(50, 3, 4, 7)[:20] == chain_examples(20, 3, 4, 7)
    assert chain_examples(20, 3, 4, 7) != chain_examples(20, 4, 4, 7)


def test_excluded_chains_are_not_drawn():
    first = {example.prompt for example in chain_examples(200, 0, 1, 1)}
    rest = {example.prompt for example in chain_examples(100, 0, 1, 1, exclude=first)}
    assert len(rest) == 100
    assert not first & rest


def test_more_chains_than_there_are_is_refused():
    assert len(chain_examples(300, 0, 1, 1)) == 300
    with pytest.raises(ConfigError, match="only 300 chain prompts of 1 to 1 operations, too few for 301"):
        chain_examples(300, 0, 1, 1, exclude={"1+1="})


@given(seed=st.integers(0, 2**31), digit=st.integers(0, 9))
def test_a_chain_is_marked_by_the_digit_after_the_last_mark(seed, digit):
    [example] = chain_examples(1, seed, 4, 7)
    task = ChainTask()
    assert right(task, example.reference, example)
    assert right(task, f"1+1=5;#9{example.reference}", example), "only the last mark counts"
    answer = int(example.reference[-1])
    assert right(task, example.reference[:-1] + str(digit), example) == (digit == answer)


@pytest.mark.parametrize("ending", ["", "4", "#", "#44", "#4;", "#4#", "#x"])
def test_a_chain_without_a_clear_answer_is_wrong(ending):
    example = Example("3+1=", "3+1=4;#4", 1)
    assert not right(ChainTask(), f"3+1=4;{ending}", example)


def test_a_gsm8k_record_becomes_an_example():
    record = {"question": "How much is 2 + 2?", "answer": "2 + 2 = 4\n#### 4"}
    example = example_from_record(record, 3, "train.jsonl")
    assert example == Example("How much is 2 + 2?", "2 + 2 = 4\n#### 4", 3)
    suffixed = Gsm8kTask(train=SOURCE, prompt_suffix="\nThink.").example(record, 3, "train.jsonl")
    assert suffixed.prompt == "How much is 2 + 2?\nThink."


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        ({"answer": "#### 4"}, 'no field "question" (there are: answer)'),
        ({}, 'no field "question" (there are: none)'),
        ({"question": "  ", "answer": "#### 4"}, 'field "question" is empty'),
        ({"question": "How?", "answer": None}, 'field "answer" must be a string, and is null'),
        ({"question": "How?", "answer": 4}, 'field "answer" must be a string, and is int'),
        ({"question": "How?", "answer": "unknown"}, 'field "answer" holds no number to mark by'),
    ],
)
def test_a_gsm8k_record_that_cannot_be_used_names_its_line_and_field(record, complaint):
    with pytest.raises(DataError) as caught:
        example_from_record(record, 7, "train.jsonl")
    assert str(caught.value) == f"train.jsonl, line 7: {complaint}"


def test_own_data_is_marked_by_the_whole_text():
    task = JsonlTask(train=SOURCE, prompt_field="ask", reference_field="say")
    example = task.example({"ask": "Capital of France?", "say": " Paris\n"}, 2, "own.jsonl")
    assert example == Example("Capital of France?", " Paris\n", 2)
    assert right(task, "Paris ", example)
    assert not right(task, "paris", example)
    assert not right(task, "It is Paris", example)
    with pytest.raises(DataError, match=r'own\.jsonl, line 2: no field "say" \(there are: ask\)'):
        task.example({"ask": "Capital?"}, 2, "own.jsonl")


@pytest.mark.parametrize("reference", ["first A: no\nA: 12", "12"])
def test_own_data_is_marked_by_what_a_pattern_finds_last(reference):
    task = JsonlTask(train=SOURCE, answer_regex=r"A: (.*)")
    example = Example("?", reference, 1)
    assert right(task, "A: 11\nno, A: 12 ", example)
    assert not right(task, "A: 12\nno, A: 11", example)
    assert not right(task, "12", example)
    assert not right(task, "", example)


def test_a_pattern_without_a_group_is_the_answer_itself():
    task = JsonlTask(train=SOURCE, answer_regex=r"yes|no")
    assert right(task, "no ... well, yes!", Example("?", "yes", 1))
    grouped = JsonlTask(train=SOURCE, answer_regex="x|y(z)")
    assert not right(grouped, "x", Example("?", "x", 1)), "its group took no part"
    assert ExactMatch("(a)").extract("xa") == "a"


def test_settings_become_tasks():
    assert isinstance(ChainTask().ready(), ChainTask)
    gsm8k = Gsm8kTask(train=SOURCE, chat_template=False, prompt_suffix="!").ready()
    assert isinstance(gsm8k, Gsm8kTask)
    assert (gsm8k.name, gsm8k.chat_template, gsm8k.prompt_suffix) == ("gsm8k", False, "!")
    own = JsonlTask(train=SOURCE, prompt_field="q", chat_template=True, answer_regex="(a)").ready()
    assert isinstance(own, JsonlTask)
    assert (own.prompt_field, own.reference_field, own.chat_template) == ("q", "reference", True)
    plus = GsmPlusTask(train=SOURCE, chat_template=False, prompt_suffix="!").ready()
    assert isinstance(plus, GsmPlusTask)
    assert (plus.name, plus.chat_template, plus.prompt_suffix) == ("gsm_plus", False, "!")
    summaries = DialogsumTask(train=SOURCE, prompt_prefix="a", prompt_suffix="b").ready()
    assert isinstance(summaries, DialogsumTask)
    assert (summaries.name, summaries.prompt_prefix, summaries.prompt_suffix) == ("dialogsum", "a", "b")


def test_a_broken_pattern_is_refused():
    with pytest.raises(ConfigError, match=r"task\.answer_regex: no regular expression: .*position 0"):
        JsonlTask(train=SOURCE, answer_regex="(a").check()


def test_the_harder_chains_are_what_they_are_called():
    products = chain_examples(200, 7, 4, 7, split="multiply", mostly_products=True)
    for example in products:
        assert 2 * example.prompt.count("*") >= example.reference.count(";")
        assert example.split == "multiply"
        assert example.reference == worked_out_again(example.prompt)
    plain = chain_examples(200, 7, 4, 7)
    assert any(2 * example.prompt.count("*") < example.reference.count(";") for example in plain)


def test_all_products_that_there_are_can_be_asked_for_and_no_more():
    # 100 pairs of digits with "*"; of two operators one at least: 1000 * (9 - 4).
    assert len(chain_examples(5100, 0, 1, 2, mostly_products=True)) == 5100
    with pytest.raises(ConfigError, match="only 5100 chain prompts"):
        chain_examples(5101, 0, 1, 2, mostly_products=True)


def test_the_length_of_an_answer_is_known():
    for example in chain_examples(20, 0, 1, 9):
        assert len(example.reference) + 1 == answer_length(example.reference.count(";"))


@pytest.mark.parametrize(
    "task",
    [
        ChainTask(),
        Gsm8kTask(train=SOURCE),
        GsmPlusTask(train=SOURCE),
        DialogsumTask(train=SOURCE),
        JsonlTask(train=SOURCE),
        JsonlTask(train=SOURCE, metric="rouge"),
    ],
)
def test_an_empty_reference_is_unmarked(task):
    with pytest.raises(UnmarkedError, match="the reference is empty"):
        task.mark("anything #4", Example("?", " \n", 3))


def test_an_empty_reference_of_a_file_does_not_stop_the_others():
    assert Gsm8kTask(train=SOURCE).example({"question": "How?", "answer": ""}, 1, "a.jsonl").reference == ""
    record = {"question": "How?", "solution": " ", "perturbation_type": "digit expansion"}
    assert GsmPlusTask(train=SOURCE).example(record, 1, "a.jsonl").reference == " "
    assert DialogsumTask(train=SOURCE).example({"dialogue": "a", "summary": ""}, 1, "a.jsonl").reference == ""
    assert JsonlTask(train=SOURCE).example({"prompt": "a", "reference": ""}, 1, "a.jsonl").reference == ""
    with pytest.raises(DataError, match='field "question" is empty'):
        Gsm8kTask(train=SOURCE).example({"question": "", "answer": "#### 1"}, 1, "a.jsonl")


def test_one_of_several_references_is_enough_for_an_exact_match():
    task = JsonlTask(train=SOURCE)
    example = task.example({"prompt": "?", "reference": ["yes", " sure "]}, 1, "own.jsonl")
    assert example.references == ("yes", " sure ")
    assert right(task, "sure", example)
    assert not right(task, "no", example)


@pytest.mark.parametrize(
    ("reference", "complaint"),
    [
        ([], " must be a string, a number or a list of them, and is an empty list"),
        (["a", True], ", element 2 must be a string or a number, and is true"),
        ([None, "a"], ", element 1 must be a string, and is null"),
        (float("nan"), " must be a string or a number, and is nan"),
        (None, " must be a string, and is null"),
        ("x\ud83d", " holds half of a surrogate pair, which is no text"),
        (["a", "x\ud83d"], ", element 2 holds half of a surrogate pair, which is no text"),
    ],
)
def test_a_reference_that_is_no_text_is_refused(reference, complaint):
    with pytest.raises(DataError) as caught:
        JsonlTask(train=SOURCE).example({"prompt": "?", "reference": reference}, 4, "own.jsonl")
    assert str(caught.value) == f'own.jsonl, line 4: field "reference"{complaint}'


def test_an_example_says_where_it_was_read():
    assert (
        Gsm8kTask(train=SOURCE).example({"question": "?", "answer": "4"}, 3, "a.jsonl").place
        == "a.jsonl, line 3"
    )
    assert chain_examples(2, 0, 1, 1, split="longer")[1].place == "record 2 (longer)"
