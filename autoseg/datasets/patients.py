"""Which cases of an evaluation are of one patient: as a list says, as the dataset has it, or as the names tell."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.scores import EVERY_FILE
from autoseg.datasets.arrangement import shown
from autoseg.datasets.declaration import read_groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Patients:
    """The patient of each case, and a sentence on how they were told apart ("" for a single case)."""

    of: dict[str, str]
    note: str


def patients_of(known: Mapping[str, str], groups: str | None, folder: Path) -> Patients:
    """Return the patients of cases.

    Args:
        known: the patient of each case, as its name or the dataset tells; the case itself where nothing does.
        groups: a CSV (columns case, group) that is followed for the cases it names; it may name others, too.
        folder: the references, where `groups` may lie.

    Raises:
        AutosegError: no such list, it is none, or it names none of the cases.

    """
    of = dict(known)
    if groups is not None:
        given = read_groups(folder, groups)
        if not given.keys() & known.keys():
            mend = f"write the names of the cases: {shown(sorted(known))}"
            raise AutosegError.at(f"--groups {groups}", "names none of the cases", mend)
        of = {case: given.get(case, patient) for case, patient in known.items()}
    count = len(set(of.values()))
    if len(of) < 2:
        return Patients(of=of, note="")
    if count < len(of):
        by = "the dataset or their names" if groups is None else f"--groups {groups}"
        return Patients(of=of, note=f"{len(of)} files of {count} patients, told by {by}")
    why = "nothing says which belong together (--groups would)" if groups is None else f"so says --groups {groups}"
    return Patients(of=of, note=f"{EVERY_FILE}: {why}")
