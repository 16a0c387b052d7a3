"""Final numbers as real models write them: in boxes, in statements, in bold, with units, in other people's signs."""

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaswitch.tasks.gsm_plus import declines
from adaswitch.tasks.numbers import before_next_question, final_number, marked_number

BOXED = [
    (r"\boxed{18}. I checked it in 2 ways.", "18"),
    (r"\boxed{\$18} for 2 days", "18"),
    (r"$\boxed{18\text{ dollars}}$ in 2 days", "18"),
    (r"\boxed{18 \text{ km}^2} of 50", "18"),
    (r"\boxed{18\%} of 50", "18"),
    (r"\boxed{x = 18}, as of 2", "18"),
    (r"\boxed{3 \times 6 = 18} in 2", "18"),
    (r"\boxed{\text{The answer is } 18} in 2", "18"),
    (r"\boxed{1{,}800} in 2", "1800"),
    (r"\boxed{1\,800} in 2", "1800"),
    (r"\boxed{\dfrac{7}{2}} of 9", "7/2"),
    (r"\boxed{3\frac{1}{2}} of 9", "7/2"),
    (r"\boxed{-\frac{1}{2}} of 9", "-1/2"),
    (r"\boxed{5}. No, \boxed{18}. 2 ways.", "18"),
    (r"\boxed{18} and then \boxed{}", "18"),
    (r"it is \boxed{18", "18"),
    (r"it is \boxed 18, of 20", "18"),
    ("#### Verification in 2 ways\n\\boxed{18}\nAll 3 agree.", "18"),
]
STATED = [
    ("The answer is 18. I used 2 ways.", "18"),
    ("so the answer is 18 because 3*6=18 and not 20", "18"),
    ("The answer is **18**, in 2 days.", "18"),
    ("The answer is:\n\n\\[\n18\n\\]\nafter 2 steps", "18"),
    (r"the answer is \(18\), of 20", "18"),
    ("The answer is approximately $18.33 for 2.", "18.33"),
    ("The answer is -$18, for 2", "-18"),
    ("The answer is \u221218 for 2", "-18"),
    ("The answer is negative 18 for 2", "-18"),
    ("The answer is 3 + 15 = 18. 2 ways.", "18"),
    ("The answer is that she has 18 eggs. I used 2 ways.", "18"),
    ("The answer is eighteen (18), which I checked 2 times.", "18"),
    ("The answer to the question is 18, for 2 people.", "18"),
    ("The answer is not 20. It is 18.", "18"),
    ("The answer is 5. Wait. The answer is 18, for 2.", "18"),
    ("Final Answer: 18 eggs for 2 people", "18"),
    ("**Final Answer:** 18 (in 2 days)", "18"),
    ("### Final Answer\n\n18\n\nThis took 3 steps.", "18"),
    ("answer = 18 in 2", "18"),
    ('{"answer": 18, "steps": 3}', "18"),
    ("The correct answer is (B) 18, not 20", "18"),
    ("A: $1,800.00 for 2", "1800"),
    ("Ans: 18 in 2", "18"),
    ("<answer> 18 </answer>\nin 2 ways", "18"),
    ("## Answer\n\n18\n\nChecked in 2 ways.", "18"),
    ("**Answer**\n18 dollars\n\nin 2 ways", "18"),
    ("A: There are 15 trees.\nSo 21 - 15 = 6.", "6"),
    ("Answer: Janet has 16 eggs.\nShe eats 3.\nShe makes $18.", "18"),
    ("#### 3 + 15 = 18", "18"),
    ("#### 18 = 3*6", "18"),
]
LAST = [
    ("So **18**\n", "18"),
    ("She makes **18** dollars with 2 hens.", "18"),
    ("**Total: $18** for 2", "18"),
    ("**3. Calculate**: 9*2=18", "18"),
    ("9*2 = 18 (2 per day)", "18"),
    ("It is 18 km^2", "18"),
    ("It is 18 m2", "18"),
    ("It is 18 cm^{2}.", "18"),
    ("It is 18 ft3", "18"),
    ("It is 18%.", "18"),
    ("It costs Rs.18", "18"),
    ("It costs US$18", "18"),
    ("It costs USD18", "18"),
    ("18 kg of CO2", "18"),
    ("18 ml of H2O.", "18"),
    ("18 sheets of A4 paper", "18"),
    ("5:00 PM", "5"),
    ("at 5:30", "11/2"),
    ("1 800", "1800"),
    ("1\u202f800 euros", "1800"),
    ("1,00,000", "100000"),
    ("3 500-gram bags", "500"),
    ("1.8e3", "1800"),
    (r"1.8 \times 10^3", "1800"),
    ("3\u00bd", "7/2"),
    (r"\frac12", "1/2"),
    ("\uff11\uff18", "18"),
    ("10\u20133 left", "3"),
]
NEXT_QUESTIONS = [
    ("The answer is 18.\n\nQ: Tom has 5?\nA: The answer is 7.", "18"),
    ("It is 18.\n\nQ: Tom has 5?\nA: 7", "18"),
    ("It is 18.\n\n### Question 2: Tom has 5?\n#### 7", "18"),
    ("18\n\nHuman: 5?", "18"),
    ("Let's see.\nQuestion: How many of 3?\nAnswer: 18", "18"),
]


