"""The tasks: what they ask, and what they mark right and wrong."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.config import ChainTaskConfig, DataSource, Gsm8kTaskConfig, JsonlTaskConfig
from adaswitch.errors import ConfigError, DataError
from adaswitch.tasks import ChainTask, Example, Gsm8kTask, JsonlTask, chain_examples, make_task
from adaswitch.tasks.gsm8k import example_from_record, extract_answer

SOURCE = DataSource(path="data.jsonl")


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
    assert task.mark(example.reference, example)
    assert task.mark(f"1+1=5;#9{example.reference}", example), "only the last mark counts"
    answer = int(example.reference[-1])
    assert task.mark(example.reference[:-1] + str(digit), example) == (digit == answer)


@pytest.mark.parametrize("ending", ["", "4", "#", "#44", "#4;", "#4#", "#x"])
def test_a_chain_without_a_clear_answer_is_wrong(ending):
    example = Example("3+1=", "3+1=4;#4", 1)
    assert not ChainTask().mark(f"3+1=4;{ending}", example)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("She pays 5 * 3 = 15.\n#### 15", "15"),
        ("#### 1,234,567", "1234567"),
        ("#### $1,200.50", "1200.50"),
        ("####-7", "-7"),
        ("#### 72.", "72"),
        ("#### 40%", "40"),
        ("#### $-5", "-5"),
        ("#### -$5", "-5"),
        ("#### 8\n\nQuestion: and 9?\n#### 10", "8"),
        ("#### so it is 12", "12"),
        ("The answer is 42.", "42"),
        ("It costs $1,000, or $3.50 a day.", "3.50"),
        ("He has 10-3 left", "3"),
        ("It is (4)-3", "3"),
        ("It is \u22127 degrees", "-7"),
        ("one of .25 each", ".25"),
        ("numbers 3,4,5", "5"),
    ],
)
def test_the_final_number_is_read(text, answer):
    assert extract_answer(text) == Decimal(answer)


@pytest.mark.parametrize("text", ["", "none", "####", "#### $", "one, two."])
def test_no_number_is_no_answer(text):
    assert extract_answer(text) is None
    assert not Gsm8kTask().mark(text, Example("How many?", "#### 0", 1))


@given(st.integers(-(10**9), 10**9))
def test_every_way_to_write_a_number_is_the_same_answer(number):
    example = Example("How many?", f"That is it.\n#### {number}", 1)
    task = Gsm8kTask()
    for written in (f"{number}", f"{number:,}", f"${number:,}.", f"{number}.00", f"#### {number:,} apples"):
        assert task.mark(f"so = {written}", example)
    assert not task.mark(f"#### {number + 1}", example)
    assert not task.mark(f"#### {-number - 1}", example)


def test_a_gsm8k_record_becomes_an_example():
    record = {"question": "How much is 2 + 2?", "answer": "2 + 2 = 4\n#### 4"}
    example = example_from_record(record, 3, "train.jsonl")
    assert example == Example("How much is 2 + 2?", "2 + 2 = 4\n#### 4", 3)
    suffixed = Gsm8kTask(prompt_suffix="\nThink.").example(record, 3, "train.jsonl")
    assert suffixed.prompt == "How much is 2 + 2?\nThink."


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        ({"answer": "#### 4"}, 'no field "question" (there are: answer)'),
        ({}, 'no field "question" (there are: none)'),
        ({"question": "  ", "answer": "#### 4"}, 'field "question" is empty'),
        ({"question": "How?", "answer": ""}, 'field "answer" is empty'),
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
    task = JsonlTask("ask", "say")
    example = task.example({"ask": "Capital of France?", "say": " Paris\n"}, 2, "own.jsonl")
    assert example == Example("Capital of France?", " Paris\n", 2)
    assert task.mark("Paris ", example)
    assert not task.mark("paris", example)
    assert not task.mark("It is Paris", example)
    with pytest.raises(DataError, match=r'own\.jsonl, line 2: no field "say" \(there are: ask\)'):
        task.example({"ask": "Capital?"}, 2, "own.jsonl")


@pytest.mark.parametrize("reference", ["first A: no\nA: 12", "12"])
def test_own_data_is_marked_by_what_a_pattern_finds_last(reference):
    task = JsonlTask(answer_regex=r"A: (.*)")
    example = Example("?", reference, 1)
    assert task.mark("A: 11\nno, A: 12 ", example)
    assert not task.mark("A: 12\nno, A: 11", example)
    assert not task.mark("12", example)
    assert not task.mark("", example)


def test_a_pattern_without_a_group_is_the_answer_itself():
    task = JsonlTask(answer_regex=r"yes|no")
    assert task.mark("no ... well, yes!", Example("?", "yes", 1))
    assert not JsonlTask(answer_regex="x|y(z)").mark("x", Example("?", "x", 1)), "its group took no part"


def test_settings_become_tasks():
    assert isinstance(make_task(ChainTaskConfig()), ChainTask)
    gsm8k = make_task(Gsm8kTaskConfig(train=SOURCE, chat_template=False, prompt_suffix="!"))
    assert isinstance(gsm8k, Gsm8kTask)
    assert (gsm8k.name, gsm8k.chat_template, gsm8k.prompt_suffix) == ("gsm8k", False, "!")
    own = make_task(JsonlTaskConfig(train=SOURCE, prompt_field="q", chat_template=True, answer_regex="(a)"))
    assert isinstance(own, JsonlTask)
    assert (own.prompt_field, own.reference_field, own.chat_template) == ("q", "reference", True)
    assert own.extract("xa") == "a"


def test_a_broken_pattern_is_refused():
    with pytest.raises(ConfigError, match=r"task\.answer_regex: no regular expression: .*position 0"):
        make_task(JsonlTaskConfig(train=SOURCE, answer_regex="(a"))
