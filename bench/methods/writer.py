"""A student's engine that writes a round for each line of standard input: ``python -m bench.methods.writer``.

Each round has 32 prompts of 32 tokens, which get 64 tokens each, and is asked for the log-probabilities of 64
candidates of each token. Prints a JSON object with ``cpu_ms_a_step`` for each round.

Example:

    echo go | python -m bench.methods.writer transformers models/chain-student
"""

import asyncio
import contextlib
import itertools
import json
import sys
import time
from typing import TYPE_CHECKING

from adaswitch.processes.entry import one_line_errors
from bench.command import command_line

if TYPE_CHECKING:
    from services.student.engine_calls import EngineCalls

BATCH, PROMPT_TOKENS, NEW_TOKENS, CANDIDATES = 32, 32, 64, 64


def main() -> None:
    """Load the engine, and write whenever a line comes."""
    parser = command_line("bench.methods.writer", __doc__)
    parser.add_argument("engine", choices=["transformers", "vllm"])
    parser.add_argument("model", help="the student's model folder")
    arguments = parser.parse_args()
    with one_line_errors():
        from adaswitch.processes.cores import compute_with

        compute_with(1)
        # vLLM prints to standard output, which is for the results.
        results = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            engine, vocab_size = _engine(arguments.engine, arguments.model)
            loop = asyncio.new_event_loop()
            for number, _ in enumerate(sys.stdin):
                cpu_s = loop.run_until_complete(_round(engine, vocab_size, number))
                print(json.dumps({"cpu_ms_a_step": 1000 * cpu_s / NEW_TOKENS}), file=results, flush=True)


def _engine(name: str, model: str) -> "tuple[EngineCalls, int]":
    from adaswitch.config.student import StudentConfig
    from adaswitch.data.models import load_tokenizer
    from adaswitch.data.run_models import student_vocabulary
    from services.student.engine_calls import calls_of
    from services.student.engines import make_engine
    from services.student.engines.engine import Sampling

    config = StudentConfig.model_validate({"model": model, "engine": name, "num_threads": 1})
    vocab_size = student_vocabulary(model, load_tokenizer(model)).size
    length = PROMPT_TOKENS + NEW_TOKENS + 1
    engine = make_engine(config, vocab_size, Sampling(0, 1.0, ()), length, "cpu", print)
    return calls_of(engine), vocab_size


async def _round(engine: "EngineCalls", vocab_size: int, number: int) -> float:
    """The CPU seconds of a round, without those in which its prompts and candidates are made up."""
    import torch

    from adaswitch.method.prompt import Prompt
    from services.student.engines.engine import WriteRequest

    torch.manual_seed(number)
    tokens = torch.randint(3, vocab_size, (BATCH, PROMPT_TOKENS)).tolist()
    ids = itertools.count(number * BATCH)
    prompts = [Prompt(next(ids), tuple(row)) for row in tokens]
    candidates = torch.rand(BATCH * NEW_TOKENS, vocab_size).topk(CANDIDATES).indices.split(NEW_TOKENS)
    started_s = time.process_time()
    chunks = await engine.write([WriteRequest(prompt, (), NEW_TOKENS) for prompt in prompts])
    for chunk, ids_of_chunk in zip(chunks, candidates, strict=True):
        await chunk.rows.outcomes(ids_of_chunk[: len(chunk.token_ids)])
    await engine.forget([prompt.id for prompt in prompts])
    return time.process_time() - started_s


if __name__ == "__main__":
    main()
