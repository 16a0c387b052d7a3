"""What is wrong with any cell, or with an evaluation of it, is said before the first cell starts, and by name."""

import re
import shutil
from pathlib import Path

import pytest

from adaswitch.errors import ConfigError, DataError, ModelError, UserError
from adaswitch.runs.directory import RunDirectory
from experiments.plan import Plan, cells
from experiments.preflight import require_data
from tests.comparison import PLAN, complete
from tests.service_fixtures import unused_port

SETTINGS = {
    "task.num_train": 10,
    "task.num_eval": 8,
    "student.model": "models/chain-student",
    "student.max_new_tokens": 64,
}
SKD = {"policy": {"kind": "skd", "accept_top_k": 25}}


def plan_of(folder: Path, methods: dict[str, object] | None = None, **changes: object) -> Plan:
    """One seed, the method that is given last."""
    methods = {"adaswitch": {}, **(methods or {})}
    document = {
        **PLAN,
        "runs_dir": str(folder),
        "seeds": [3],
        "settings": SETTINGS | {"teacher.serve.port": unused_port()},
    }
    document["methods"] = methods
    return Plan.model_validate({**document, **changes})


def refusal(plan: Plan, local: str | None = "transformers") -> str:
    with pytest.raises(UserError) as refused:
        require_data(plan, cells(plan), local)
    return str(refused.value)


def test_a_plan_that_fits(tmp_path):
    greedy = {"limit": 4, "teacher": "models/chain-teacher"}
    plan = plan_of(
        tmp_path, {"skd": {"policy": {"kind": "skd", "accept_top_k": 3}}}, evaluations={"greedy": greedy}
    )
    require_data(plan, cells(plan), "transformers")
    require_data(plan, cells(plan))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SKD, "policy.accept_top_k 25 accepts each of the tokenizer's 19 tokens"),
        ({"student.model": "models/nowhere"}, "student.model: there is no folder 'models/nowhere'"),
        ({"teacher.serve.model": "models/nobody"}, "teacher.serve.model: there is no folder 'models/nobody'"),
        ({"teacher.serve.max_model_len": 4096}, "teacher.serve.max_model_len: 4096 is more than"),
        ({"teacher.serve": None}, "teacher.serve: needed to run without services"),
        ({"trainer.max_staleness": 1}, "trainer.max_staleness: in one process nothing runs ahead"),
        ({"student.engine": "vllm"}, "student.engine: vllm changes the process that it runs in: set it to"),
    ],
)
def test_what_does_not_fit_one_method_is_named(tmp_path, settings, message):
    assert refusal(plan_of(tmp_path, {"last": settings})).startswith(f"method last: {message}")


def test_served_cells_may_run_ahead_and_have_a_teacher_elsewhere(tmp_path):
    plan = plan_of(tmp_path, {"last": {"teacher.serve": None, "trainer.max_staleness": 1}})
    require_data(plan, cells(plan), local=None)


def test_a_teacher_with_other_tokens_is_named(tmp_path):
    other = changed_teacher(tmp_path, "tokenizer.json", '"#"', '"?"')
    message = f"{other!r} and the student 'models/chain-student' have different tokenizers"
    plan = plan_of(tmp_path, {"last": {"teacher.serve.model": other}})
    assert refusal(plan).startswith(f"method last: teacher.serve.model: {message}")
    plan = plan_of(tmp_path, evaluations={"greedy": {"teacher": other}})
    assert refusal(plan).startswith(f"method adaswitch: evaluations.greedy: teacher: {message}")


def test_a_teacher_that_takes_too_little_is_named(tmp_path):
    other = changed_teacher(
        tmp_path, "config.json", '"max_position_embeddings": 128', '"max_position_embeddings": 66'
    )
    message = ".*: the prompt has .* that is more than the 66 that the teacher"
    last = {"teacher.serve.model": other, "teacher.serve.max_model_len": None}
    assert re.match(f"method last: {message}", refusal(plan_of(tmp_path, {"last": last})))
    plan = plan_of(tmp_path, evaluations={"greedy": {"teacher": other}})
    assert re.match(f"method adaswitch: evaluations.greedy: {message}", refusal(plan))


