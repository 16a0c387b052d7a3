"""Final numbers of worked answers, as GSM8K and GSM-Plus are marked."""

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.errors import DataError
from adaswitch.tasks.base import DataSource, Example
from adaswitch.tasks.gsm8k import Gsm8kTask
from adaswitch.tasks.gsm_plus import GsmPlusTask, declines
from adaswitch.tasks.numbers import final_number, marked_number

SOURCE = DataSource(path="train.jsonl")


def right(completion: str, reference: str) -> bool:
    marks = Gsm8kTask(train=SOURCE).mark(completion, Example("How many?", reference, 1))
    assert marks == GsmPlusTask(train=SOURCE).mark(completion, Example("How many?", reference, 1))
    return marks == {"exact_match": 1.0}


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
        ("#### **18**", "18"),
        ("#### *42* of 50", "42"),
        ("#### `42` of 50", "42"),
        ("**#### 18**", "18"),
        ("#### 1,000km", "1000"),
        ("#### 18 (eighteen) eggs a day", "18"),
        ("#### 8\n\nQuestion: and 9?\n#### 10", "8"),
        ("#### Step 1\nTake 3.\n#### 12", "12"),
        ("#### so it is 12", "12"),
        ("#### ~42 of 50", "42"),
        ("#### (42) of 50", "42"),
        ("#### (-42) of 50", "-42"),
        (r"#### \(42\) of 50", "42"),
        ("#### about 42 of the 50", "42"),
        ("#### Answer: 42 of 50", "42"),
        ("#### **Answer: 42** of 50", "42"),
        ("#### = 42 of 50", "42"),
        ("#### x = 42\nLet me know if you have 2 more questions.", "42"),
        ("#### The total is 5 + 37 = 42", "42"),
        ("#### Answer: 8\n\nQuestion: and 9?\n#### Answer: 10", "8"),
        ("#### Step 1: 3 and 4\nThat is 12.\n#### Step 2: add 30\nThe answer is 42.", "42"),
        ("#### Question: of 50, how many?\nThe answer is 42.", "42"),
        ("Of 50 it is 42 ####", "42"),
        ("####\nThe other 5 left, so 42", "42"),
        ("#### #### 42", "42"),
        ("#####42", "42"),
        ("The answer is 42.", "42"),
        (r"Hence \boxed{42}.", "42"),
        (r"$\boxed{1{,}000}$", "1000"),
        (r"\boxed{\text{ 7 dollars}}", "7"),
        ("It costs $1,000, or $3.50 a day.", "3.50"),
        ("He has 10-3 left", "3"),
        ("He has 10 - 3 left", "3"),
        ("- 5 apples", "5"),
        ("It is (4)-3", "3"),
        ("It is \u22127 degrees", "-7"),
        ("one of .25 each", ".25"),
        ("numbers 3,4,5", "5"),
        ("<<48/2=24>>24 clips", "24"),
        ("#### 1/2", "1/2"),
        ("#### 1/2.", "1/2"),
        ("#### -3/4 of it", "-3/4"),
        ("#### 3 1/2", "7/2"),
        ("#### 6/4", "3/2"),
        (r"#### \frac{1}{2}", "1/2"),
        (r"#### -\dfrac{ 9 }{ 3 }", "-3"),
        ("1\u20442", "1/2"),
        ("on 3/4/2024", "2024"),
        ("2*3/4", "3/4"),
    ],
)
def test_the_final_number_is_read(text, answer):
    assert final_number(text) == Fraction(answer)


@pytest.mark.parametrize("text", ["", "none", "####", "#### $", "one, two.", "#### 1/0", "#### \u2462"])
def test_no_number_is_no_answer(text):
    assert final_number(text) is None
    assert not right(text, "#### 0")


@given(st.text())
def test_any_text_can_be_read(text):
    number = final_number(text)
    assert number is None or isinstance(number, Fraction)
    assert marked_number(text) is None or "####" in text


@given(st.integers(-(10**9), 10**9))
def test_every_way_to_write_a_number_is_the_same_answer(number):
    reference = f"That is it.\n#### {number}"
    for written in (f"{number}", f"{number:,}", f"${number:,}.", f"{number}.00", f"{number}/1"):
        assert right(f"so it is {written}", reference)
        assert right(f"1 + 1\n#### {written}\n", reference)
    assert right(f"#### {number:,} apples", reference)
    assert not right(f"#### {number + 1}", reference)
    assert not right(f"#### {-number - 1}", reference)


NOT_ANSWERABLE = Example("How tall?", "We cannot know.\n#### None", 1, "critical thinking")


@pytest.mark.parametrize(
    "completion",
    [
        "#### None",
        "There were 3 women and 4 men.\n#### None.",
        "####  **none**",
        "The problem does not specify the size of the heels.",
        "Its 3 and 4 are given, but there is not enough information to tell.",
        "It doesn\u2019t mention the price.",
        "The total cannot be determined from 3 prices.",
        "We don't know the average.\n####",
        "The answer is None.",
        "#### \\boxed{None}",
        "#### N/A",
        "There is not enough data.",
        "So, **None**.",
    ],
)
def test_who_declines_is_right_where_there_is_no_answer(completion):
    assert declines(completion)
    assert GsmPlusTask(train=SOURCE).mark(completion, NOT_ANSWERABLE) == {"exact_match": 1.0}
    assert GsmPlusTask(train=SOURCE).mark(completion, Example("How many?", "#### 4", 1)) == {
        "exact_match": float(final_number(completion) == 4 and "####" not in completion)
    }


