"""What TensorBoard shows of a training, where the extra `tensorboard` is installed."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.learning.training_task import Epoch

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter

FOLDER = "tensorboard"


class TensorBoardLog:
    """Writes the numbers of each epoch below a training's folder; without TensorBoard it does nothing.

    A resumed training goes on in a file of its own, which hides what was logged from the step it goes on with.
    """

    def __init__(self, folder: Path) -> None:
        """Log to `folder`/tensorboard, from the first epoch on."""
        self._folder = folder / FOLDER
        self._writer: SummaryWriter | None = None
        self._installed = find_spec("tensorboard") is not None

    def __call__(self, epoch: Epoch) -> None:
        """Write the numbers of an epoch."""
        if not self._installed:
            return
        if self._writer is None:
            from torch.utils.tensorboard.writer import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=epoch.step)
        for name, value in numbers_of(epoch).items():
            self._writer.add_scalar(name, value, epoch.step)
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()


def numbers_of(epoch: Epoch) -> dict[str, float]:
    """Return the numbers of an epoch that are defined, by the names that TensorBoard shows."""
    per_label = enumerate(epoch.validation_dice_per_label, start=1)
    numbers = {
        "loss/train": epoch.train_loss,
        "dice/validation": epoch.validation_dice,
        **{f"dice/label {label}": value for label, value in per_label},
        "schedule/learning rate": epoch.learning_rate,
        "speed/samples per s": epoch.samples_per_s,
        "speed/waited for data, s": epoch.data_seconds,
        "speed/compute, s": epoch.compute_seconds,
        "speed/memory, GiB": epoch.peak_memory_bytes / 2**30,
    }
    return {name: value for name, value in numbers.items() if value is not None}
