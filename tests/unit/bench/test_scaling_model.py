"""The model of how throughput grows, against figures by hand."""

import math

from hypothesis import given
from hypothesis import strategies as st

from bench.scaling_model import Fleet, Paces, Work, bound, stage_seconds, synchronous_step_s

WORK = Work(student_tokens=20, scored_tokens=30, teacher_tokens=40, trained_tokens=60)
PACES = Paces(student=10, scoring=60, teacher=80, trainer=120, queue=4)


def test_by_hand() -> None:
    assert stage_seconds(WORK, PACES, Fleet()) == {
        "students": 2.0,
        "teachers": 1.0,
        "trainers": 0.5,
        "queue": 0.25,
    }
    assert bound(WORK, PACES, Fleet()) == ("students", 0.5)
    assert bound(WORK, PACES, Fleet(students=4)) == ("teachers", 1.0)
    assert bound(WORK, PACES, Fleet(students=10, teachers=8, trainers=9)) == ("queue", 4.0)
    assert math.isclose(synchronous_step_s(WORK, PACES, Fleet(), 8, publish_s=0.5), 8 * 3.75 + 0.5)


sizes = st.integers(1, 200)


@given(students=sizes, teachers=sizes, trainers=sizes)
def test_more_of_any_never_makes_it_slower_nor_beats_the_queue(
    students: int, teachers: int, trainers: int
) -> None:
    _, pace = bound(WORK, PACES, Fleet(students, teachers, trainers))
    for more in (
        Fleet(students + 1, teachers, trainers),
        Fleet(students, teachers + 1, trainers),
        Fleet(students, teachers, trainers + 1),
    ):
        assert pace <= bound(WORK, PACES, more)[1] <= PACES.queue


@given(students=sizes, prompts=st.integers(1, 500))
def test_a_synchronous_step_is_never_faster_than_the_slowest_stage(students: int, prompts: int) -> None:
    fleet = Fleet(students, teachers=2)
    pace = bound(WORK, PACES, fleet)[1]
    assert synchronous_step_s(WORK, PACES, fleet, prompts, publish_s=0.0) >= prompts / pace
