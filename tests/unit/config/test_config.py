"""Settings: strict, documented, one-line errors with the fix, overrides, YAML, and every file in configs/."""

import copy
import re
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from adaswitch.config.parsing import parse_config, with_overrides
from adaswitch.config.run import RunConfig
from adaswitch.config.teacher import TeacherConfig
from adaswitch.contract import wire
from adaswitch.errors import ConfigError
from adaswitch.runs.config_files import load_config, parse_override, read_yaml, write_config

ROOT = Path(__file__).parents[3]
CONFIGS = sorted((ROOT / "configs").glob("**/*.y*ml"))
DOCUMENT = {"name": "run", "task": {"kind": "chain"}, "teacher": {}, "student": {"model": "models/x"}}


def parse(*overrides: tuple[str, object]) -> RunConfig:
    return parse_config(with_overrides(DOCUMENT, overrides))


def refusal(*overrides: tuple[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        parse(*overrides)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_shipped_config_loads(path: Path) -> None:
    config = load_config(path)
    assert config.policy.kind == "adaswitch"
    assert config.teacher.serve is not None
    assert config.teacher.serve.model != config.student.model


def test_there_are_shipped_configs() -> None:
    assert {"demo.yaml", "gsm8k-smollm2-cpu.yaml", "gsm8k-qwen2.5.yaml", "dialogsum-gemma.yaml"} <= {
        path.name for path in CONFIGS
    }


def models_under(model: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """``model`` and every group of settings below it, by name."""
    found = {model.__name__: model}
    for field in model.model_fields.values():
        for inner in re.findall(r"\w+", str(field.annotation)):
            known = {sub.__name__: sub for sub in all_settings()}
            if inner in known and inner not in found:
                found |= models_under(known[inner])
    return found


def all_settings() -> list[type[BaseModel]]:
    """Those of the project; other tests may have loaded some of a user's own."""
    packages = ("adaswitch", "services", "trainer", "experiments")
    return [heir for heir in heirs(RunConfig.__mro__[1]) if heir.__module__.partition(".")[0] in packages]


def heirs(model: type[BaseModel]) -> list[type[BaseModel]]:
    return [heir for child in model.__subclasses__() for heir in (child, *heirs(child))]


def test_every_group_of_settings_is_reached() -> None:
    # What others inherit from is written in no document itself; a plan of experiments is a document of its own.
    of_a_run = [model for model in all_settings() if model.__module__.startswith("adaswitch.")]
    written = {
        model.__name__
        for model in of_a_run
        if not model.__subclasses__() and not model.__name__.startswith("_")
    }
    assert set(models_under(RunConfig)) == written


@pytest.mark.parametrize("model", all_settings(), ids=lambda model: model.__name__)
def test_every_setting_says_what_it_is(model: type[BaseModel]) -> None:
    silent = [name for name, field in model.model_fields.items() if name != "kind" and not field.description]
    assert silent == []
    assert model.__doc__


@pytest.mark.parametrize("model", all_settings(), ids=lambda model: model.__name__)
def test_every_group_of_settings_is_strict(model: type[BaseModel]) -> None:
    config = model.model_config
    assert config.get("strict")
    assert config.get("frozen")
    assert config.get("extra") == "forbid"
    assert config.get("allow_inf_nan") is False


def test_defaults_are_the_documented_method() -> None:
    config = parse()
    assert (config.policy.kind, config.policy.floor, config.policy.metric) == ("adaswitch", 0.0, "forward_kl")
    assert config.trainer.loss.kind == "forward_kl"
    assert config.trainer.max_staleness == 0


def test_settings_do_not_change_after_loading() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        parse().seed = 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seed", "3"),
        ("seed", 3.0),
        ("seed", True),
        ("seed", -1),
        ("seed", 2**31),
        ("student.model", 3),
        ("student.num_actors", 0),
        ("student.temperature", -0.1),
        ("trainer.resume", "yes"),
        ("trainer.resume", 1),
        ("trainer.optimizer.learning_rate", "1e-3"),
        ("trainer.optimizer.learning_rate", 0),
        ("trainer.optimizer.learning_rate", float("nan")),
        ("trainer.optimizer.learning_rate", float("inf")),
        ("trainer.optimizer.betas", [0.9]),
        ("trainer.optimizer.schedule", "cosin"),
        ("teacher.top_k", 0),
        ("teacher.top_p", 0),
        ("teacher.temperature", 2.5),
        ("queue.lease_timeout_s", 0),
        ("name", "a/b"),
        ("name", ""),
        ("name", ".."),
        ("ray.namespace", None),
    ],
)
def test_a_wrong_value_names_its_key(key: str, value: object) -> None:
    assert refusal((key, value)).startswith(f"{key}: ")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([("traner", {})], "traner: unknown setting; did you mean trainer?"),
        (
            [("trainer.lerning_rate", 1)],
            "trainer.lerning_rate: unknown setting; did you mean trainer.optimizer.learning_rate?",
        ),
        ([("task.num_trian", 1)], "task.num_trian: unknown setting; did you mean num_train?"),
        (
            [("policy", {"kind": "adaswitch", "windw": 2})],
            "policy.windw: unknown setting; did you mean window?",
        ),
        (
            [("policy", {"kind": "on_policy", "window": 2})],
            "policy.window: unknown setting of this kind; it belongs to the kinds adaswitch, motab",
        ),
        (
            [("policy", {"kind": "on_policy", "tau": 2})],
            "policy.tau: unknown setting of this kind; it belongs to the kinds relay, ssd, switch, threshold",
        ),
        (
            [("trainer.learning_rate", 1)],
            "trainer.learning_rate: unknown setting; did you mean trainer.optimizer.learning_rate?",
        ),
        ([("window", 2)], "window: unknown setting; did you mean policy.window or policy.trigger.window?"),
        ([("student.port", 2)], "student.port: unknown setting; did you mean teacher.serve.port?"),
        (
            [("teacher.serve", {"model": "m", "top_k": 2})],
            "teacher.serve.top_k: unknown setting; did you mean teacher.top_k?",
        ),
        (
            [("student.temperature_", 2)],
            "student.temperature_: unknown setting; did you mean temperature?",
        ),
        (
            [("student.engine", "transformers"), ("student.lockstep", False)],
            "student: lockstep false needs an engine that batches by itself, and transformers writes whole batches: "
            "leave lockstep out, or take engine vllm",
        ),
        ([("zzz", 1)], "zzz: unknown setting"),
        ([("zzz", 1), ("yyy", 1)], "zzz: unknown setting (and 1 more)"),
        ([("student", {})], "student.model: this setting is required"),
        ([("policy", {"window": 2})], "policy.kind: this setting is required"),
        (
            [("trainer.loss.kind", "kl")],
            "trainer.loss.kind: 'kl' is not one of 'cross_entropy', 'custom', 'forward_kl', 'jsd', 'reverse_kl', "
            "'skewed_kl', 'skewed_reverse_kl', 'total_variation'",
        ),
        (
            [("policy", {"kind": "adaswitch", "window": 0})],
            "policy.window: Input should be greater than or equal to 1",
        ),
        ([("trainer.optimizer.betas", [0.9, 1])], "trainer.optimizer.betas.1: Input should be less than 1"),
        ([("trainer.loss", {"kind": "jsd", "beta": 1})], "trainer.loss.beta: Input should be less than 1"),
        ([("task.min_operations", 8)], "task: min_operations must not exceed max_operations"),
        (
            [("task", {"kind": "gsm8k", "train": {}})],
            "task.train: set exactly one of path (a local file) and hub (a data set's name)",
        ),
        (
            [("task", {"kind": "jsonl", "train": {"path": "a", "hub": "b"}})],
            "task.train: set exactly one of path (a local file) and hub (a data set's name)",
        ),
        (
            [("queue.capacity", 31)],
            "queue.capacity 31 must be at least trainer.prompts_per_step 32: a step could never be filled",
        ),
        (
            [("teacher.temperature", 0.001)],
            "teacher.temperature: must be 0 (greedy) or at least 0.01, as the teacher service takes it",
        ),
        (
            [("trainer.save_rollouts", -1)],
            "trainer.save_rollouts: Input should be a valid boolean; or: Input should be greater than or equal to 1",
        ),
    ],
)
def test_one_line_with_the_key_and_the_fix(overrides: list[tuple[str, object]], message: str) -> None:
    assert refusal(*overrides) == message


