"""Which rollouts a page shows: some prompts throughout, and steps from all over the run, the most telling first."""

from adaswitch.pages.sampling import FOLLOWED_PLACES, MAX_STEPS, choices, coarse_to_fine


def test_steps_come_ever_closer_together() -> None:
    assert list(coarse_to_fine(range(9))) == [8, 0, 4, 2, 6, 1, 3, 5, 7]
    assert list(coarse_to_fine([7])) == [7]
    assert list(coarse_to_fine([])) == []
    assert sorted(coarse_to_fine(range(100))) == list(range(100))


def test_every_rollout_of_a_small_run_is_chosen_once() -> None:
    records = {step: [1, 2, 3 + step] for step in range(5)}
    found = choices(records)
    assert len(found) == len(set(found)) == 15


def test_prompts_that_come_again_are_followed_from_first_to_last() -> None:
    records = {step: [step % 50, 1000 + step] for step in range(500)}
    of_one = [step for step, index in choices(records) if records[step][index] == 0]
    assert len(of_one) >= FOLLOWED_PLACES
    assert {0, 450} <= set(of_one)


def test_a_long_run_is_not_read_as_a_whole() -> None:
    records = {step: [32 * step + i for i in range(32)] for step in range(1000)}
    steps = {step for step, _ in choices(records)}
    assert len(steps) == MAX_STEPS
    assert {0, 999} <= steps


def test_a_page_that_stops_early_has_followed_prompts_and_the_newest_step() -> None:
    records = {step: list(range(32)) for step in range(100)}
    found = choices(records)[:16]
    assert {99, 0} <= {step for step, _ in found}
    assert len({step for step, index in found if records[step][index] == 0}) >= FOLLOWED_PLACES
