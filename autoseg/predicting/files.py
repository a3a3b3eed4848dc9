"""Where what is predicted lies, and what of it is there already."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.files import file_name
from autoseg.core.records import read_record
from autoseg.core.runtime import digest_bytes, digest_file
from autoseg.datasets.inputs import InputCase
from autoseg.imaging.probabilities import ProbabilitiesRecord
from autoseg.predicting.output import Destination
from autoseg.predicting.records import RECORDS, CasePrediction

PROBABILITIES = "probabilities"
"""Folder, beside the label maps, of the probabilities of the cases."""


def probabilities_record_path(output: Path, case: InputCase) -> Path:
    """Return where the record of a case's probabilities lies, beside the array that it names."""
    return output / PROBABILITIES / file_name(case.name, ".json")


def refuse_overwriting(to: Iterable[Destination]) -> None:
    """Refuse to write over an input.

    Raises:
        AutosegError: a label map would be written over an image of one of the cases.

    """
    places = tuple(to)
    inputs = {image.resolve() for place in places for image in place.case.images}
    for place in places:
        target = place.label_map.resolve()
        if target in inputs:
            raise AutosegError.at(target, "is an input and would be overwritten", "give another --output")


def remove_others(output: Path, cases: Sequence[InputCase]) -> None:
    """Remove label maps and records in `output` that belong to none of the cases."""
    places = [Destination(output=output, case=case) for case in cases]
    kept = {path for place in places for path in (place.label_map, place.record)}
    for path in (*output.glob("*"), *(output / RECORDS).glob("*.json")):
        if path.is_file() and path not in kept:
            path.unlink()


def finished(to: Destination, input_digest: str, model_digest: str) -> CasePrediction | None:
    """Return the record of a case that was predicted from the same input with the same model.

    None where there is no such record, or a file of the case is gone.
    """
    if not to.is_complete:
        return None
    try:
        record = read_record(to.record, CasePrediction)
    except AutosegError:  # of another version, or damaged: predict again
        return None
    return record if (record.input_digest, record.model_digest) == (input_digest, model_digest) else None


def has_probabilities(path: Path, model_digest: str) -> bool:
    """Tell whether the probabilities with the record at `path` are there and of the same model."""
    try:
        record = read_record(path, ProbabilitiesRecord)
    except AutosegError:
        return False
    return record.model_digest == model_digest and path.with_name(record.file).is_file()


def digest_of_input(case: InputCase) -> str:
    """Return a digest of all files of a case.

    Raises:
        AutosegError: one of them cannot be read.

    """
    files = [file for image in case.images for file in ([image] if image.is_file() else sorted(image.rglob("*")))]
    try:
        return digest_bytes("\n".join(digest_file(file) for file in files if file.is_file()).encode())
    except OSError as error:
        raise AutosegError.at(case.images[0], f"cannot be read ({error.strerror})", "check the file") from error
