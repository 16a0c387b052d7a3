"""``adaswitch eval``, and ``python -m services.evaluation``: its options, and the engines that may write."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adaswitch.processes.entry import INTERRUPTED, StopRequest, one_line_errors

if TYPE_CHECKING:
    from adaswitch.evaluation.request import EvalRequest

EXAMPLES = (
    "Examples: adaswitch eval --model runs/demo/checkpoints/step-200 --config configs/demo.yaml; "
    "adaswitch eval --model DIR --task gsm_plus --data testmini.jsonl --num-samples 4 --temperature 1"
)

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command(epilog=EXAMPLES)
def main(
    model: Annotated[str, typer.Option(help="A model folder or checkpoint in Hugging Face format.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings as key.path=value: the run's with --config, the task's with --task."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The run whose held-out prompts are used.")] = None,
    task: Annotated[
        str | None,
        typer.Option(
            help="Or a task: chain, gsm8k, gsm_plus, dialogsum, jsonl, or your own as module:Class."
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="A file with one record, a JSON object, per line.")] = None,
    teacher: Annotated[
        str | None, typer.Option(help="Also print the divergence from this model, in nats per token.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Keep results.json and completions.jsonl in this new folder.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only this number of first prompts.")] = None,
    num_samples: Annotated[int, typer.Option(min=1, help="Completions per prompt; their mean counts.")] = 1,
    temperature: Annotated[float, typer.Option(min=0.0, help="Sampling temperature; 0 is greedy.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of the sampling.")] = 0,
    max_new_tokens: Annotated[
        int | None, typer.Option(min=1, help="Most tokens in a completion; by default as in the run or task.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Completions that transformers writes together.")
    ] = 16,
    dtype: Annotated[str, typer.Option(help="Number type: float32 or bfloat16.")] = "float32",
    device: Annotated[str, typer.Option(help="Device: auto, cpu or cuda.")] = "auto",
    engine: Annotated[
        str | None,
        typer.Option(
            help="What writes: auto, transformers or vllm; by default as the run's student, or auto."
        ),
    ] = None,
    kv_cache_gib: Annotated[
        float | None, typer.Option(min=0.001, help="Memory for vLLM's cache on CPU, in GiB.")
    ] = None,
    gpu_memory_utilization: Annotated[
        float | None, typer.Option(min=0.01, max=1.0, help="The share of a GPU's memory that vLLM may take.")
    ] = None,
    num_threads: Annotated[
        str | None, typer.Option(help="CPU threads, or auto; by default those of the run's trainer, or auto.")
    ] = None,
) -> None:
    """Answer held-out prompts with any model and mark the answers, with 95 % intervals."""
    with one_line_errors():
        from adaswitch.config.threads import number_or_auto
        from adaswitch.evaluation.request import EvalRequest, choose_prompts

        prompts = choose_prompts(config, task, data, overrides or [])
        request = EvalRequest(
            model=model,
            task=prompts.task,
            limit=limit or prompts.limit,
            max_new_tokens=max_new_tokens or prompts.max_new_tokens,
            batch_size=batch_size,
            num_samples=num_samples,
            temperature=temperature,
            seed=seed,
            dtype=dtype,
            device=device,
            num_threads=prompts.num_threads if num_threads is None else number_or_auto(num_threads),
            teacher=teacher,
            output=output,
            stop_token_ids=prompts.stop_token_ids,
            run_teacher=prompts.run_teacher,
            engine=engine or prompts.engine,
            vllm=prompts.vllm.with_options(kv_cache_gib, gpu_memory_utilization),
        )
        _carry_out(request)


def _carry_out(request: "EvalRequest") -> None:
    should_stop = StopRequest().install()

    from rich.console import Console

    from adaswitch.evaluation.command import run_eval
    from services.evaluation.on_vllm import on_vllm

    if not run_eval(request, Console(), should_stop, on_vllm):
        raise SystemExit(INTERRUPTED)


if __name__ == "__main__":
    app(prog_name="adaswitch eval")
