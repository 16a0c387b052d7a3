"""The command line. It starts the services and the trainer as processes, and imports none of them.

Nothing heavy is imported at the top, so that ``--help`` answers at once.
"""

import os
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from adaswitch.processes.entry import (
    INTERRUPTED,
    StopRequest,
    one_line_errors,
    program,
    program_environment,
)

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Adaptive-switching knowledge distillation of language models.",
    epilog="Example: adaswitch demo",
)

Overrides = Annotated[list[str] | None, typer.Argument(help="Settings as key.path=value.")]
Config = Annotated[Path, typer.Option(help="A YAML file with the run's settings.")]
Run = Annotated[Path, typer.Argument(help="A run directory, as in runs/demo.")]

STOPPING = (
    "stopping: the trainer saves what was trained, then all ends; once more ends at once, without saving"
)
DEMO_CONFIG = Path("configs/demo.yaml")


def _print_version(asked: bool) -> None:
    if asked:
        from adaswitch.version import __version__

        print(f"adaswitch {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """The options that every command shares."""


@app.command(epilog="Example: adaswitch demo trainer.num_steps=50 policy.factor=2")
def demo(overrides: Overrides = None, config: Config = DEMO_CONFIG) -> None:
    """Distil a student on this machine in a few minutes, and show that the student got better."""
    _run_locally(config, overrides or [], new_name=True)


@app.command(epilog="Example: adaswitch run --config configs/gsm8k-smollm2-cpu.yaml name=first-try")
def run(
    config: Config,
    overrides: Overrides = None,
    new_name: Annotated[
        bool, typer.Option("--new-name", help="If a run has the name, begin another: name-2, name-3, ..")
    ] = False,
) -> None:
    """Run teacher, Ray, students and trainer on this machine, by a config. Goes on with a run of the same name."""
    _run_locally(config, overrides or [], new_name)


@app.command(epilog="Example: adaswitch sft --config configs/paper/gsm8k-qwen2.5.yaml")
def sft(
    config: Config,
    overrides: Overrides = None,
    new_name: Annotated[
        bool, typer.Option("--new-name", help="Begin another fine-tuning beside one that was begun already.")
    ] = False,
) -> None:
    """Make the student of a config: fine-tune its warm_start.model on the task's own answers. Goes on if stopped."""
    with one_line_errors():
        should_stop = StopRequest(patient=True, words=STOPPING).install()

        from adaswitch.commands.sft import command_line, make_student
        from adaswitch.runs.config_files import load_config

        settings, command = load_config(config, overrides or []), command_line(config, overrides or [])
        if not make_student(
            settings, should_stop, command, lambda line: print(line, flush=True), new_name=new_name
        ):
            raise SystemExit(INTERRUPTED)


def _run_locally(config: Path, overrides: list[str], new_name: bool) -> None:
    with one_line_errors():
        # First of all, so that a signal finds somebody to answer, however early it comes.
        should_stop = StopRequest(patient=True, words=STOPPING).install()

        from adaswitch.commands.progress import follow_local_run
        from adaswitch.runs.opening import load_settings

        settings = load_settings(config, overrides, new_name=new_name)
        if not follow_local_run(settings, should_stop):
            raise SystemExit(INTERRUPTED)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    epilog="Example: adaswitch teacher --model models/chain-teacher --engine vllm --port 8000",
)
def teacher(context: typer.Context) -> None:
    """Serve a teacher model: the same as python -m services.teacher."""
    _become("services.teacher", context.args)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    epilog="Example: adaswitch student --config configs/demo.yaml",
)
def student(context: typer.Context) -> None:
    """Start a run's rollout actors on a Ray cluster: the same as python -m services.student."""
    _become("services.student", context.args)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    epilog="Example: adaswitch train --config configs/demo.yaml",
)
def train(context: typer.Context) -> None:
    """Train on what the rollout queue delivers: the same as python -m trainer."""
    _become("trainer", context.args)


@app.command(
    name="eval",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    epilog="Example: adaswitch eval --model runs/demo/checkpoints/step-200 --config configs/demo.yaml",
)
def evaluate(context: typer.Context) -> None:
    """Answer held-out prompts with any model and mark the answers: the same as python -m services.evaluation."""
    _become("services.evaluation", context.args)


