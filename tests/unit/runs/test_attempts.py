"""Attempts at a run: what may change between them, what is kept of each, and when there is nothing left to do."""

import os
import re
import shutil
from pathlib import Path

import pytest
import yaml

from adaswitch.config.described import settings_of
from adaswitch.config.run import RunConfig
from adaswitch.errors import ConfigError, DataError, EnvironmentProblem
from adaswitch.runs.attempts import (
    begin_attempt,
    check_attempt,
    complete_after,
    join_attempt,
    under_new_name,
)
from adaswitch.runs.changes import MAY_CHANGE, MAY_NOT_CHANGE
from adaswitch.runs.config_files import load_config, read_yaml
from adaswitch.runs.status import Phase, read_status
from tests.runs import NUM_STEPS, begun, settings

ROOT = Path(__file__).parents[3]


def test_other_settings_are_refused_by_name_with_both_values(tmp_path: Path) -> None:
    attempt = begun(settings(tmp_path), saved=4)
    before = (attempt.run.path / "config.yaml").read_bytes()
    other = settings(tmp_path, "seed=1", "policy={kind: on_policy}", "student.model=models/chain-teacher")
    for refuse in (check_attempt, begin_attempt):
        with pytest.raises(ConfigError) as refused:
            refuse(other)
        message = str(refused.value)
        assert "\n" not in message
        for change in (
            "seed (was 0, now 1)",
            'policy.kind (was "adaswitch", now "on_policy")',
            'student.model (was "models/chain-student", now "models/chain-teacher")',
            "--new-name",
            f"student.model={attempt.run.checkpoint(4)}",
        ):
            assert change in message
        # What only one of the kinds has is no change of its own.
        assert "policy.window" not in message
    assert (attempt.run.path / "config.yaml").read_bytes() == before
    assert [path.name for path in attempt.run.attempts.iterdir()] == ["1"]


@pytest.mark.parametrize(
    "override",
    [
        "student.dtype=bfloat16",
        "student.temperature=0.5",
        "student.max_new_tokens=32",
        "teacher.top_k=32",
        "teacher.serve.model=models/chain-student",
        "teacher.serve.engine=transformers",
        "trainer.prompts_per_step=16",
        "trainer.max_staleness=1",
        "trainer.loss.kind=jsd",
        "trainer.optimizer.learning_rate=0.1",
        "trainer.dtype=bfloat16",
        "teacher_budget.tokens_per_step=64",
        "task.num_train=100",
        "policy.window=5",
    ],
)
def test_what_decides_the_result_is_refused(tmp_path: Path, override: str) -> None:
    begun(settings(tmp_path))
    with pytest.raises(ConfigError, match=re.escape(f"{override.partition('=')[0]} (was ")):
        check_attempt(settings(tmp_path, override))


@pytest.mark.parametrize(
    "override",
    [
        "trainer.num_steps=20",
        "trainer.time_limit_s=60",
        "teacher.url=http://elsewhere:8000",
        "teacher.serve=null",
        "teacher.serve.port=9000",
        "teacher.serve.num_threads=2",
        "student.device=cpu",
        "student.num_actors=2",
        "trainer.num_threads=2",
        "student.num_threads=2",
        "trainer.eval_every=5",
        "trainer.checkpoint_every=5",
        "trainer.save_rollouts=false",
        "queue.capacity=100",
        "ray.address=head:6379",
    ],
)
def test_a_short_list_may_change_and_is_told(tmp_path: Path, override: str) -> None:
    begun(settings(tmp_path))
    told = begin_attempt(settings(tmp_path, override)).changes
    assert told[0].startswith(f"{override.partition('=')[0]} (was ")
    assert any("learning rate" in change for change in told) == ("num_steps" in override)


def test_a_run_that_was_begun_with_one_thread_goes_on_with_as_many_as_there_are(tmp_path: Path) -> None:
    begun(settings(tmp_path, "student.num_threads=1"))
    assert begin_attempt(settings(tmp_path)).changes == ('student.num_threads (was 1, now "auto")',)


