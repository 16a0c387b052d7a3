"""``python -m bench.scaling``: how throughput grows with students, teachers and trainers.

Prints one JSON object a line on standard output. Rows named ``crowd`` show how many rollouts a second the queue and
the trainer can carry; the students' models only wait as long as real ones would compute. Rows named ``weights`` show
how long large weights take from the trainer to a student. With ``--run``, rows named ``run`` show the pace of each
part of a finished run, measured by itself, and the step time that follows from them beside the recorded step time.
With ``--fleets``, rows named ``fleet`` predict the throughput of larger fleets.

Example:

    python -m bench.scaling --students 1 10 100 --run runs/demo > results.jsonl
"""

import asyncio
import json
import os
from dataclasses import asdict

from adaswitch.processes.entry import one_line_errors
from bench.command import command_line


def main() -> None:
    """Measure, and print a line for each result."""
    parser = command_line("bench.scaling", __doc__)
    parser.add_argument(
        "--students",
        type=int,
        nargs="+",
        default=[1, 10, 30, 100],
        help="numbers of students to measure, one row for each (default: 1 10 30 100)",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=30.0,
        help="how long each crowd of students is measured (default: 30)",
    )
    parser.add_argument(
        "--weights-mib", type=int, default=1024, help="size in MiB of the weights to send (default: 1024)"
    )
    parser.add_argument("--run", help="the directory of a finished run, which ran on this machine")
    parser.add_argument(
        "--fleets",
        type=_fleet,
        nargs="+",
        default=[],
        metavar="S,T,R",
        help="with --run: predict the throughput of S students, T teachers and R trainers, each on a machine like this",
    )
    arguments = parser.parse_args()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with one_line_errors():
        measure(arguments.students, arguments.seconds, arguments.weights_mib, arguments.run, arguments.fleets)


def _fleet(text: str) -> tuple[int, int, int]:
    students, teachers, trainers = (int(number) for number in text.split(","))
    return students, teachers, trainers


def measure(
    students: list[int],
    seconds: float,
    weights_mib: int,
    run_folder: str | None,
    fleets: list[tuple[int, int, int]],
) -> None:
    """Measure and print all rows. The ``run`` rows use the queue's pace with the last number of students."""
    from bench.scaling_crowd import Tempo, a_cluster, hold, travel
    from bench.scaling_model import Fleet, bound, stage_seconds, synchronous_step_s
    from bench.scaling_parts import RecordedRun, measure_paces

    run = RecordedRun(run_folder) if run_folder else None
    with a_cluster(weights_mib):
        for number in students:
            row = hold(number, seconds, Tempo())
            _print("crowd", **asdict(row))
        for dtype in ("float32", "bfloat16"):
            _print("weights", **asdict(travel(weights_mib, dtype)))
    if run is not None:
        paces = asyncio.run(measure_paces(run, 1 / row.queue_cpu_s))
        fleet = Fleet(run.config.student.num_actors)
        predicted_s = synchronous_step_s(
            run.work, paces, fleet, run.config.trainer.prompts_per_step, run.median_s("publish_s")
        )
        _print("run", **asdict(run.work), **{f"{name}_pace": pace for name, pace in asdict(paces).items()})
        _print("run", **stage_seconds(run.work, paces, fleet))
        _print("run", predicted_step_s=predicted_s, step_s=run.median_s("step_s"))
        for sizes in fleets:
            stage, rollouts_s = bound(run.work, paces, Fleet(*sizes))
            _print("fleet", **asdict(Fleet(*sizes)), slowest=stage, rollouts_s=rollouts_s)


def _print(row: str, **values: object) -> None:
    rounded = {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}
    print(json.dumps({"row": row, **rounded}), flush=True)


if __name__ == "__main__":
    main()
