"""Row ``decoding``: the CPU time of a step in which 32 sequences get a token, on vLLM and on transformers.

Each engine is a process of its own, which works when it is asked to: the two take turns.
"""

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from adaswitch.errors import EnvironmentProblem
from adaswitch.processes.entry import program
from bench.methods.pairs import ROOT
from bench.methods.rows import compared
from bench.models import Shape, make_model
from bench.servers import say

SHAPE = Shape(49_152, hidden_size=576, num_layers=15, num_heads=9, num_kv_heads=3, intermediate_size=1536)
"""81M parameters: half the layers of SmolLM2-135M."""


def measure(folder: Path, num_rounds: int) -> None:
    """Print the row."""
    model = make_model(folder / "decoding", SHAPE)
    with ExitStack() as stack:
        writers = {name: stack.enter_context(Writer(name, model)) for name in ("vllm", "transformers")}
        rounds: dict[str, list[float]] = {name: [] for name in writers}
        for number in range(num_rounds + 1):
            for name, writer in writers.items():
                cpu_ms = writer.cpu_ms_a_step()
                if number:  # the first round warms up
                    rounds[name].append(cpu_ms)
            say(f"decoding: round {number} of {num_rounds}")
    title = "decoding, 81M, batch 32, with outcomes: vLLM against transformers"
    row = compared(title, rounds["vllm"], rounds["transformers"], "CPU-ms a step", 0.6, at_least=False)
    print(row.line(), flush=True)


class Writer:
    """``bench.methods.writer`` as a process: a line in starts a round, a line out is its result."""

    def __init__(self, engine: str, model: Path) -> None:
        command = program("bench.methods.writer", [engine, str(model)])
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def cpu_ms_a_step(self) -> float:
        """The CPU milliseconds of a step, as the median of one round of 64 steps."""
        stdin, stdout = self._pipes()
        stdin.write("go\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise EnvironmentProblem(f"the writer ended with exit code {self._process.wait()}; see above")
        return float(json.loads(line)["cpu_ms_a_step"])

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout
