"""What is known of a model's presets: measured beside it, with just these networks."""

from collections.abc import Collection, Sequence
from pathlib import Path

from autoseg.core.records import read_record
from autoseg.predicting.records import PRESETS_NAME, PresetsRecord


def known_presets(folder: Path, configurations: Sequence[str], networks: Collection[str]) -> PresetsRecord | None:
    """Return what was measured in a model folder with these configurations and networks (SHA-256); None if nothing was.

    Raises:
        AutosegError: the record is damaged.

    """
    path = folder / PRESETS_NAME
    if not path.is_file():
        return None
    found = read_record(path, PresetsRecord)
    fits = found.configurations == tuple(configurations) and set(networks).issuperset(found.networks)
    return found if fits else None