def changed_teacher(folder: Path, name: str, old: str, new: str) -> str:
    """A copy of the chain teacher's folder, ``old`` replaced in one of its files."""
    other = folder / "other-teacher"
    shutil.copytree("models/chain-teacher", other)
    text = (other / name).read_text()
    assert old in text
    (other / name).write_text(text.replace(old, new))
    return str(other)


@pytest.mark.parametrize(
    ("evaluation", "message"),
    [
        ({"teacher": "models/nobody"}, "teacher: there is no folder 'models/nobody'"),
        ({"limit": 1, "teacher": "models/nobody"}, "teacher: there is no folder 'models/nobody'"),
    ],
)
def test_an_evaluation_that_cannot_be_made_is_named(tmp_path, evaluation, message):
    plan = plan_of(tmp_path, evaluations={"fine": {}, "sampled": evaluation})
    assert refusal(plan).startswith(f"method adaswitch: evaluations.sampled: {message}")


def test_an_evaluation_needs_held_out_data(tmp_path):
    data = tmp_path / "train.jsonl"
    data.write_text('{"question": "1+1=", "answer": "#### 2"}\n')
    task = {"kind": "gsm8k", "train": {"path": str(data)}, "chat_template": False}
    settings = {**SETTINGS, "task": task}
    del settings["task.num_train"], settings["task.num_eval"]
    plan = plan_of(tmp_path, settings=settings, evaluations={"greedy": {}})
    message = "method adaswitch: evaluations.greedy: task.eval: there is no held-out data"
    assert refusal(plan).startswith(message)


@pytest.mark.parametrize(
    ("policy", "setting"),
    [({"kind": "random_switch", "from_run": ""}, "from_run"), ({"kind": "replay", "run": ""}, "run")],
)
def test_a_recorded_run_is_in_the_plan_or_on_disk(tmp_path, policy, setting):
    def reading(source: str, **settings: object) -> Plan:
        return plan_of(tmp_path, {"last": {"policy": {**policy, setting: source}, **settings}})

    in_plan, nowhere = str(tmp_path / "two" / "adaswitch-seed3"), str(tmp_path / "nowhere")
    require_data(reading(in_plan), cells(reading(in_plan)), "transformers")
    message = f"method last: policy.{setting}: {nowhere}: not a run directory"
    assert refusal(reading(nowhere)).startswith(message)
    own = str(tmp_path / "two" / "last-seed3")
    assert refusal(reading(own)).startswith(f"method last: policy.{setting}: {own} is this run itself")
    # Of the plan, but not among those that are to be run now.
    only_last = [cell for cell in cells(reading(in_plan)) if cell.method == "last"]
    with pytest.raises(DataError, match=f"method last: policy.{setting}: .*not a run directory"):
        require_data(reading(in_plan), only_last, "transformers")
    # On disk, with rollouts of two steps; a replay needs as many as it trains.
    other = cells(plan_of(tmp_path, name="other"))[0]
    complete(other, [0.5])
    found = reading(str(other.folder), **{"trainer.num_steps": 2})
    require_data(found, cells(found), "transformers")
    for shard in RunDirectory.open(other.folder).shards():
        shard.unlink()
    assert refusal(found).startswith("method last: ")


def test_a_run_that_keeps_no_rollouts_cannot_be_read(tmp_path):
    source = str(tmp_path / "two" / "adaswitch-seed3")
    methods = {
        "adaswitch": {"trainer.save_rollouts": False},
        "last": {"policy": {"kind": "random_switch", "from_run": source}},
    }
    message = "method last: policy.from_run: method adaswitch keeps no rollouts"
    assert refusal(plan_of(tmp_path, methods)).startswith(message)


def test_a_complaint_keeps_its_kind(tmp_path):
    plan = plan_of(tmp_path, {"last": {"teacher.serve.model": "models/nobody"}})
    with pytest.raises(ModelError):
        require_data(plan, cells(plan))
    plan = plan_of(tmp_path, {"last": SKD})
    with pytest.raises(ConfigError):
        require_data(plan, cells(plan))


def test_what_is_complete_is_not_looked_at(tmp_path):
    plan = plan_of(tmp_path, {"last": {"student.model": "models/nowhere"}})
    for cell in cells(plan):
        complete(cell, [0.5])
    require_data(plan, cells(plan))