RANKS = ("trainer.num_ranks", 4)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([RANKS], "trainer.eval_by: with trainer.num_ranks 4 no process has the whole model"),
        (
            [RANKS, ("trainer.prompts_per_step", 3)],
            "trainer.num_ranks 4 must be at most trainer.prompts_per_step 3",
        ),
        (
            [RANKS, ("policy", {"kind": "replay", "run": "runs/a"})],
            "trainer.num_ranks 4: a run with policy replay",
        ),
        ([("trainer.num_ranks", 0)], "trainer.num_ranks"),
        ([("trainer.rank_resources", {"GPU": -1.0})], "trainer.rank_resources"),
        ([("trainer.lora", {"rank": 0})], "trainer.lora.rank"),
        ([("trainer.lora", {"target_modules": []})], "trainer.lora.target_modules"),
        ([("trainer.lora", {"targets": ["q_proj"]})], "trainer.lora.targets"),
    ],
)
def test_training_that_cannot_be_is_refused(overrides: list[tuple[str, object]], message: str) -> None:
    assert message in refusal(*overrides)


@pytest.mark.parametrize("evaluation", [("trainer.eval_by", "students"), ("trainer.eval_every", 0)])
def test_ranks_need_somebody_else_to_evaluate(evaluation: tuple[str, object]) -> None:
    assert parse(RANKS, evaluation).trainer.num_ranks == 4