def test_the_list_is_of_settings_that_exist_and_is_on_the_page() -> None:
    known = {setting.path for setting in settings_of(RunConfig)}
    assert {*MAY_CHANGE, *MAY_NOT_CHANGE} <= known
    page = (ROOT / "docs/running.md").read_text(encoding="utf-8")
    for path in MAY_CHANGE:
        assert f"`{path}`" in page, path


def test_one_folder_may_be_named_in_several_ways(tmp_path: Path) -> None:
    begun(settings(tmp_path))
    assert check_attempt(settings(tmp_path, f"student.model={ROOT / 'models/chain-student'}")) == []
    os.rename(tmp_path / "run", tmp_path / "renamed")
    assert check_attempt(settings(tmp_path, name="renamed")) == []


def test_a_run_that_has_done_nothing_may_be_begun_anew_with_any_settings(tmp_path: Path) -> None:
    begin_attempt(settings(tmp_path, "student.model=models/mistyped"))
    attempt = begin_attempt(settings(tmp_path))
    assert load_config(attempt.run.path / "config.yaml").student.model == "models/chain-student"
    assert attempt.number == 2


def test_the_settings_of_every_attempt_are_kept(tmp_path: Path) -> None:
    begun(settings(tmp_path))
    second = begin_attempt(settings(tmp_path, "trainer.num_steps=20"))
    kept = [load_config(second.run.attempts / number / "config.yaml") for number in ("1", "2")]
    assert [config.trainer.num_steps for config in kept] == [NUM_STEPS, 20]
    assert load_config(second.run.path / "config.yaml") == kept[1]
    assert (second.run.path / "logs").resolve() == second.folder.resolve()


def test_a_run_of_an_older_version_goes_on_and_its_logs_are_kept(tmp_path: Path) -> None:
    run = begun(settings(tmp_path), saved=4).run
    shutil.rmtree(run.attempts)
    run.status.unlink()
    (run.path / "logs").unlink()
    (run.path / "logs").mkdir()
    (run.path / "logs" / "trainer.log").write_text("as it was\n")
    # It lacks what later versions have added.
    document = read_yaml(run.path / "config.yaml")
    del document["queue"]
    document["student"].pop("num_groups")
    (run.path / "config.yaml").write_text(yaml.safe_dump(document))
    attempt = begin_attempt(settings(tmp_path))
    assert (attempt.number, attempt.changes) == (2, ())
    assert (run.attempts / "1" / "trainer.log").read_text() == "as it was\n"
    assert attempt.status.status.step == 4


def test_without_resuming_a_run_that_is_there_is_left_alone(tmp_path: Path) -> None:
    begin_attempt(settings(tmp_path, "trainer.resume=false"))
    begun(settings(tmp_path, "trainer.resume=false"), saved=4)
    with pytest.raises(ConfigError, match=r"trainer\.resume: .*holds a run.*--new-name"):
        begin_attempt(settings(tmp_path, "trainer.resume=false"))
    status = read_status(begin_attempt(settings(tmp_path)).run)
    assert status is not None
    other = begin_attempt(under_new_name(settings(tmp_path, "trainer.resume=false")))
    assert other.run.path.name == "run-2"
    assert other.status.status.command.endswith(f"{other.run.path}/config.yaml trainer.resume=true")


def test_records_without_their_settings_are_not_gone_on_with(tmp_path: Path) -> None:
    (begun(settings(tmp_path)).run.path / "config.yaml").unlink()
    with pytest.raises(DataError, match=r"records of a run, and no config\.yaml"):
        check_attempt(settings(tmp_path))


def test_a_run_that_a_process_is_at_work_on_is_refused(tmp_path: Path) -> None:
    attempt = begun(settings(tmp_path))
    status, file = attempt.status.status, attempt.run.status
    file.write_text(file.read_text().replace(f'"pid": {status.pid}', f'"pid": {os.getppid()}'))
    with pytest.raises(EnvironmentProblem, match=f"process {os.getppid()} is at work on this run"):
        check_attempt(settings(tmp_path))
    file.write_text(file.read_text().replace('"starting"', '"stopped"'))
    assert check_attempt(settings(tmp_path)) == []


