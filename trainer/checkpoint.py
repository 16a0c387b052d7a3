"""Checkpoints: a Hugging Face folder that ``from_pretrained`` loads, together with the state that resuming needs.

``trainer_state.pt`` holds only tensors and plain values, and is read without unpickling anything else. If the model is
saved in fewer bits than it is trained in, the weights as they were trained are in this file as well. The learning
rate and the data position follow from the step (``adaswitch.method.schedule``). ``SHA256SUMS`` is written last, and
says what every other file must hold (``adaswitch.runs.seal``).
"""

import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import PreTrainedTokenizerBase

from adaswitch.errors import DataError, ModelError
from adaswitch.last_words import one_line
from adaswitch.runs.directory import RunDirectory
from adaswitch.runs.seal import damage, is_sealed, seal
from adaswitch.storage import held, partial_of, sync_folder, writing
from trainer.model_files import save_model
from trainer.ranks.learner import AnyLearner
from trainer.saved_weights import masters, saved_weights

STATE_FILE = "trainer_state.pt"
ADAPTER = "adapter"
"""The folder in a checkpoint that holds the adapters as peft writes them, if adapters were trained."""
PEFT_PREFIX = "base_model.model."
"""What peft puts in front of the names of a model's state."""
DAMAGED = "damaged"
"""The ending of the name under which a damaged checkpoint is kept, once the run goes on from another, for as long as a
whole one of its age would be."""


def save_checkpoint(
    run: RunDirectory, step: int, learner: AnyLearner, tokenizer: PreTrainedTokenizerBase, keep: int
) -> Path:
    """Write ``checkpoints/step-<step>``, either whole or not at all, and remove all but the newest ``keep``.

    The checkpoint counts once all of it is on the disk. Raises ``StorageError`` if it cannot be written, and
    ``NonFiniteError`` for weights that are not finite, from which nobody could go on.
    """
    folder = run.checkpoint(step)
    if not folder.is_dir():
        learner.require_finite_weights(step)
        partial = partial_of(folder)
        with writing(folder, learner.num_bytes):
            try:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                with held(partial):
                    _write(partial, step, learner, tokenizer)
                    os.replace(partial, folder)
                sync_folder(run.checkpoints)
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
    run.prune_checkpoints(keep)
    return folder


def _write(folder: Path, step: int, learner: AnyLearner, tokenizer: PreTrainedTokenizerBase) -> None:
    """Write all files of a checkpoint into the empty ``folder``, and flush them to the disk."""
    whole = learner.state_dict()
    as_saved = (learner.model, whole, learner.saved_dtype, learner.adapters is not None)
    weights = saved_weights(*as_saved)
    save_model(folder, learner.model, weights, tokenizer, learner.own_files)
    if learner.adapters is not None:
        named = {f"{PEFT_PREFIX}{name}": tensor for name, tensor in whole.items()}
        # Embeddings have no adapters. Left to itself, peft would ask the hub whether it knows a larger vocabulary.
        learner.adapters.save_pretrained(
            os.fspath(folder / ADAPTER), state_dict=named, save_embedding_layers=False
        )
    state = {
        "step": step,
        "optimizer": learner.optimizer_state(),
        "weights": masters(*as_saved),
        "random_state": torch.get_rng_state(),
        "cuda_random_states": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    # Given a file and not a path, torch passes on why it could not write.
    with (folder / STATE_FILE).open("wb") as file:
        torch.save(state, file)
    seal(folder)


def newest_whole(
    run: RunDirectory, load: Callable[[str], AnyLearner], say: Callable[[str], None]
) -> tuple[AnyLearner, int] | None:
    """The learner from the newest checkpoint that is whole, and its step; None if there are no checkpoints.

    ``load`` makes a learner from the folder of a model. Damaged checkpoints are named through ``say``, and set aside.
    Raises ``DataError`` if there are checkpoints, and none of them is whole.
    """
    damaged: dict[int, str] = {}
    for step in reversed(run.checkpoint_steps()):
        found = _resumed(run.checkpoint(step), step, load)
        if not isinstance(found, str):
            for other, reason in damaged.items():
                aside = run.set_aside(other, DAMAGED)
                say(
                    f"warning: the checkpoint {run.checkpoint(other)} is damaged: {reason}. The run goes on from "
                    f"step {step}, and steps {step + 1} to {other} are done again; the folder is now {aside.name}"
                )
            return found, step
        damaged[step] = found
    if damaged:
        newest, reason = next(iter(damaged.items()))
        raise DataError(
            f"no checkpoint here is whole, so the run cannot go on; step-{newest}: {reason}. Put a copy of one back, "
            "or begin another run with --new-name or another name",
            source=str(run.checkpoints),
        )
    return None


def _resumed(folder: Path, step: int, load: Callable[[str], AnyLearner]) -> AnyLearner | str:
    """The learner from the checkpoint in ``folder``, or what is damaged in it."""
    if (reason := damage(folder)) is not None:
        return reason
    try:
        learner = load(os.fspath(folder))
        restore(folder, step, learner)
        return learner
    except (DataError, ModelError, SafetensorError, RuntimeError, EOFError, TypeError) as error:
        # Every byte of a sealed checkpoint is as it was written, and a lack of memory is nobody's damage.
        if is_sealed(folder) or isinstance(error, torch.OutOfMemoryError):
            raise
        return one_line(error)


def restore(folder: Path, step: int, learner: AnyLearner) -> None:
    """Restore the optimizer and the random state after ``step``. The model is loaded from the same folder.

    Raises ``DataError`` with the file if it cannot be read, or is not of ``step``.
    """
    path = folder / STATE_FILE
    try:
        state = torch.load(path, map_location=learner.device, weights_only=True)
        found = int(state["step"])
        learner.load_optimizer_state(state["optimizer"])
        learner.restore_masters(state.get("weights", {}))
        torch.set_rng_state(state["random_state"].cpu())
        if state["cuda_random_states"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([random.cpu() for random in state["cuda_random_states"]])
    except torch.OutOfMemoryError:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, EOFError, pickle.PickleError) as error:
        raise DataError(f"cannot be read ({one_line(error)})", source=str(path)) from error
    if found != step:
        raise DataError(f"is of step {found}, and not of step {step}", source=str(path))