@pytest.mark.parametrize(("text", "answer"), [*BOXED, *STATED, *LAST, *NEXT_QUESTIONS])
def test_the_answer_that_a_model_states_is_read(text, answer):
    assert final_number(text) == Fraction(answer)


@given(st.integers(-(10**6), 10**6))
def test_every_frame_around_a_number_gives_the_number(number):
    for frame in (
        r"So \boxed{{{}}}. I checked it in 2 ways.",
        "The answer is {}. I checked it in 2 ways.",
        "**Answer:** {}\n\nQ: And of 5?\nA: 7",
        "That is **{}** (2 a day).",
        "9 + 9 = {} (2 a day)",
    ):
        assert final_number(frame.format(number)) == number, frame
        assert final_number(frame.format(f"{number:,}")) == number, frame


def test_a_question_that_is_repeated_first_is_not_cut_off():
    assert before_next_question("\nQuestion: how many?\nIt is 8.") == "\nQuestion: how many?\nIt is 8."
    assert before_next_question("It is 8.\n**Question 2:** and 9?") == "It is 8."


@pytest.mark.parametrize(
    "ramble",
    [
        *(
            "answer is ",
            "answer is to ",
            "answer: ",
            "answer\n",
            "\n",
            " ",
            "\\boxed{",
            "\\boxed{1}",
            "(",
            "((1)",
        ),
        *(
            "1 ",
            "100 ",
            "1,",
            "1/",
            "1:",
            "**1",
            "=1",
            "A: ",
            "\nQ",
            "\\frac{1}",
            "1e5",
            "#### 1 - 1 = ",
            "_*",
        ),
    ],
)
def test_a_ramble_is_read_in_one_go(ramble):
    # Some 10,000 characters: a pattern that starts again at every place would take seconds.
    text = ramble * (10_000 // len(ramble))
    started_s = time.process_time()
    final_number(text)
    marked_number(text)
    assert time.process_time() - started_s < 1.0


ODD = [
    ("<think>\\boxed{20}</think>\n\n18", "18"),
    ("<think>The answer is 20.</think> It is 18.", "18"),
    ("<think>The answer is 18.", "18"),
    ("<think>It is 18.</think>", "18"),
    ("The answer is $3 \\times 6 = 18$.", "18"),
    ("The answer is \\(36 \\div 2 = 18\\).", "18"),
    ("The answer is 50% of 36 = 18.", "18"),
    ("The answer is 20 minus 2 = 18", "18"),
    ("The answer is 2^3 = 8.", "8"),
    ("The answer is 10^2.", "100"),
    ("\\boxed{10^{3}}", "1000"),
    ("1.8 \u00d7 10\u2074", "18000"),
    ("1.8 * 10**4", "18000"),
    ("It is 18 m^2", "18"),
    ("\\boxed{\\frac{3.5}{2}}", "7/4"),
    ("\\boxed{\\frac{1{,}000}{3}}", "1000/3"),
    ("1 and 1/2 cups", "3/2"),
    ("The answer is - 5", "-5"),
    ("The answer is minus 5.", "-5"),
    ("\\boxed{- 18}", "-18"),
    ("20 - 2", "2"),
    ("\u0627\u0644\u062c\u0648\u0627\u0628 \u0661\u0668", "18"),
    ("\u0661\u066c\u0662\u0663\u0664", "1234"),
    ("1. 5 and 13 make 18.\n2. Done.", "18"),
    ("18. That is all.", "18"),
    ("Step 1: 9*2=18.\nStep 2: So that is all.", "18"),
    ("**Step 2:** Then 9*2=18.\n\n**Step 3:** Done", "18"),
    ("The answer, therefore, is 18 for 2", "18"),
    ("The answer\u2019s 18 for 2", "18"),
    ("The answer comes out as 18 for 2", "18"),
]


@pytest.mark.parametrize(("text", "answer"), ODD)
def test_answers_in_odd_forms_are_read(text: str, answer: str) -> None:
    assert final_number(text) == Fraction(answer)


def test_what_is_thought_declines_nothing() -> None:
    assert not declines("<think>The time is not specified.</think>#### 18")
    assert not declines("<think>answer: None; it is not specified</think>The answer is 18.")
    assert declines("<think>#### 18</think>The answer cannot be determined.")