def test_a_trainer_joins_the_attempt_that_its_launcher_has_begun(tmp_path: Path) -> None:
    begun_here = begin_attempt(settings(tmp_path), command="the launcher's own")
    joined = join_attempt(settings(tmp_path), 1)
    assert joined.folder == begun_here.folder
    assert joined.status.status.command == "the launcher's own"
    assert [path.name for path in joined.run.attempts.iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("saved", "scores", "overrides", "expected"),
    [
        (NUM_STEPS, NUM_STEPS, [], NUM_STEPS),
        (None, NUM_STEPS, [], None),
        (4, NUM_STEPS, [], None),
        (NUM_STEPS, 4, [], None),  # the last evaluation is still to be made
        (NUM_STEPS, 4, ["trainer.eval_every=0"], NUM_STEPS),
        (NUM_STEPS, NUM_STEPS, ["trainer.num_steps=9"], None),
        (NUM_STEPS, NUM_STEPS, ["trainer.num_steps=9", "trainer.time_limit_s=4"], NUM_STEPS),
        (NUM_STEPS, NUM_STEPS, ["trainer.num_steps=9", "trainer.time_limit_s=4.1"], None),
    ],
)
def test_when_a_run_is_complete(
    tmp_path: Path, saved: int | None, scores: int, overrides: list[str], expected: int | None
) -> None:
    begun(settings(tmp_path), saved=saved, scores=scores)
    assert complete_after(settings(tmp_path, *overrides)) == expected


def test_a_damaged_record_is_left_to_the_trainer(tmp_path: Path) -> None:
    run = begun(settings(tmp_path), saved=NUM_STEPS, scores=NUM_STEPS).run
    with run.evals.open("a") as file:
        file.write('{"step": \n')
    assert complete_after(settings(tmp_path)) is None


def test_a_status_that_is_damaged_is_written_anew(tmp_path: Path) -> None:
    attempt = begun(settings(tmp_path))
    attempt.run.status.write_text("{")
    status = read_status(begin_attempt(settings(tmp_path)).run)
    assert status is not None
    assert (status.phase, status.attempt) == (Phase.STARTING, 2)


def test_where_nothing_can_be_written_the_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match=r"cannot be written, because not a directory.*\(runs_dir\)"):
        begin_attempt(settings(tmp_path / "file"))


def test_long_lists_are_compared_to_their_end(tmp_path: Path) -> None:
    """What is shown of a value is cut, and what is compared is not."""
    files = [str(tmp_path / f"part-{number:02}.jsonl") for number in range(20)]

    def config(paths: list[str]) -> RunConfig:
        return settings(tmp_path, f"task={{kind: jsonl, train: {{path: {paths}}}}}", "trainer.eval_every=0")

    begun(config(files))
    with pytest.raises(ConfigError, match=r"task\.train\.path \(was "):
        check_attempt(config([*files[:-1], str(tmp_path / "other.jsonl")]))
    assert check_attempt(config(files)) == []


def test_rollouts_without_records_still_belong_to_their_settings(tmp_path: Path) -> None:
    run = begun(settings(tmp_path)).run
    for file in (run.metrics, run.evals):
        file.unlink()
    check_attempt(settings(tmp_path, "seed=1"))
    (run.rollouts / "step-000003.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match="seed"):
        check_attempt(settings(tmp_path, "seed=1"))


def test_settings_of_a_run_that_cannot_be_read_are_named_with_a_copy_that_can(tmp_path: Path) -> None:
    run = begun(settings(tmp_path)).run
    config = run.path / "config.yaml"
    whole = config.read_text()
    for harm in (whole + "of_old: 1\n", whole[:200], "", "- 1\n"):
        config.write_text(harm)
        with pytest.raises(DataError) as caught:
            check_attempt(settings(tmp_path))
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(f"{config}: ")
        assert f"copy {run.attempts / '1' / 'config.yaml'} over it" in message
    (run.attempts / "1" / "config.yaml").write_text(whole + "of_old: 1\n")
    with pytest.raises(DataError, match="begin another run"):
        check_attempt(settings(tmp_path))
