"""A comparison's plan and its cells, and how the work is done: order, refusals, stops."""

import datetime
import json
import signal
from pathlib import Path
from typing import ClassVar

import pytest
import typer
from typer.testing import CliRunner

from adaswitch.errors import ConfigError, DataError
from adaswitch.method.policies.off_policy import OffPolicy
from adaswitch.processes.entry import StopRequest
from adaswitch.runs import day
from experiments import runner
from experiments.__main__ import main as compare
from experiments.local import train_locally
from experiments.plan import Plan, cells, load_plan, only
from experiments.results import read_results
from experiments.runner import WorkFailedError, is_complete, run_all
from experiments.work import Training
from tests.comparison import PLAN, complete


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan.model_validate({**PLAN, "runs_dir": str(tmp_path)})


def trainings(plan: Plan) -> list[Training]:
    return [Training(cell, "transformers") for cell in cells(plan)]


def test_all_cells_have_the_day_of_the_first(plan, monkeypatch):
    task = {"kind": "gsm8k", "train": {"path": "a.jsonl"}}
    chats = plan.model_copy(update={"settings": {**plan.settings, "task": task}})
    monkeypatch.setattr(day, "today", lambda: datetime.date(2026, 11, 30))
    first = cells(chats)
    Training(first[1], "transformers").begin()
    monkeypatch.setattr(day, "today", lambda: datetime.date(2026, 12, 1))
    assert cells(chats) == first
    assert {cell.config.task.chat.date for cell in first} == {datetime.date(2026, 11, 30)}


def test_cells_are_runs_with_their_own_seed_and_settings(plan):
    found = cells(plan)
    assert [(cell.method, cell.seed) for cell in found] == [
        ("adaswitch", 3),
        ("off_policy", 3),
        ("adaswitch", 5),
        ("off_policy", 5),
    ]
    last = found[3].config
    assert (last.name, last.seed, last.task.seed, last.student.model) == (
        "off_policy-seed5",
        5,
        5,
        "models/starts/warm-5",
    )
    assert last.policy == OffPolicy()


def test_the_seed_is_filled_in_inside_of_a_method_too(plan):
    policy = {"kind": "random_switch", "from_run": "runs/a-{seed}"}
    found = cells(plan.model_copy(update={"methods": {"adaswitch": {}, "random": {"policy": policy}}}))
    assert [cell.config.policy.from_run for cell in found if cell.method == "random"] == [
        "runs/a-3",
        "runs/a-5",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference": "skd"}, "reference: 'skd' is none of the methods"),
        ({"seeds": [1, 1]}, "the same seed twice"),
        ({"sedes": [1]}, "sedes: unknown setting; did you mean seeds"),
        ({"methods": {"a/b": {}}}, r"methods\.a/b: "),
        ({"methods": {"adaswitch": [1]}}, r"methods\.adaswitch: Input should be a valid dictionary"),
        ({"methods": {"adaswitch": None}}, r"methods\.adaswitch: Input should be a valid dictionary"),
        ({"evaluations": {"greedy": {"limit": 0}}}, r"evaluations\.greedy\.limit: Input should be greater"),
        ({"evaluations": {"g": {"num_samples": 2}}}, r"evaluations\.g: num_samples 2: at temperature 0"),
        ({"settings": {"name": "other"}}, "settings: name is each run's own"),
        ({"methods": {"adaswitch": {"seed": 1}}}, "adaswitch: seed is each run's own"),
    ],
)
def test_a_plan_that_is_not_right_is_named(tmp_path, change, message):
    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps({**PLAN, **change}))
    with pytest.raises(ConfigError, match=message):
        load_plan(path)


def test_a_method_whose_settings_are_not_right_is_named(plan):
    wrong = plan.model_copy(update={"methods": {"adaswitch": {"policy.windw": 3}}})
    with pytest.raises(ConfigError, match=r"method adaswitch: .*windw: unknown setting; did you mean window"):
        cells(wrong)


def test_only_some_methods_and_seeds_and_always_the_reference(plan):
    chosen = only(plan, "off_policy", "5")
    assert (list(chosen.methods), chosen.seeds) == (["adaswitch", "off_policy"], [5])
    with pytest.raises(ConfigError, match="--methods: 'skd' is not in the plan"):
        only(plan, "skd", "")
    with pytest.raises(ConfigError, match="--seeds: '7' is not in the plan"):
        only(plan, "", "7")


