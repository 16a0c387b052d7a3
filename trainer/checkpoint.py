"""Checkpoints: a Hugging Face folder that ``from_pretrained`` loads, together with the state that resuming needs.

``trainer_state.pt`` holds only tensors and plain values, and is read without unpickling anything else. The
learning rate and the data position follow from the step (``adaswitch.method.schedule``).
"""

import os
import pickle
import shutil
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from adaswitch.errors import DataError
from adaswitch.runs.directory import RunDirectory
from trainer.learner import Learner

STATE_FILE = "trainer_state.pt"


def save_checkpoint(
    run: RunDirectory, step: int, learner: Learner, tokenizer: PreTrainedTokenizerBase, keep: int
) -> Path:
    """Write ``checkpoints/step-<step>``, either whole or not at all, and remove all but the newest ``keep``."""
    folder = run.checkpoint(step)
    if not folder.is_dir():
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        learner.model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        state = {
            "step": step,
            "optimizer": learner.optimizer.state_dict(),
            "random_state": torch.get_rng_state(),
            "cuda_random_states": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        torch.save(state, partial / STATE_FILE)
        os.replace(partial, folder)
    for old in run.checkpoint_steps()[:-keep]:
        shutil.rmtree(run.checkpoint(old))
    return folder


def restore(folder: Path, learner: Learner) -> int:
    """Restore the optimizer and the random state. The model is loaded from the same folder. Returns the step."""
    path = folder / STATE_FILE
    try:
        state = torch.load(path, map_location=learner.device, weights_only=True)
        learner.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random_state"].cpu())
        if state["cuda_random_states"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all([random.cpu() for random in state["cuda_random_states"]])
        return int(state["step"])
    except (OSError, RuntimeError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise DataError(
            f"cannot resume from it ({type(error).__name__}); delete the folder to go on from the one "
            "before, or set trainer.resume=false and another name",
            source=str(path),
        ) from error
