"""Where what is predicted lies, and what of it is there already."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.files import file_name
from autoseg.core.records import read_record
from autoseg.core.runtime import digest_bytes, digest_file
from autoseg.core.seals import FileDigest, digests_of, state_of
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

    None where there is no such record, or a file of the case is gone or not what was written.
    """
    if not to.is_complete:
        return None
    try:
        record = read_record(to.record, CasePrediction)
    except AutosegError:  # of another version, or damaged: predict again
        return None
    if (record.input_digest, record.model_digest) != (input_digest, model_digest):
        return None
    own = FileDigest(file=to.label_map.name, sha256=record.output_digest)
    whole = all(_is_whole(to.output, file) for file in (own, *record.files))
    return record if whole and state_of(to.record.read_bytes()) != "edited" else None


def _is_whole(folder: Path, file: FileDigest) -> bool:
    """Tell whether a file is what was written; one whose digest no older version knew is taken for it."""
    path = folder / file.file
    return path.is_file() and (not file.sha256 or digest_file(path) == file.sha256)


def has_probabilities(path: Path, model_digest: str) -> bool:
    """Tell whether the probabilities with the record at `path` are there, as written, and of the same model."""
    try:
        record = read_record(path, ProbabilitiesRecord)
    except AutosegError:
        return False
    stored = FileDigest(file=record.file, sha256=record.sha256)
    return record.model_digest == model_digest and _is_whole(path.parent, stored)


def digests_of_input(case: InputCase) -> tuple[FileDigest, ...]:
    """Return all files of a case with their digests: those of a folder by their paths from beside it.

    Raises:
        AutosegError: one of them cannot be read.

    """
    found: list[FileDigest] = []
    try:
        for image in case.images:
            files = [image] if image.is_file() else sorted(file for file in image.rglob("*") if file.is_file())
            found += digests_of(files, image.parent)
    except OSError as error:
        raise AutosegError.at(case.images[0], f"cannot be read ({error.strerror})", "check the file") from error
    return tuple(found)


def digest_of_all(files: Sequence[FileDigest]) -> str:
    """Return one digest for several files."""
    return digest_bytes("\n".join(file.sha256 for file in files).encode())
