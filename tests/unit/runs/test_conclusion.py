"""What a run came to, in sentences that need no other knowledge."""

import pytest

from adaswitch.method.health import Signature
from adaswitch.runs.conclusion import conclusion, gain_of

STEPS = [
    {
        "switch_rate": 0.97,
        "mean_switch_position": 12.0,
        "mean_completion_tokens": 36.0,
        "late_switch_rate": 0.08,
        "late_switch_rate_at_random": 0.09,
    }
] * 20


def evals(before, after, n=500):
    record = {"split": "eval", "metric": "exact_match", "n": n, "eval_s": 1.0}
    return [{**record, "step": step, "value": value} for step, value in ((0, before), (200, after))]


def test_a_whole_run():
    assert conclusion(STEPS, evals(0.24, 0.61), [], None) == [
        "The student got better: exact match was 24.0% before the training and is 61.0% now, on 500 prompts that it "
        "was not trained on.",
        "The teacher took over in 97% of the texts, in the mean at token 12 of 36.",
        "It came too late in 8% of these: the student had already written a token that the teacher gives less than 2%, "
        "and nothing behind it takes that back; at places drawn at random it would be too late in 9%.",
        "Nothing is to be put right.",
    ]


@pytest.mark.parametrize(
    ("marks", "begin"),
    [
        (evals(0.6, 0.3), "The student got worse: "),
        (evals(0.24, 0.26), "Whether the student got better cannot be told from chance: "),
        (evals(0.24, 0.4, n=1), "Whether the student got better cannot be told from chance: "),
        (evals(0.24, None), "Whether the student got better is not known: its answers could not be marked."),
        (evals(0.24, 0.6)[:1], "Whether the student got better is not known yet: "),
        ([], "Whether the student got better is not known: nothing was evaluated (trainer.eval_every)."),
    ],
)
def test_what_the_marks_say(marks, begin):
    assert conclusion(STEPS, marks, [], None)[0].startswith(begin)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"switch_rate": 0.0, "mean_switch_position": None, "late_switch_rate": None}, "by itself"),
        ({"switch_rate": 1.0, "mean_switch_position": 0.0, "late_switch_rate": 0.0}, "wrote none of"),
    ],
)
def test_texts_of_one_writer(changes, said):
    lines = conclusion([{**STEPS[0], **changes}], evals(0.24, 0.61), [], None)
    assert said in lines[1]
    assert len(lines) == 3


def test_what_is_to_be_put_right_is_named_and_what_is_no_fault_is_not():
    fault, note = Signature("too much", "", ""), Signature("a rate", "", "", is_fault=False)
    assert conclusion(STEPS, [], [fault, note], None)[-1].startswith("To be looked at: too much. What to try")
    assert conclusion(STEPS, [], [note], None)[-1] == "Nothing is to be put right."
    assert "is not known: 3 steps" in conclusion(STEPS, [], [], "3 steps say too little")[-1]


def test_records_of_older_runs_lack_most():
    assert conclusion([{"switch_rate": 0.5}], [], [], None)[1:] == ["Nothing is to be put right."]


def test_marks_say_whether_they_rise_only_with_enough_prompts_and_room():
    gain = gain_of(evals(0.24, 0.61))
    assert (gain.metric, gain.before, gain.after, gain.rose) == ("exact match", 0.24, 0.61, True)
    assert not gain_of(evals(0.24, 0.26)).rose
    for marks in ([], evals(0.24, 0.61)[:1], evals(0.24, 0.61, n=20), evals(0.97, 0.97), evals(0.24, None)):
        assert gain_of(marks) is None
