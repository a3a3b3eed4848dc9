"""What is learnt of a case while it is predicted, and what it says about how good the prediction is."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autoseg.core.errors import AutosegError
from autoseg.core.files import write_bytes
from autoseg.core.observation import CaseObservation, StructureObservation
from autoseg.core.quality import CaseQuality
from autoseg.core.records import read_record, write_record
from autoseg.imaging.case_statistics import image_statistics, structure_statistics
from autoseg.learning.inference import LabelMap, PreparedCase
from autoseg.learning.observation import Observed, Sample, Watch
from autoseg.predicting.records import CasePrediction
from planners.plan import Plan

OBSERVATIONS = "observations"
"""Folder, beside the label maps of validation cases, of what was observed of them."""
_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """What was added up while a case was predicted, and the statistics of its prepared image."""

    observed: Observed
    image: tuple[float, ...]


def seen(watch: Watch, prepared: PreparedCase) -> Seen:
    """Return what a watch has seen of a case."""
    first = prepared.members[0]
    image = image_statistics(first.image, first.mapping.network_spacing_mm)
    return Seen(observed=watch.finish(first.mapping), image=image)


def observation_of(
    case: tuple[str, str], plan: Plan, label_map: LabelMap, spacing_mm: tuple[float, float, float], found: Seen
) -> CaseObservation:
    """Return the record of what was seen of a case (its name, and the digest of what predicted it)."""
    labels = [label for label in plan.labels if label.role == "foreground"]
    own = [(label.values[0],) if plan.target == "labels" else label.values for label in labels]
    structures = [
        StructureObservation(
            label=label.name,
            voxels=round(float(voxels)),
            mass=float(mass),
            inside=float(inside),
            entropy=float(entropy),
            disagreement=float(disagreement),
            volume_mm3=parts.volume_mm3,
            components=parts.components,
            largest_voxels=parts.largest_voxels,
            surface_voxels=parts.surface_voxels,
            centre=parts.centre,
        )
        for label, parts, (voxels, mass, inside, entropy, disagreement) in zip(
            labels, structure_statistics(label_map, own, spacing_mm), found.observed.sums, strict=True
        )
    ]
    name, digest = case
    return CaseObservation(case=name, model_digest=digest, structures=tuple(structures), image=found.image)


def observation_path(output: Path, case: str) -> Path:
    """Return where the observation of a case lies; its sampled voxels lie beside it."""
    return output / OBSERVATIONS / f"{case}.json"


def write_observation(output: Path, observation: CaseObservation, observed: Observed) -> None:
    """Write the sampled voxels (NPZ) and, last, the record of a validation case."""
    path = observation_path(output, observation.case)
    data = io.BytesIO()
    arrays: dict[str, NDArray[Any]] = {}
    for name, sample in (("near", observed.near), ("far", observed.far)):
        arrays |= {f"{name}_indexes": sample.indexes, f"{name}_probabilities": sample.probabilities}
        arrays[f"{name}_drawn_from"] = np.array(sample.drawn_from, np.int64)
    np.savez_compressed(data, **arrays)  # type: ignore[arg-type]  # its stub takes the keywords for options
    write_bytes(path.with_suffix(".npz"), data.getvalue())
    write_record(path, observation)


def has_observation(output: Path, case: str, model_digest: str) -> bool:
    """Tell whether a case was observed when the same networks predicted it."""
    path = observation_path(output, case)
    try:
        return path.with_suffix(".npz").is_file() and read_record(path, CaseObservation).model_digest == model_digest
    except AutosegError:  # none, of another version, or damaged: predict again
        return False


def read_samples(output: Path, case: str) -> tuple[Sample, Sample]:
    """Return the sampled voxels of a validation case: near structures, and far from them.

    Raises:
        AutosegError: the file is missing or damaged.

    """
    path = observation_path(output, case).with_suffix(".npz")
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = [
                Sample(
                    indexes=stored[f"{name}_indexes"],
                    probabilities=stored[f"{name}_probabilities"],
                    drawn_from=int(stored[f"{name}_drawn_from"]),
                )
                for name in ("near", "far")
            ]
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise AutosegError.at(path, f"damaged or missing ({error})", "remove the folder and validate again") from error
    return found[0], found[1]


def look_at(cases: Sequence[CasePrediction]) -> tuple[str, ...]:
    """Return the names of the flagged cases, the oddest first."""
    known = ((case.case, case.quality) for case in cases if case.quality is not None)
    flagged = [(quality.as_odd or 0.0, quality.worst or 0.0, case) for case, quality in known if quality.flagged]
    return tuple(case for _, _, case in sorted(flagged))


def look_lines(cases: Sequence[CasePrediction]) -> tuple[str, ...]:
    """Return in words which cases somebody should look at, and why; nothing where their quality is not known."""
    known = [case for case in cases if case.quality is not None and case.quality.flagged is not None]
    if not known:
        reasons = {part.because for case in cases if case.quality is not None for part in case.quality.structures}
        return tuple(f"quality not known: {reason}" for reason in sorted(reasons))
    names = look_at(known)
    if not names:
        return (f"quality: none of {len(known)} cases looks worse than nine in ten of the known ones",)
    by_name = {case.case: case.quality for case in known}
    lines = [f"look at these first ({len(names)} of {len(known)} cases):"]
    lines += [f"  {name}: {_words(quality)}" for name in names[:_SHOWN] if (quality := by_name[name]) is not None]
    return (*lines, *([f"  and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []))


def _words(quality: CaseQuality) -> str:
    parts = [
        f"{each.label} Dice about {each.dice:.2f} ({each.lower:.2f} to {each.upper:.2f})"
        for each in quality.structures
        if each.dice is not None and each.lower is not None and each.upper is not None
    ]
    odd = "" if quality.as_odd is None else f"; of the known cases {100 * quality.as_odd:.2g} % look as bad"
    return f"{', '.join(parts)}{odd}"
