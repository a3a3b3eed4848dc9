"""What a model folder says about its own reliability: temperatures, and what foresees the Dice of a new case."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from autoseg.core.calibration import CALIBRATION_NAME, Calibration
from autoseg.core.quality import QUALITY_NAME, Quality
from autoseg.learning.model_files import MODEL_NAME, LoadedModel, ModelRecord, find_model
from planners.plan import Plan

Known = TypeVar("Known", Calibration, Quality)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Each is None where a model does not have it, or it was made for other networks than those that predict."""

    calibration: Calibration | None = None
    quality: Quality | None = None

    @property
    def temperatures(self) -> tuple[float, ...]:
        """What probabilities are tempered with; () for not at all."""
        return () if self.calibration is None else self.calibration.values

    @property
    def digest(self) -> str:
        """Of both records; "" without any."""
        from autoseg.core.records import encode
        from autoseg.core.runtime import digest_bytes

        known = [encode(each) for each in (self.calibration, self.quality) if each is not None]
        return digest_bytes(b"".join(known)) if known else ""


def load_trust(path: Path, model: LoadedModel) -> Trust:
    """Return what the model that `path` is or holds says about predicting with the configurations of `model`.

    Raises:
        AutosegError: one of its records is damaged.

    """
    folder = find_model(path)
    if not (folder / MODEL_NAME).is_file():  # of nnU-Net's
        return Trust()
    networks = networks_behind(model.record, model.plan, model.configurations)
    return Trust(
        calibration=_of(folder / CALIBRATION_NAME, Calibration, (model.configurations, networks)),
        quality=_of(folder / QUALITY_NAME, Quality, (model.configurations, networks)),
    )


def networks_behind(record: ModelRecord, plan: Plan, configurations: tuple[str, ...]) -> tuple[str, ...]:
    """Return the SHA-256 of all weights that predict together, those of the stages before included."""
    needed = list(configurations)
    for name in needed:  # grows
        previous = plan.configuration(name).previous
        needed += [] if previous is None or previous in needed else [previous]
    return tuple(network.sha256 for network in record.networks if network.configuration in needed)


def _of(path: Path, kind: type[Known], made_for: tuple[tuple[str, ...], tuple[str, ...]]) -> Known | None:
    from autoseg.core.records import read_record

    if not path.is_file():
        return None
    found = read_record(path, kind)
    return found if (found.configurations, found.networks) == made_for else None
