"""``Events``: the figures of a run for TensorBoard. They repeat what the record files hold, and no run reads them."""

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from adaswitch.storage import complaint, error_number


class Events:
    """Writes event files, as long as they can be written. A failure is said once, and ends the events, not the run."""

    def __init__(self, folder: Path, start: int) -> None:
        """Events of step ``start`` and later that an earlier attempt wrote into ``folder`` are taken back."""
        self._folder = folder
        self._writer: SummaryWriter | None = None
        try:
            self._writer = SummaryWriter(str(folder), purge_step=start)
        except OSError as error:
            self._give_up(error)

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Add one figure of ``step``."""
        if self._writer is not None:
            try:
                self._writer.add_scalar(name, value, step)
            except OSError as error:
                self._give_up(error)

    def close(self) -> None:
        """Flush the event file."""
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._writer = None
        why = complaint(self._folder, error_number(error) or 0)
        print(f"warning: there are no more events for TensorBoard: {why}", flush=True)
