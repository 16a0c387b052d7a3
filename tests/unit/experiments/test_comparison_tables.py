"""A comparison's figures, tables and pictures, from run directories written by hand."""

import json
import math
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from adaswitch.errors import ConfigError, DataError
from adaswitch.runs.directory import RunDirectory
from adaswitch.tasks.scores import mean_per_token
from experiments.intervals import Interval, interval, over_prompts, paired, paired_over_prompts
from experiments.plan import Plan, cells
from experiments.report import write_report
from experiments.results import Results, read_results
from experiments.tables import as_json, as_markdown
from experiments.traces import mean_by_position
from experiments.work import Evaluating, all_work
from tests.comparison import PLAN, complete
from tests.fakes import random_rollout


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan.model_validate({**PLAN, "runs_dir": str(tmp_path)})


def test_an_interval_by_hand():
    # t(0.975, 2 degrees of freedom) = 4.302653 (any table).
    found = interval([1.0, 2.0, 4.0])
    assert found.mean == pytest.approx(7 / 3)
    assert found.half_width == pytest.approx(4.302653 * stdev([1, 2, 4]) / math.sqrt(3), rel=1e-6)
    assert not interval([0.5]).excludes_zero


@given(st.dictionaries(st.integers(0, 9), st.floats(-1, 1), min_size=2), st.floats(-1, 1))
def test_pairing_takes_out_what_the_seeds_share(values, shift):
    difference = paired({seed: value + shift for seed, value in values.items()}, values)
    assert difference is not None
    assert difference.mean == pytest.approx(shift, abs=1e-12)
    assert difference.half_width == pytest.approx(0, abs=1e-12)


def test_pairing_uses_common_seeds_alone():
    assert paired({1: 0.5, 2: 0.7}, {2: 0.4, 3: 0.1}) == Interval(
        pytest.approx(0.3), pytest.approx(math.nan, nan_ok=True), 1
    )
    assert paired({1: 0.5}, {2: 0.4}) is None


SUMS = st.dictionaries(
    st.integers(0, 30), st.tuples(st.floats(0, 9), st.integers(1, 40)), min_size=2, max_size=12
)


@given(SUMS)
def test_a_mean_over_prompts_is_the_evaluations_own_but_for_students_t(sums):
    value, by_normal = mean_per_token(sums.values())
    found = over_prompts(sums)
    assert found.mean == pytest.approx(value)
    assert by_normal is not None
    if value - found.half_width > 0:
        ratio = stats.t.ppf(0.975, len(sums) - 1) / stats.norm.ppf(0.975)
        assert found.half_width == pytest.approx((by_normal.high - value) * ratio, rel=1e-6, abs=1e-9)


@given(SUMS, st.floats(-1, 1))
def test_prompts_that_differ_by_the_same_a_token_leave_no_spread(sums, shift):
    moved = {prompt: (total + shift * count, count) for prompt, (total, count) in sums.items()}
    difference = paired_over_prompts(moved, sums)
    assert difference is not None
    assert difference.mean == pytest.approx(shift, abs=1e-9)
    assert difference.half_width == pytest.approx(0, abs=1e-6)


def test_a_paired_difference_over_prompts_by_resampling_them():
    rng = np.random.default_rng(0)
    own, other = (
        {
            i: (float(total), int(n))
            for i, (total, n) in enumerate(zip(rng.gamma(4, 5, 200), counts, strict=True))
        }
        for counts in (rng.integers(20, 60, 200), rng.integers(10, 30, 200))
    )
    found = paired_over_prompts(own, other)
    assert found is not None
    a, b = (np.array(list(side.values())) for side in (own, other))
    chosen = rng.integers(0, 200, (4000, 200))
    draws = a[chosen].sum(1)[:, 0] / a[chosen].sum(1)[:, 1] - b[chosen].sum(1)[:, 0] / b[chosen].sum(1)[:, 1]
    assert found.mean == pytest.approx(draws.mean(), abs=0.005)
    assert found.half_width == pytest.approx(1.96 * draws.std(), rel=0.06)
    assert paired_over_prompts({1: (1.0, 2)}, {2: (1.0, 2)}) is None


EVALUATIONS = {"sampled": {"temperature": 1.0, "teacher": "models/chain-teacher", "limit": 2}}