def test_overrides_are_settings_of_every_cell(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text(json.dumps(PLAN))
    found = load_plan(path, ["trainer.num_steps=7"])
    assert [cell.config.trainer.num_steps for cell in cells(found)] == [7] * 4
    with pytest.raises(ConfigError, match="settings: seed is each run's own"):
        load_plan(path, ["seed=7"])


def test_what_is_complete_is_not_run_again(plan):
    for cell in cells(plan):
        complete(cell, [0.5])
    assert run_all(trainings(plan), 2, StopRequest(), lambda done, running: None)


def test_a_cell_that_fails_stops_the_comparison_with_its_own_words(plan):
    wrong = plan.model_copy(update={"settings": {"student.model": "models/nowhere"}})
    found = trainings(wrong)
    with pytest.raises(WorkFailedError, match=r"adaswitch-seed3: .*models/nowhere") as failed:
        run_all(found, 1, StopRequest(), lambda done, running: None)
    assert failed.value.exit_code == 2
    assert not is_complete(found[0])


def test_a_cell_that_was_begun_with_other_settings_is_not_taken_for_this_one(plan):
    for cell in cells(plan):
        complete(cell, [0.5])
    other = plan.model_copy(update={"settings": {"trainer.num_steps": 7}})
    message = r"adaswitch-seed3: .* is .* in the plan, and was .*: give the plan another name, or remove"
    with pytest.raises(ConfigError, match=message):
        run_all(trainings(other), 2, StopRequest(), lambda done, running: None)
    with pytest.raises(ConfigError, match=message):
        read_results(plan, cells(other))


def test_a_damaged_record_of_the_end_is_named(plan):
    for cell in cells(plan):
        complete(cell, [0.5])
    Training(cells(plan)[0]).result.write_text("{")
    with pytest.raises(DataError, match=r"finished.json: damaged"):
        read_results(plan, cells(plan))


def test_a_cell_that_takes_from_another_waits_for_it(plan, monkeypatch, tmp_path):
    source = str(tmp_path / "two" / "adaswitch-seed3")
    methods = {"random": {"policy": {"kind": "random_switch", "from_run": source}}, "adaswitch": {}}
    plan = plan.model_copy(update={"methods": methods, "seeds": [3]})

    class Process(FakeProcess):
        """Is complete once it was looked at."""

        @property
        def exit_code(self):
            complete(next(cell for cell in cells(plan) if cell.config.name == self.name), [0.5])
            return 0

    monkeypatch.setattr(runner, "ManagedProcess", Process)
    order = []
    assert run_all(
        trainings(plan), 2, StopRequest(), lambda done, running: order.append([work.name for work in running])
    )
    assert order == [["adaswitch-seed3"], ["random-seed3"]]


def test_a_cell_that_takes_from_itself_is_named(plan, tmp_path):
    policy = {"kind": "replay", "run": str(tmp_path / "two" / "adaswitch-seed3")}
    own = plan.model_copy(update={"methods": {"adaswitch": {"policy": policy}}, "seeds": [3]})
    with pytest.raises(ConfigError, match="adaswitch-seed3: takes its rollouts from a run that waits for it"):
        run_all(trainings(own), 2, StopRequest(), lambda done, running: None)


class FakeProcess:
    """Ends when it is told to."""

    told: ClassVar[list[str]] = []
    exit_code: int | None = None

    def __init__(self, name, module, arguments, log, environment):
        assert (module, arguments[0], arguments[2:]) == (
            "experiments.cell",
            "--config",
            ["--local", "transformers"],
        )
        assert environment["OMP_NUM_THREADS"] == "1"
        self.name = name

    def terminate(self):
        self.told.append(f"terminate {self.name}")

    def stop(self, grace_s):
        self.told.append(f"wait for {self.name}")


def test_a_stop_ends_what_is_under_way(plan, monkeypatch):
    monkeypatch.setattr(runner, "ManagedProcess", FakeProcess)
    monkeypatch.setattr(FakeProcess, "told", [])
    should_stop = StopRequest()
    seen = []

    def on_change(done, running):
        seen.append((done, [work.name for work in running]))
        should_stop.request()

    assert not run_all(trainings(plan), 2, should_stop, on_change)
    assert seen == [(0, ["adaswitch-seed3", "off_policy-seed3"])]
    # All are told before any is waited for.
    assert [words.split()[0] for words in FakeProcess.told] == ["terminate", "terminate", "wait", "wait"]


def test_an_impatient_stop_reaches_what_is_under_way(plan, monkeypatch):
    asked = []

    class Asking(FakeProcess):
        def stop(self, grace_s):
            asked.append((self.is_impatient(), self.last_grace_s))

    monkeypatch.setattr(runner, "ManagedProcess", Asking)
    should_stop = StopRequest(patient=True)

    def twice(done, running):
        for _ in range(2):
            should_stop._on_signal(signal.SIGINT, None)

    assert not run_all(trainings(plan), 2, should_stop, twice)
    assert asked == [(True, runner.LAST_GRACE_S)] * 2


@pytest.mark.parametrize("path", sorted(Path("experiments/plans").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_plan_has_cells(path):
    found = load_plan(path)
    assert found.name == path.stem
    assert len(cells(found)) == len(found.methods) * len(found.seeds)


def test_in_one_process_nothing_runs_ahead(plan):
    settings = {"trainer.max_staleness": 1}
    with pytest.raises(ConfigError, match="max_staleness: in one process nothing runs ahead"):
        train_locally(cells(plan.model_copy(update={"settings": settings}))[0].config, lambda: False)


def test_chosen_methods_are_run_with_the_reference_and_no_others(tmp_path, monkeypatch):
    methods = {
        "adaswitch": {},
        **{name: {"policy": {"kind": name}} for name in ("off_policy", "on_policy", "dataset")},
    }
    settings = {"student.model": "models/chain-student", "task.num_train": 12, "task.num_eval": 8}
    document = {**PLAN, "runs_dir": str(tmp_path), "seeds": [3, 5], "settings": settings, "methods": methods}
    (tmp_path / "plan.yaml").write_text(json.dumps(document))
    begun = []

    def run_none(work, jobs, should_stop, on_change):
        begun.extend(item.name for item in work)
        return True

    monkeypatch.setattr("experiments.runner.run_all", run_none)
    command = typer.Typer()
    command.command()(compare)
    arguments = ["--plan", str(tmp_path / "plan.yaml"), "--local", "--methods", "on_policy", "--seeds", "5"]
    result = CliRunner().invoke(command, arguments)
    assert (result.exit_code, begun) == (0, ["adaswitch-seed5", "on_policy-seed5"])
    words = " ".join(CliRunner().invoke(command, ["--help"], env={"COLUMNS": "200"}).stdout.split())
    assert "Run only these of the plan's methods, separated by commas, and the reference method." in words
