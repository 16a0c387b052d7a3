"""``python -m bench.load``: many clients at once, some of them unruly, for as long as you like.

Each client asks for scores and continuations in turn; some requests are given up midway, some are wrong on
purpose. Good answers are compared with transformers now and then. At the end one JSON object: what was answered,
how fast, and how the memory of the service and of its engine grew. Exit code 1 if anything was not as it should be.

Example:

    python -m bench.load --clients 64 --seconds 600
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from adaswitch.processes.entry import one_line_errors


def main() -> None:
    """Start a service, set the clients on it, and say what came of it."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--clients", type=int, default=64, help="clients at once (64)")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (600)")
    parser.add_argument("--seed", type=int, default=0, help="of what they ask (0)")
    parser.add_argument(
        "--engine", choices=["vllm", "transformers"], default="vllm", help="of the service (vllm)"
    )
    arguments = parser.parse_args()
    with one_line_errors(), tempfile.TemporaryDirectory() as folder:
        from bench.load_clients import hold

        report = asyncio.run(
            hold(Path(folder), arguments.clients, arguments.seconds, arguments.seed, arguments.engine)
        )
        print(report.line(), flush=True)
        if report.problems:
            raise SystemExit(1)


if __name__ == "__main__":
    main()