def test_an_empty_document_says_what_is_required() -> None:
    with pytest.raises(ConfigError, match=r"^name: this setting is required \(and 3 more\)$"):
        parse_config({})


def test_the_teachers_temperature_is_what_its_service_takes() -> None:
    for temperature in (0.0, wire.MIN_TEMPERATURE, wire.MAX_TEMPERATURE):
        config = TeacherConfig(temperature=temperature)
        prompt = wire.GeneratePrompt(token_ids=[1], max_tokens=1, seed=0)
        wire.GenerateRequest(prompts=[prompt], temperature=config.temperature, top_p=config.top_p, top_k=1)
    for temperature in (wire.MIN_TEMPERATURE / 2, wire.MAX_TEMPERATURE + 0.01):
        with pytest.raises(ValidationError):
            TeacherConfig(temperature=temperature)


def test_overrides_replace_and_add_and_leave_the_document_alone() -> None:
    document = copy.deepcopy(DOCUMENT)
    changed = with_overrides(
        document,
        [
            ("trainer.num_steps", 7),
            ("trainer.optimizer.learning_rate", 0.5),
            ("task.num_train", 3),
            ("student.model", "m"),
            ("trainer.num_steps", 8),
        ],
    )
    assert document == DOCUMENT
    config = parse_config(changed)
    assert config.trainer.num_steps == 8
    assert config.trainer.optimizer.learning_rate == 0.5
    assert (config.task.kind, config.task.num_train, config.student.model) == ("chain", 3, "m")


def test_an_override_below_a_section_that_is_empty() -> None:
    assert with_overrides({"trainer": None}, [("trainer.num_steps", 1)]) == {"trainer": {"num_steps": 1}}


@pytest.mark.parametrize("path", ["name.x", "name.x.y"])
def test_an_override_below_a_value_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="name is a single value"):
        with_overrides(DOCUMENT, [(path, 1)])


@pytest.mark.parametrize("path", [".x", "trainer..x"])
def test_an_override_with_an_empty_key_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="a key is missing"):
        with_overrides(DOCUMENT, [(path, 1)])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("2E5", 200_000.0),
        ("1.5e3", 1500.0),
        ("-1e-3", -0.001),
        (".5e1", 5.0),
        ("1.e+2", 100.0),
        ("10", 10),
        ("1.0", 1.0),
        ("true", True),
        ("null", None),
        ("", None),
        ("e3", "e3"),
        ("1e", "1e"),
        ("1e3x", "1e3x"),
        ("'1e-3'", "1e-3"),
        ("a=b", "a=b"),
        ("{path: x.jsonl}", {"path": "x.jsonl"}),
        ("[1e-1, 2]", [0.1, 2]),
    ],
)
def test_the_value_of_an_override_is_yaml_with_numbers_as_people_write_them(text: str, value: object) -> None:
    path, parsed = parse_override(f"a.b={text}")
    assert (path, parsed, type(parsed)) == ("a.b", value, type(value))


@pytest.mark.parametrize("text", ["trainer.num_steps", "=3", ""])
def test_an_override_without_key_or_value_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write key\.path=value"):
        parse_override(text)


def test_an_override_that_is_no_yaml_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"override 'a=\[1', line 1: not YAML"):
        parse_override("a=[1")


def config_file(folder: Path, text: str) -> Path:
    path = folder / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


MINIMAL = "name: run\ntask: {kind: chain}\nteacher: {}\nstudent: {model: m}\n"


def test_a_file_and_overrides(tmp_path: Path) -> None:
    path = config_file(tmp_path, MINIMAL + "trainer: {optimizer: {learning_rate: 1e-3}}\n")
    assert load_config(path).trainer.optimizer.learning_rate == 0.001
    config = load_config(path, ["trainer.optimizer.learning_rate=2e-4", "seed=5"])
    assert (config.trainer.optimizer.learning_rate, config.seed) == (0.0002, 5)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_what_is_written_is_read_again(path: Path, tmp_path: Path) -> None:
    config = load_config(path)
    write_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "must be a mapping"),
        ("- a\n- b\n", "must be a mapping"),
        ("name: run\ntask: [1\n", r"line 3: not YAML"),
        ("name: run\n\ttask: 1\n", r"line 2: not YAML"),
        ("a: !!python/object:os.system {}\n", r"line 1: not YAML: could not determine a constructor"),
    ],
)
def test_a_file_that_is_no_mapping_names_file_and_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = config_file(tmp_path, text)
    with pytest.raises(ConfigError, match=complaint) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_is_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nobody.yaml: No such file .* configs/"):
        load_config(tmp_path / "nobody.yaml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "latin.yaml")


@pytest.mark.parametrize("text", ["a=\x00", "a=2020-13-45", "a=!!int x", "a=" + "[" * 3000])
def test_values_that_yaml_itself_chokes_on_are_one_line(text: str) -> None:
    with pytest.raises(ConfigError, match="not YAML") as caught:
        parse_override(text)
    assert "\n" not in str(caught.value)