def evaluated(cell, settings, rows) -> None:
    """Write what an evaluation of a cell leaves behind; ``rows`` are (record, mark, nats, tokens)."""
    work = Evaluating(cell, "sampled", settings)
    work.folder.mkdir()
    lines = [
        {"split": "eval", "record": n, "marks": None if mark is None else {"right": mark}}
        | {"nats": {"forward_kl": nats}, "tokens": tokens}
        for n, mark, nats, tokens in rows
    ]
    (work.folder / "completions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    work.result.write_text("{}")


@pytest.mark.parametrize("seeds", [[3], [3, 5]])
def test_evaluations_of_trained_cells_have_a_table(plan, seeds, tmp_path):
    plan = Plan.model_validate({**plan.model_dump(), "seeds": seeds, "evaluations": EVALUATIONS})
    for cell in cells(plan):
        complete(cell, [])
        more = 1.0 if cell.method == "off_policy" else 0.0
        rows = [(1, 1.0, 2.0 + more, 10), (2, 0.0, 9.0 + 2 * more, 20), (2, None, 1.0, 10)]
        evaluated(cell, plan.evaluations["sampled"], rows)
    document = as_json(read_results(plan, cells(plan)), "a machine")
    found = {(row["method"], row["split"], row["metric"]): row for row in document["evaluations"]}
    assert list(found) == [
        ("adaswitch", "sampled, eval", "right"),
        ("off_policy", "sampled, eval", "right"),
        ("adaswitch", "sampled, eval", "forward_kl"),
        ("off_policy", "sampled, eval", "forward_kl"),
    ]
    row = found["off_policy", "sampled, eval", "forward_kl"]
    assert row["mean"]["mean"] == pytest.approx(15 / 40)
    assert row["difference"]["mean"] == pytest.approx(3 / 40)
    # Over prompts where there is one seed; the two seeds are alike, so that over them there is no spread.
    assert row["difference"]["n"] == 2
    assert (row["difference"]["half_width"] > 1e-3) == (seeds == [3])
    assert found["adaswitch", "sampled, eval", "right"]["mean"]["mean"] == pytest.approx(0.5)
    paths = write_report(read_results(plan, cells(plan)), tmp_path, "a machine")
    assert "<svg" in next(path for path in paths if path.name == "evaluations.svg").read_text()
    text = paths[0].read_text()
    assert "After the last step" not in text
    assert ("interval over held-out prompts" in text) == (seeds == [3])
    assert "| sampled, eval: forward_kl |" in text


def test_what_could_not_be_marked_is_said_beside_the_means(plan):
    plan = Plan.model_validate({**plan.model_dump(), "seeds": [3], "evaluations": EVALUATIONS})
    for cell in cells(plan):
        failing = cell.method == "off_policy"
        complete(cell, [0.5, 1.0], unmarked=2 if failing else 0)
        marks = [1.0] * 11 + [None if failing else 0.0]
        rows = [(n, mark, 1.0, 10) for n, mark in enumerate(marks)]
        evaluated(cell, plan.evaluations["sampled"], rows)
    document = as_json(read_results(plan, cells(plan)), "a machine")
    only_off_policy = {"method": "off_policy", "by_seed": {3: 2}, "unmarked": 2}
    assert document["unmarked"] == {
        "rows": [{**only_off_policy, "split": "eval", "of": 10}],
        "equal_teacher_tokens": [
            {**only_off_policy, "split": "eval", "by_seed": {3: 4}, "unmarked": 4, "of": 20}
        ],
        "evaluations": [
            {**only_off_policy, "split": "sampled, eval", "by_seed": {3: 1}, "unmarked": 1, "of": 12}
        ],
    }
    lines = as_markdown(document, "").splitlines()
    notes = [line.partition(": ")[2] for line in lines if "Could not be marked" in line]
    assert notes == [
        "off_policy 2 of 10 (eval).",
        "off_policy 4 of 20 (eval).",
        "off_policy 1 of 12 (sampled, eval).",
    ]


def test_where_all_is_marked_nothing_is_said_of_it(plan):
    for cell in cells(plan):
        complete(cell, [0.5])
    document = as_json(read_results(plan, cells(plan)), "a machine")
    assert document["unmarked"] == {"rows": [], "equal_teacher_tokens": [], "evaluations": []}
    assert "marked" not in as_markdown(document, "")


def test_an_earlier_mark_does_not_stand_in_for_a_last_one_that_is_missing(plan, tmp_path):
    for cell in cells(plan):
        complete(cell, [None, None] if cell.method == "adaswitch" else [0.9, None if cell.seed == 3 else 0.5])
    results = read_results(plan, cells(plan))
    document = as_json(results, "a machine")
    # Not even a metric that the first cell has no mark of is forgotten.
    assert [(row["method"], row["by_seed"]) for row in document["rows"]] == [("off_policy", {5: 0.5})]
    note = "adaswitch 20 of 20 (eval); off_policy 10 of 20 (eval)."
    assert note in write_report(results, tmp_path, "a machine")[0].read_text()


def test_an_evaluation_waits_for_its_cell_and_asks_for_what_the_plan_says(plan):
    plan = Plan.model_validate({**plan.model_dump(), "seeds": [3], "evaluations": EVALUATIONS})
    cell = cells(plan)[0]
    complete(cell, [0.5])
    work = all_work(plan, [cell], local="transformers")[1]
    assert work.source == cell.folder.resolve()
    with pytest.raises(DataError, match="no checkpoint to evaluate"):
        work.begin()
    for step in (2, 10):
        RunDirectory.open(cell.folder).checkpoint(step).mkdir()
    module, arguments = work.begin()
    assert (module, arguments[0]) == ("adaswitch", "eval")
    options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    assert options["--model"].endswith("step-10")
    assert (options["--seed"], options["--temperature"], options["--limit"]) == ("3", "1.0", "2")
    assert (options["--teacher"], options["--dtype"]) == ("models/chain-teacher", "float32")
    other = {"sampled": {**EVALUATIONS["sampled"], "limit": 3}}
    changed = Plan.model_validate({**plan.model_dump(), "evaluations": other})
    with pytest.raises(ConfigError, match="adaswitch-seed3: sampled: limit is 3 in the plan, and was 2"):
        all_work(changed, [cell], local="transformers")[1].require_same_settings()


def test_a_damaged_evaluation_is_named(plan):
    plan = Plan.model_validate({**plan.model_dump(), "seeds": [3], "evaluations": EVALUATIONS})
    cell = cells(plan)[0]
    complete(cell, [0.5])
    evaluated(cell, plan.evaluations["sampled"], [])
    (cell.folder / "evaluation-sampled" / "completions.jsonl").write_text('{"split": "eval"}\n')
    with pytest.raises(DataError, match=r"completions.jsonl: damaged"):
        read_results(plan, cells(plan))


def test_curves_are_drawn_where_a_time_limit_ended_cells_at_different_steps(plan, tmp_path):
    for cell in cells(plan):
        complete(cell, [0.2, 0.3] if cell.seed == 3 else [0.2, 0.3, 0.5])
    assert "<svg" in write_report(read_results(plan, cells(plan)), tmp_path, "a machine")[2].read_text()


def test_tables_at_equal_steps_and_at_equal_teacher_tokens(plan):
    for cell in cells(plan):
        gain = 0.1 if cell.seed == 3 else 0.2
        if cell.method == "off_policy":
            complete(cell, [0.2, 0.4, 0.6 + gain], teacher_tokens=200)
        else:
            complete(cell, [0.2, 0.3, 0.5 + gain], teacher_tokens=100)
    document = as_json(read_results(plan, cells(plan)), "a machine")
    assert [(row["method"], row["mean"]["mean"]) for row in document["rows"]] == [
        ("adaswitch", pytest.approx(0.65)),
        ("off_policy", pytest.approx(0.75)),
    ]
    assert document["rows"][0]["difference"] is None
    assert document["rows"][1]["difference"]["mean"] == pytest.approx(0.1)
    # Adaswitch ends at 200 tokens: there off-policy has done one step.
    assert document["common_teacher_tokens"] == 200
    assert document["equal_teacher_tokens"][1]["by_seed"] == {3: pytest.approx(0.4), 5: pytest.approx(0.4)}
    assert document["costs"][1]["teacher_tokens"] == 400
    costs = document["costs"][1]
    assert (costs["train_s"], costs["wall_s"], costs["cpu_s"]) == pytest.approx((0.5, 7.0, 2.0))
    text = as_markdown(document, "Title")
    assert "| seconds of training | seconds in all | CPU seconds in all |" in text
    assert "| off_policy | 2 | 0 | 7 | 2 | 20 |" in text
    assert "Seconds of training: of all steps, without start and evaluations." in text.splitlines()[-1]
    assert "Only" not in text
    assert "| off_policy | 0.750 ± 0.635 | **+0.100 ± 0.000** |" in text
    assert "| off_policy | 0.400 ± 0.000 | -0.250 ± 0.635 |" in text
    json.dumps(document, allow_nan=False)


def test_a_method_without_a_teacher_leaves_no_common_number_of_tokens(plan):
    for cell in cells(plan):
        complete(cell, [0.2, 0.4], teacher_tokens=0 if cell.method == "off_policy" else 100)
    document = as_json(read_results(plan, cells(plan)), "a machine")
    assert document["equal_teacher_tokens"] == []


def test_a_report_of_what_is_complete_so_far(plan, tmp_path):
    for cell in cells(plan)[:3]:
        complete(cell, [0.2, 0.3, 0.5])
    results = read_results(plan, cells(plan))
    assert {method: list(found) for method, found in results.cells.items()} == {
        "adaswitch": [3, 5],
        "off_policy": [3],
    }
    paths = write_report(results, tmp_path, "a machine")
    assert [path.name for path in paths] == [
        "table.md",
        "results.json",
        "eval-exact_match.svg",
        "switching.svg",
        "costs.svg",
        "traces-adaswitch.svg",
    ]
    assert "**Only 3 of 4 runs are complete.**" in paths[0].read_text()
    assert all("<svg" in path.read_text() for path in paths if path.suffix == ".svg")
    first = paths[2].read_bytes()
    write_report(results, tmp_path, "a machine")
    assert paths[2].read_bytes() == first


def test_nothing_complete_is_nothing_to_show(plan):
    assert Results(plan).measured() == []
    assert read_results(plan, cells(plan)).cells == {"adaswitch": {}, "off_policy": {}}


def test_means_by_position_end_where_few_rollouts_were_watched():
    rollouts = [random_rollout(seed, num_student=3, num_teacher=1) for seed in range(8)]
    longer = [random_rollout(seed, num_student=6, num_teacher=1) for seed in range(7)]
    means = mean_by_position([*rollouts, *longer])
    assert means.shape == (4,)
    assert means[2] == pytest.approx(sum(r.divergences[2] for r in [*rollouts, *longer]) / 15)
