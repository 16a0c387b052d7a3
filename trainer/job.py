"""From a config to a ``Job``: the data, the model, the step to resume from, the connection to the students."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from adaswitch.cluster import actors
from adaswitch.config.run import RunConfig
from adaswitch.config.threads import counted_threads
from adaswitch.contract.fingerprint import tokenizer_sha256
from adaswitch.data.models import max_positions
from adaswitch.data.preflight import RunData, load_run_data
from adaswitch.data.threads import trainer_threads
from adaswitch.errors import ModelError
from adaswitch.evaluation.evaluation import EvalPrompts
from adaswitch.evaluation.transformers_writer import TransformersWriter
from adaswitch.method.policies.replay import Replay
from adaswitch.method.policies.sft import SFT
from adaswitch.method.schedule import PromptSchedule, TeacherShares
from adaswitch.processes.cores import compute_with, num_cores
from adaswitch.runs.attempts import Attempt, begin_attempt
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.inputs import inputs_of, keep_inputs
from adaswitch.runs.kept import keep_tokenizer, load_kept_tokenizer
from adaswitch.runs.opening import filled_in
from adaswitch.runs.words import run_of
from trainer.checkpoint import ADAPTER, newest_whole
from trainer.ending import noting_failure
from trainer.learner import Learner
from trainer.loop import Job
from trainer.ranks.group import RankGroup
from trainer.ranks.learner import AnyLearner, RankedLearner
from trainer.recorder import Recorder
from trainer.references import ReferenceSource
from trainer.replay import ReplaySource
from trainer.source import RolloutSource
from trainer.students_writer import StudentsWriter


def prepare(
    config: RunConfig,
    connect: Callable[[], RolloutSource],
    should_stop: Callable[[], bool],
    begin: Callable[[RunConfig], Attempt] = begin_attempt,
    data: RunData | None = None,
    num_threads: int | None = None,
) -> tuple[Job, int]:
    """The job, and the step that it starts from. ``connect`` is called last, once everything else is right.

    If the policy needs no students, ``connect`` is not called, because nobody else takes part in the run. ``begin``
    begins the attempt, or joins the one that a launcher has begun. Nothing is written before the data is known to fit.
    ``data`` is the run's, if it was read already. ``num_threads`` is the number of threads to compute with, where it is
    another than that of a trainer that has its machine to share with all other parts.
    """
    config = filled_in(config)
    num_threads = num_threads or trainer_threads(config, num_cores(), alone=False)
    print(f"computing with {counted_threads(num_threads)}", flush=True)
    compute_with(num_threads)
    torch.manual_seed(config.seed)
    data = data or load_run_data(config)
    for line in data.lines():
        print(line, flush=True)
    config = data.models.named_in(config)
    run_of(config).remove_partials()  # first, because the disk may be full of them
    attempt = begin(config)
    for change in attempt.changes:
        print(f"other than in the attempt before: {change}", flush=True)
    with noting_failure(attempt.status):
        return _prepared(config, data, attempt, connect, should_stop, num_threads)


def _prepared(
    config: RunConfig,
    data: RunData,
    attempt: Attempt,
    connect: Callable[[], RolloutSource],
    should_stop: Callable[[], bool],
    num_threads: int,
) -> tuple[Job, int]:
    run = attempt.run
    run.write_notes(data.notes)
    keep_inputs(run, inputs_of(config, data))
    learner, start = _learner(config, run, num_threads)
    keep_tokenizer(run, data.tokenizer, learner.model.config)
    recorder, eval_prompts = Recorder(run, config, start), _eval_prompts(config, data)
    source = _own_source(config, data) or connect()
    by_students = config.trainer.eval_by == "students"
    job = Job(
        config=config,
        run=run,
        learner=learner,
        tokenizer=data.tokenizer,
        schedule=schedule_of(config, data.train_prompts, data.train_references),
        source=source,
        recorder=recorder,
        status=attempt.status,
        eval_prompts=eval_prompts,
        writer=StudentsWriter(source, should_stop) if by_students else TransformersWriter(learner.model),
        should_stop=should_stop,
    )
    return job, start


def schedule_of(
    config: RunConfig, prompts: Sequence[tuple[int, ...]], references: Sequence[tuple[int, ...]] = ()
) -> PromptSchedule:
    """The schedule of a run: which prompt comes in which step."""
    trainer = config.trainer
    shares = TeacherShares(config.teacher_budget, trainer.prompts_per_step, trainer.num_steps)
    return PromptSchedule(
        prompts, trainer.prompts_per_step, trainer.max_staleness, config.seed, references, shares
    )


def _own_source(config: RunConfig, data: RunData) -> RolloutSource | None:
    """The source of a run that needs no students; None if students write its rollouts."""
    models = data.models
    match config.policy:
        case Replay(run=run):
            longest = max_positions(config.student.model)
            return ReplaySource(run, models.vocab_size, longest, _has_tokenizer(run, data.tokenizer))
        case SFT():
            return ReferenceSource(models.vocab_size, config.student.max_new_tokens, models.stop_tokens.ids)
        case _:
            return None


def _has_tokenizer(recorded: str, tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the run at ``recorded`` has ``tokenizer``. False also if its tokenizer is not here any more."""
    run = RunDirectory.open(recorded)
    try:
        theirs = load_kept_tokenizer(run, run.settings())
    except ModelError:
        return False
    return tokenizer_sha256(theirs.get_vocab()) == tokenizer_sha256(tokenizer.get_vocab())


def _eval_prompts(config: RunConfig, data: RunData) -> EvalPrompts | None:
    if not data.eval_examples:
        return None
    return EvalPrompts(
        task=data.task,
        examples=data.eval_examples,
        prompt_token_ids=data.eval_prompts,
        tokenizer=data.tokenizer,
        stop_token_ids=data.models.stop_tokens.ids,
        max_new_tokens=config.student.max_new_tokens,
        batch_size=config.trainer.eval_batch_size,
        vocab_size=data.models.vocab_size,
        end_token_id=data.models.stop_tokens.end_of_reference(data.task.wraps_prompts),
    )


def _learner(config: RunConfig, run: RunDirectory, num_threads: int) -> tuple[AnyLearner, int]:
    """The learner from the newest checkpoint, or from ``student.model``, and the step that it starts from."""
    model, trainer = config.student.model, config.trainer
    device = trainer.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    group = None
    if trainer.num_ranks > 1:
        device = "cuda" if actors.has_gpus() and trainer.device != "cpu" else "cpu"
        group = RankGroup(config, device, num_threads)

    def make(folder: str, adapters: Path | None = None) -> AnyLearner:
        """A learner of the model in ``folder``."""
        if group is None:
            return Learner.from_folder(folder, trainer, device, adapters)
        return RankedLearner(group, config, folder, adapters)

    def load(folder: str) -> AnyLearner:
        """The learner of a checkpoint. Adapters are trained on beside the weights that they were begun with."""
        return make(folder) if trainer.lora is None else make(model, Path(folder) / ADAPTER)

    if trainer.resume:
        found = newest_whole(run, load, partial(print, flush=True))
        if found is not None:
            return found
    return make(model), 0
