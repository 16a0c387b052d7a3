"""``RankedLearner``: what the training loop and checkpoints see of several ranks, as if they were one ``Learner``."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
import torch
from torch import Tensor
from transformers import PreTrainedModel

from adaswitch.cluster.weight_arrays import arrays_to_weights
from adaswitch.config.run import RunConfig
from adaswitch.data.causal_lm import outline
from adaswitch.data.model_config import read_model_config
from adaswitch.errors import NonFiniteError
from adaswitch.method.learning_rate import last_learning_rate
from adaswitch.method.rollout import Rollout
from trainer.learner import Learner, put_adapters
from trainer.model_files import read_own_files
from trainer.ranks.group import RankGroup
from trainer.update import Update

if TYPE_CHECKING:
    from peft import PeftModel

FLOAT_BYTES = 4
WEIGHTS_AND_MOMENTS = 3
"""A checkpoint has a number for each weight, and AdamW's two means of its gradient."""


class RankedLearner:
    """The ranks of one trainer. This process has no weights: ``model`` is an outline, for names and configuration."""

    device = "cpu"

    def __init__(self, group: RankGroup, config: RunConfig, folder: str, adapters: Path | None) -> None:
        """Have all ranks of ``group`` load the model in ``folder``, and the adapters in the folder ``adapters``."""
        self._group = group
        self._config = config
        configured = read_model_config(folder, "student.model")
        self.model: PreTrainedModel = outline(configured)
        with torch.device("meta"):
            self.adapters: PeftModel | None = put_adapters(self.model, config.trainer, None)
        self.own_files = read_own_files(folder)
        self.saved_dtype: torch.dtype = getattr(torch, configured.stored_dtype or "float32")
        self.is_whole = True
        group.all("load", folder, None if adapters is None else str(adapters))

    @property
    def num_bytes(self) -> int:
        """The bytes that weights and optimizer's state take, as far as that is known here."""
        trained = [each.requires_grad for each in self.model.parameters()]
        sizes = [each.numel() * FLOAT_BYTES for each in self.model.parameters()]
        return sum(
            size * (WEIGHTS_AND_MOMENTS if train else 1) for size, train in zip(sizes, trained, strict=True)
        )

    def update(self, rollouts: Sequence[Rollout], step: int) -> Update:
        """See ``Learner.update``. An error leaves the ranks in between, since they may not have met it all."""
        stored = ray.put(list(rollouts))  # once, for all ranks
        self.is_whole = False
        try:
            updates: list[Update] = self._group.all("update", stored, step)
        except NonFiniteError:
            self.is_whole = True  # all ranks see the same loss and norm, and stop before they change a weight
            raise
        self.is_whole = True
        return updates[0]

    def weights(self) -> dict[str, Tensor]:
        """See ``Learner.weights``."""
        return self._gathered("weights")

    def state_dict(self) -> dict[str, Tensor]:
        """See ``Learner.state_dict``. Tied weights are one tensor again."""
        found = self._gathered("state_dict")
        first: dict[int, str] = {}
        for name, parameter in self.model.state_dict(keep_vars=True).items():
            found[name] = found[first.setdefault(id(parameter), name)]
        return found

    def _gathered(self, method: str) -> dict[str, Tensor]:
        pieces = self._group.all(method)[0]
        return {name: tensor for piece in pieces for name, tensor in arrays_to_weights(piece).items()}

    def optimizer_state(self) -> dict[str, Any]:
        """See ``Learner.optimizer_state``."""
        state: dict[str, Any] = self._group.all("optimizer_state")[0]
        return state

    def load_optimizer_state(self, state: dict[str, Any]) -> None:
        """See ``Learner.load_optimizer_state``. The state may have been saved by any number of ranks."""
        self._group.all("load_optimizer_state", ray.put(state))

    def restore_masters(self, weights: Mapping[str, Tensor]) -> None:
        """See ``Learner.restore_masters``."""
        if weights:
            self._group.all("restore_masters", ray.put(dict(weights)))

    def require_finite_weights(self, step: int) -> None:
        """See ``Learner.require_finite_weights``."""
        trainer = self._config.trainer
        rate = last_learning_rate(trainer.optimizer, step, trainer.num_steps)
        problem = next(filter(None, self._group.all("problem", step, rate)), None)
        if problem is not None:
            raise NonFiniteError(problem)

    @contextmanager
    def explaining(self, step: int) -> Iterator[None]:
        """See ``Learner.explaining``. The ranks explain their own errors, and students theirs."""
        yield

    def close(self) -> None:
        """End the ranks."""
        self._group.close()


AnyLearner = Learner | RankedLearner
"""What the training loop works with: one process, or several."""
