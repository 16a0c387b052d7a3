"""``python -m services.teacher``: serves a model as the teacher of a run."""

import argparse
import asyncio
import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from adaswitch.errors import ConfigError
from adaswitch.processes.entry import one_line_errors

if TYPE_CHECKING:
    import socket

    from adaswitch.config.teacher import TeacherServiceConfig
    from services.teacher.http.keys import KeyRing

EXAMPLES = """\
Examples:
  python -m services.teacher --model models/chain-teacher --port 8000
  python -m services.teacher --model models/chain-teacher --engine transformers --dtype float32
  python -m services.teacher --config configs/demo.yaml teacher.serve.port=9000
  curl -s localhost:8000/v1/score -d '{"sequences": [{"token_ids": [1, 5, 7], "start": 1}], "top_k": 3}'

A --config file can give every setting of teacher.serve; an option on the command line overrides the file.
If the environment variable ADASWITCH_API_KEY is set (several keys are separated by commas), or --api-keys-file is
given (one key a line; SIGHUP makes the service read the file again), clients must send one of the keys as their
bearer key.
"""
KEY_VARIABLE = "ADASWITCH_API_KEY"


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line. The result has no attribute for an option that was not given."""
    parser = argparse.ArgumentParser(
        prog="python -m services.teacher",
        description="Serve a language model as the teacher: its log-probabilities and its own continuations.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="settings that override the --config file"
    )
    parser.add_argument(
        "--config", metavar="FILE", help="a run's configuration; only its teacher.serve is used"
    )
    parser.add_argument(
        "--model", metavar="DIR", help="a Hugging Face model folder, or a model's name on the hub"
    )
    parser.add_argument(
        "--engine", choices=["vllm", "transformers"], help="the library that runs the model (default: vllm)"
    )
    parser.add_argument("--host", help="address to bind (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to bind (default: 8000)")
    _add_engine_options(parser)
    parser.add_argument(
        "--drain-timeout-s",
        type=float,
        metavar="S",
        help="seconds that running requests may still take after SIGTERM (default: 30)",
    )
    parser.add_argument("--api-keys-file", metavar="FILE", help="a file of bearer keys, one key a line")
    parser.add_argument(
        "--no-access-log", dest="access_log", action="store_false", help="do not log a line for each request"
    )
    parser.add_argument(
        "--insecure", action="store_true", help="let other machines reach the service without a key"
    )
    return parser.parse_args(arguments)


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    from adaswitch.config.threads import number_or_auto

    parser.add_argument(
        "--dtype",
        choices=["auto", "float32", "bfloat16", "float16"],
        help="number type of the model; auto is the type that the model folder names (default: auto)",
    )
    parser.add_argument(
        "--max-model-len",
        type=int,
        metavar="N",
        help="longest sequence in tokens (default: what the model takes)",
    )
    parser.add_argument(
        "--vocab-size",
        type=int,
        metavar="N",
        help="number of token ids that distributions are over (default: all, or those of the run's student)",
    )
    parser.add_argument(
        "--max-top-k",
        type=int,
        metavar="N",
        help="most log-probabilities in one distribution (default: 256)",
    )
    parser.add_argument(
        "--kv-block-size",
        type=int,
        metavar="N",
        help="number of tokens in a block of vLLM's prefix cache (default: vLLM's own)",
    )
    parser.add_argument(
        "--num-threads",
        type=number_or_auto,
        metavar="N",
        help="number of threads that the engine uses on a CPU, or auto (default: auto)",
    )
    parser.add_argument(
        "--speculative",
        metavar="DRAFT",
        help="a draft for what the teacher writes: ngram, or a small model's folder (default: none)",
    )
    parser.add_argument(
        "--speculative-tokens",
        type=int,
        metavar="N",
        help="number of tokens that the draft proposes at a time (default: 4)",
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the service. Raises ``SystemExit`` with the exit code that belongs to the error."""
    options = parse_arguments(arguments)
    with one_line_errors():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    """Check everything that can be checked before a heavy import, then run the service."""
    from adaswitch.config.threads import counted_threads
    from adaswitch.contract.keys import split_keys
    from adaswitch.data.model_folder import check_model_folder
    from adaswitch.data.threads import teacher_threads
    from adaswitch.processes.cores import num_cores
    from services.teacher.http.binding import bind, check_binding
    from services.teacher.http.keys import KeyRing
    from services.vllm.environment import check_vllm_installed, set_environment

    config, student = _config(options)
    keys = KeyRing(split_keys(os.environ.get(KEY_VARIABLE, "")), config.api_keys_file)
    check_model_folder(config.model, "model")
    if config.draft_model is not None:
        check_model_folder(config.draft_model, "speculative")
    check_binding(config, bool(keys))
    num_threads = teacher_threads(config, num_cores())
    if config.engine == "vllm":
        check_vllm_installed("engine", "use --engine transformers")
        set_environment(num_threads)
    with bind(config) as bound:
        print(
            f"loading {config.model} on {config.engine} with {counted_threads(num_threads)} ...", flush=True
        )
        if student is not None:
            from adaswitch.data.run_models import cut_to_student

            config = cut_to_student(config, student)
        _serve(config, keys, bound)


def _config(options: argparse.Namespace) -> "tuple[TeacherServiceConfig, str | None]":
    """The settings: ``teacher.serve`` of the ``--config`` file, if one is given, overridden by the options.

    The second is the student's model by that file; None without a file.
    """
    from pydantic import ValidationError

    from adaswitch.config.parsing import describe
    from adaswitch.config.teacher import TeacherServiceConfig
    from adaswitch.runs.config_files import load_config

    given = vars(options)
    path, overrides = given.pop("config", None), given.pop("overrides", [])
    document: dict[str, object] = {}
    student: str | None = None
    if path is not None:
        run = load_config(path, overrides)
        served = run.teacher.serve
        document = served.model_dump() if served is not None else {}
        student = run.student.model
    elif overrides:
        raise ConfigError(f"{overrides[0]}: overrides change what --config FILE says; give one")
    document |= given
    if "model" not in document:
        raise ConfigError(
            "model: say which to serve with --model DIR, or with teacher.serve.model in --config"
        )
    try:
        return TeacherServiceConfig.model_validate(document), student
    except ValidationError as error:
        raise ConfigError(describe(error, TeacherServiceConfig)) from None


def _serve(config: "TeacherServiceConfig", keys: "KeyRing", bound: "socket.socket") -> None:
    from services.teacher.engines import make_engine
    from services.teacher.engines.engine import is_starting
    from services.teacher.engines.vllm.processes import end_descendants
    from services.teacher.http.app import create_app
    from services.teacher.serve import serve

    say = partial(print, flush=True)
    app = create_app(make_engine(config), config, keys, say if config.access_log else lambda line: None)
    try:
        asyncio.run(serve(app, bound, config, keys, say))
    finally:
        end_descendants()
    if is_starting():
        # The thread that loads the model cannot be stopped, and the interpreter must not shut down under it.
        os._exit(0)


if __name__ == "__main__":
    main()
