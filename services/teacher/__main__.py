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

    from adaswitch.config import TeacherServiceConfig
    from services.teacher.http.keys import KeyRing

EXAMPLES = """\
Examples:
  python -m services.teacher --model models/chain-teacher --port 8000
  python -m services.teacher --model models/chain-teacher --engine transformers --dtype float32
  python -m services.teacher --config configs/demo.yaml teacher.serve.port=9000
  curl -s localhost:8000/v1/score -d '{"sequences": [{"token_ids": [1, 5, 7], "start": 1}], "top_k": 3}'

Every setting of teacher.serve can be given with --config; options on the command line win.
With ADASWITCH_API_KEY in the environment (several: with commas), or --api-keys-file (one a line, read again on
SIGHUP), clients must send one of the keys as their bearer key.
"""
KEY_VARIABLE = "ADASWITCH_API_KEY"


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line. What was not given is not in the result."""
    parser = argparse.ArgumentParser(
        prog="python -m services.teacher",
        description="Serve a language model as the teacher: its log-probabilities and its own continuations.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="overrides of --config")
    parser.add_argument("--config", metavar="FILE", help="a run's configuration; teacher.serve is taken")
    parser.add_argument("--model", metavar="DIR", help="Hugging Face model folder, or a name on the hub")
    parser.add_argument("--engine", choices=["vllm", "transformers"], help="what runs the model (vllm)")
    parser.add_argument("--host", help="address to bind (127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to bind (8000)")
    parser.add_argument(
        "--dtype", choices=["auto", "float32", "bfloat16", "float16"], help="auto is the model folder's own"
    )
    parser.add_argument("--max-model-len", type=int, metavar="N", help="longest sequence in tokens")
    parser.add_argument("--max-top-k", type=int, metavar="N", help="most log-probabilities a row (256)")
    parser.add_argument(
        "--kv-block-size", type=int, metavar="N", help="tokens in a block of vLLM's prefix cache (vLLM's own)"
    )
    parser.add_argument("--num-threads", type=int, metavar="N", help="threads of the engine on CPU (1)")
    parser.add_argument(
        "--drain-timeout-s", type=float, metavar="S", help="what requests may take after SIGTERM (30)"
    )
    parser.add_argument("--api-keys-file", metavar="FILE", help="bearer keys, one a line")
    parser.add_argument("--no-access-log", dest="access_log", action="store_false", help="no line a request")
    parser.add_argument("--insecure", action="store_true", help="bind beyond loopback without a key")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the service. Raises ``SystemExit`` with the exit code of what went wrong."""
    options = parse_arguments(arguments)
    with one_line_errors():
        _run(options)


def _run(options: argparse.Namespace) -> None:
    """All that can be checked before anything heavy is imported, then the service."""
    from adaswitch.contract.keys import split_keys
    from adaswitch.data.model_folder import check_model_folder
    from services.teacher.engines.vllm.environment import check_vllm_installed, set_environment
    from services.teacher.http.binding import bind, check_binding
    from services.teacher.http.keys import KeyRing

    config = _config(options)
    keys = KeyRing(split_keys(os.environ.get(KEY_VARIABLE, "")), config.api_keys_file)
    check_model_folder(config.model, "model")
    check_binding(config, bool(keys))
    if config.engine == "vllm":
        check_vllm_installed()
        set_environment(config)
    with bind(config) as bound:
        print(f"loading {config.model} on {config.engine} ...", flush=True)
        _serve(config, keys, bound)


def _config(options: argparse.Namespace) -> "TeacherServiceConfig":
    """``teacher.serve`` of ``--config``, if given, with the options over it."""
    from pydantic import ValidationError

    from adaswitch.config import TeacherServiceConfig, describe
    from adaswitch.runs.config_files import load_config

    given = vars(options)
    path, overrides = given.pop("config", None), given.pop("overrides", [])
    document: dict[str, object] = {}
    if path is not None:
        served = load_config(path, overrides).teacher.serve
        document = served.model_dump() if served is not None else {}
    elif overrides:
        raise ConfigError(f"{overrides[0]}: overrides change what --config FILE says; give one")
    document |= given
    if "model" not in document:
        raise ConfigError(
            "model: say which to serve with --model DIR, or with teacher.serve.model in --config"
        )
    try:
        return TeacherServiceConfig.model_validate(document)
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
        # The thread that loads cannot be stopped, and the interpreter must not be taken down around it.
        os._exit(0)


if __name__ == "__main__":
    main()