@app.command(
    epilog="Examples: adaswitch export runs/demo --to my-student; adaswitch export runs/demo --push ORG/my-student"
)
def export(
    run: Run,
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder for the model, which is made.")
    ] = None,
    push: Annotated[
        str | None, typer.Option(metavar="ORG/NAME", help="A repository on the Hugging Face hub.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="With --push: the repository is private if it is made.")
    ] = False,
    step: Annotated[
        int | None, typer.Option(help="The step of the checkpoint; by default the newest whole one.")
    ] = None,
    gguf: Annotated[
        bool, typer.Option("--gguf", help="Write a GGUF file as well, with llama.cpp's converter.")
    ] = False,
) -> None:
    """Write a run's trained model, with tokenizer and model card, into a folder, or put it on the hub."""
    with one_line_errors():
        from adaswitch.commands.export import ExportRequest, export_model

        export_model(ExportRequest(run, to, push, private, step, gguf), lambda line: print(line, flush=True))


@app.command(
    epilog="Examples: adaswitch chat runs/demo; adaswitch chat runs/demo --beside models/chain-teacher"
)
def chat(
    model: Annotated[
        str, typer.Argument(help="A run directory, one of its checkpoints, any model folder, or a hub name.")
    ],
    beside: Annotated[
        str | None,
        typer.Option(metavar="OTHER", help="A second model, such as the teacher, to compare with."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="A run's settings, for how to ask; by default those of the model's run."),
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0.0, help="The sampling temperature; at 0 the most likely token is taken.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="The seed of what is drawn.")] = 0,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="The longest answer in tokens; by default that of the run.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="The number type: float32, bfloat16 or float16.")] = "float32",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Talk to a student, a line at a time; beside another model, with the divergence of the two at each token."""
    with one_line_errors():
        from adaswitch.commands.chat import ChatRequest, talk

        request = ChatRequest(model, beside, config, temperature, seed, max_new_tokens, dtype, device)
        talk(request)


@app.command(epilog="Example: adaswitch runs")
def runs(
    runs_dir: Annotated[Path, typer.Argument(help="The folder that holds the runs.")] = Path("runs"),
) -> None:
    """Print a table of all runs: how far each is, how it ended, its newest score."""
    with one_line_errors():
        from rich.console import Console

        from adaswitch.commands.runs import show_runs

        show_runs(runs_dir, Console())


@app.command(epilog="Example: adaswitch report runs/demo")
def report(run: Run) -> None:
    """Print the summary of a run: where it stands, exact match before and after, switching, tokens, time."""
    with one_line_errors():
        from rich.console import Console

        from adaswitch.commands.runs import show_report

        show_report(run, Console())


@app.command(
    epilog="Examples: adaswitch inspect runs/demo --step 150 --num 3; "
    "adaswitch inspect --prompts configs/demo.yaml --num 2"
)
def inspect(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="A run directory, as in runs/demo; with --prompts, settings as key.path=value.",
            show_default=False,
        ),
    ] = None,
    step: Annotated[int | None, typer.Option(help="The step to look at; by default the last.")] = None,
    num: Annotated[int, typer.Option(min=1, help="How many rollouts or prompts to print.")] = 4,
    switched: Annotated[bool, typer.Option("--switched", help="Print only rollouts that switched.")] = False,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="CONFIG", help="Print the first prompts of this config instead: as text and in tokens."
        ),
    ] = None,
) -> None:
    """Print rollouts in colour: the student's tokens, the switch, the teacher's tokens, divergence and threshold."""
    with one_line_errors():
        from rich.console import Console

        from adaswitch.errors import ConfigError

        if prompts is not None:
            from adaswitch.commands.show_prompts import show_prompts

            if step is not None or switched:
                raise ConfigError("--prompts shows what a run will ask: leave --step and --switched out")
            show_prompts(prompts, arguments or [], num, Console())
            return
        if arguments is None or len(arguments) != 1:
            raise ConfigError("give one run directory, as in runs/demo, or --prompts CONFIG")
        from adaswitch.commands.inspect import show_rollouts

        show_rollouts(Path(arguments[0]), step, num, switched, Console())


@app.command(epilog="Examples: adaswitch page runs/demo --out demo.html; adaswitch page runs/demo-warm")
def page(
    run: Annotated[
        Path,
        typer.Argument(help="A run directory, as in runs/demo, or the folder of a comparison."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The file to write; by default page.html in the run's folder.")
    ] = None,
) -> None:
    """Write a run, or a comparison, as one HTML file: results, curves, rollouts, settings. Needs no network."""
    with one_line_errors():
        from rich.console import Console

        from adaswitch.runs.overview import is_comparison, is_run

        if is_comparison(run) and not is_run(run):
            _become("experiments.page", [str(run), *(() if out is None else ("--out", str(out)))])
        from adaswitch.commands.page import write_page

        write_page(run, out, Console())


@app.command(epilog="Example: adaswitch watch runs/demo")
def watch(
    run: Run,
    port: Annotated[int, typer.Option(min=1, max=65_535, help="The port on this machine.")] = 8090,
) -> None:
    """Serve the page of a run on this machine alone, and let it follow the run while it is under way."""
    with one_line_errors():
        from rich.console import Console

        from adaswitch.commands.page import watch_run

        watch_run(run, port, Console())


@app.command(
    epilog="Examples: adaswitch doctor; adaswitch doctor runs/demo; "
    "adaswitch doctor --teacher http://127.0.0.1:8000 --against models/chain-teacher"
)
def doctor(
    run: Annotated[Path | None, typer.Argument(help="A run directory: is its switching healthy?")] = None,
    teacher: Annotated[str | None, typer.Option(help="A teacher's address: is it what it says?")] = None,
    against: Annotated[
        str | None, typer.Option(help="With --teacher: a folder with the same model, to compare with.")
    ] = None,
) -> None:
    """Say what is installed, what is missing and how to get it; or what is wrong with a run, or with a teacher."""
    with one_line_errors():
        from rich.console import Console

        if run is not None:
            from adaswitch.commands.runs import show_health

            show_health(run, Console())
            return
        from adaswitch.commands.doctor import INSTALLATION, check_installation, render

        if teacher is not None:
            from adaswitch.commands.teacher_doctor import TEACHER, check_url
            from adaswitch.processes.progress import ShownProgress

            with ShownProgress(Console(stderr=True)) as progress:
                findings, verdict = check_url(teacher, against, progress), TEACHER
        else:
            findings, verdict = check_installation(), INSTALLATION
        render(findings, Console(), verdict)
        raise SystemExit(0 if all(finding.ok is not False for finding in findings) else 1)


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
    epilog="Example: adaswitch compare --plan experiments/plans/demo-warm.yaml --local --jobs 2",
)
def compare(context: typer.Context) -> None:
    """Run several methods with several seeds, and make a table and pictures: the same as python -m experiments."""
    _become("experiments", context.args)


@app.command(
    name="config",
    epilog="Examples: adaswitch config; adaswitch config trainer.optimizer; adaswitch config --schema > schema.json",
)
def settings(
    path: Annotated[str, typer.Argument(help="Only the settings at this path and below it.")] = "",
    schema: Annotated[bool, typer.Option("--schema", help="Print a JSON schema, for editors.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page docs/settings.md.")] = False,
) -> None:
    """Print every setting of a run with its type, its default and its meaning."""
    with one_line_errors():
        from adaswitch.commands import settings as page
        from adaswitch.errors import ConfigError

        if schema + markdown + bool(path) > 1:
            raise ConfigError("give only one of PATH, --schema and --markdown: the last two print everything")
        if schema or markdown:
            print(page.schema() if schema else page.markdown(), end="")
            return
        from rich.console import Console

        page.print_settings(page.settings_below(path), Console())


def _become(module: str, arguments: list[str]) -> NoReturn:
    """Replace this process, so that signals and exit code are the module's own."""
    command = program(module, arguments)
    os.execve(command[0], command, program_environment())


def main() -> None:
    """Entry point of the ``adaswitch`` command."""
    app()