@pytest.mark.parametrize(
    "completion",
    [
        "",
        "#### 4",
        "It does not specify the size, so we take 4 inches.\n#### 4",
        "None of the women wear flat shoes, so 3 times 4 and so on and so on",
        "The average is 4.",
        "#### nonetheless",
        "The problem does not mention tax, so the total is 50 dollars. The answer is 50.",
        "The price is not given directly but 3*5=15. Answer: 15",
        "We cannot solve this in one go; 5+5=10, final answer: \\boxed{10}",
    ],
)
def test_an_answer_or_a_ramble_does_not_decline(completion):
    assert not declines(completion)
    assert GsmPlusTask(train=SOURCE).mark(completion, NOT_ANSWERABLE) == {"exact_match": 0.0}


@pytest.mark.parametrize(
    ("completion", "gsm8k", "gsm_plus"),
    [
        ("#### 8\nOr rather:\n#### 10", "8", "10"),
        ("#### about 8\nOr rather:\n#### so it is 10", "8", "10"),
        ("#### 8\n#### Done", "8", "8"),
        ("#### 8\n\nQuestion: and 9?\n#### 10", "8", "8"),
        ("It is 8.\n\nQuestion: and 9?", "8", "8"),
        ("Question: how many?\nQuestions that are left: 10\n#### 8", "8", "8"),
    ],
)
def test_of_several_marks_each_task_takes_the_one_that_its_public_evaluation_takes(
    completion, gsm8k, gsm_plus
):
    for task, expected in ((Gsm8kTask(train=SOURCE), gsm8k), (GsmPlusTask(train=SOURCE), gsm_plus)):
        for answer in ("8", "9", "10"):
            marks = task.mark(completion, Example("How many?", f"#### {answer}", 1))
            assert marks == {"exact_match": float(answer == expected)}


@pytest.mark.parametrize(
    ("completion", "declined"),
    [
        ("#### 4\nNo, it is not given.\n#### None", True),
        ("#### None\nOr rather:\n#### 4", False),
        ("#### None\n#### That is all", True),
        ("#### None of the 3 women", True),
        ("#### Answer: None", True),
        ("It does not say.\n#### about 4", False),
    ],
)
def test_the_last_mark_says_whether_an_answer_is_declined(completion, declined):
    assert declines(completion) == declined
    assert GsmPlusTask(train=SOURCE).mark(completion, NOT_ANSWERABLE) == {"exact_match": float(declined)}
    four = Example("How many?", "#### 4", 1)
    assert GsmPlusTask(train=SOURCE).mark(completion, four) == {"exact_match": float(not declined)}


@pytest.mark.parametrize("ramble", ["#", "#### ", "####\n", "*", "** ", "#### none ", "answer is "])
def test_a_ramble_is_read_in_one_go(ramble):
    # Some 10,000 characters: a pattern that starts again at every place would take seconds.
    text = ramble * (10_000 // len(ramble))
    started_s = time.process_time()
    GsmPlusTask(train=SOURCE).mark(text, NOT_ANSWERABLE)
    assert time.process_time() - started_s < 1.0


def test_none_is_not_the_last_number_before_it():
    assert GsmPlusTask(train=SOURCE).mark("We have 4.\n#### None", Example("?", "#### 4", 1)) == {
        "exact_match": 0.0
    }


def test_a_gsm_plus_record_is_reported_under_its_kind():
    record = {"question": "How?", "solution": "#### 4.33", "perturbation_type": "digit expansion"}
    example = GsmPlusTask(train=SOURCE, prompt_suffix="!").example(record, 2, "plus.jsonl")
    assert (example.prompt, example.reference, example.split) == ("How?!", "#### 4.33", "digit expansion")
    assert GsmPlusTask(train=SOURCE).mark("26 / 6 = 4.33", example) == {"exact_match": 1.0}
    assert GsmPlusTask(train=SOURCE).mark("#### 26/6", example) == {"exact_match": 0.0}, "no tolerance"


def test_gsm8k_can_be_trained_on_before_gsm_plus():
    record = {"question": "How?", "answer": "#### 4"}
    assert GsmPlusTask(train=SOURCE).example(record, 2, "train.jsonl").split == "eval"


@pytest.mark.parametrize("field", ["solution", "seed_question", "seed_solution", "seed_answer"])
def test_a_gsm_plus_record_without_its_kind_is_not_taken_for_gsm8k(field):
    record = {"question": "How?", "answer": "4", field: "#### 4"}
    with pytest.raises(DataError, match=r"plus\.jsonl, line 9: no field \"perturbation_type\"") as caught:
        GsmPlusTask(train=SOURCE).example(record, 9, "plus.jsonl")
    assert f'as this one is by its "{field}"' in str(caught.value)


@pytest.mark.parametrize(
    ("record", "complaint"),
    [
        ({"question": "How?"}, 'no field "answer"'),
        ({"question": "How?", "perturbation_type": "x"}, 'no field "solution"'),
        (
            {"question": "How?", "solution": "#### maybe", "perturbation_type": "x"},
            'field "solution" holds no answer to mark by',
        ),
        ({"question": "How?", "solution": "#### 1", "perturbation_type": 3}, "must be a string, and is int"),
    ],
)
def test_a_gsm_plus_record_that_cannot_be_used_names_its_line_and_field(record, complaint):
    with pytest.raises(DataError, match=r"plus\.jsonl, line 9: ") as caught:
        GsmPlusTask(train=SOURCE).example(record, 9, "plus.jsonl")
    assert complaint in str(caught.value)


def test_a_model_that_repeats_a_digit_gives_no_number():
    assert final_number("1" * 5000) is None
    assert final_number("#### " + "1" * 5000) is None
