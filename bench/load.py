"""``python -m bench.load``: many clients ask a teacher service at once, some of them unruly, for as long as you like.

Each client asks for scores and continuations at random; some requests are given up midway, some are wrong on
purpose. A share of the good answers is compared with transformers. At the end one JSON object is printed: what was
answered, how fast, and how much the memory of the service and its engine grew. The exit code is 1 if anything was
not as it should be.

Example:

    python -m bench.load --clients 64 --seconds 600
"""

import asyncio
import tempfile
from pathlib import Path

from adaswitch.processes.entry import one_line_errors
from bench.command import command_line


def main() -> None:
    """Start a service, let the clients ask it, and print the report."""
    parser = command_line("bench.load", __doc__)
    parser.add_argument("--clients", type=int, default=64, help="number of clients (default: 64)")
    parser.add_argument(
        "--seconds", type=float, default=600.0, help="how many seconds the clients ask (default: 600)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="random seed of what the clients ask (default: 0)"
    )
    parser.add_argument(
        "--engine",
        choices=["vllm", "transformers"],
        default="vllm",
        help="engine of the service (default: vllm)",
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
