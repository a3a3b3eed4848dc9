"""Compare what `autoseg plan --recipe nnunet` makes of real folders with what nnU-Net itself makes of them.

    python -m benchmarks.nnunet_agreement --datasets FOLDER --nnunet-python PATH [--work DIR] [--only NAME]

FOLDER holds public datasets under the names in SUBJECTS; PATH is the Python of an environment with nnunetv2. With
--work a finished folder is not compared again, and nnU-Net's own files are kept. Prints a line per difference and
`N of M values agree` per folder, writes the record, and exits 0 only when all agree.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record, write_record
from autoseg.core.workspace import Workspace
from autoseg.datasets.dataset import Dataset
from benchmarks.nnunet_raw import DATASET_ID, DATASET_NAME, channel_names, write_raw
from benchmarks.nnunet_trees import Difference, compare_fingerprints, compare_plans
from benchmarks.record import RESULTS, Hardware, these_versions, this_commit, this_hardware
from planners.fingerprint import Fingerprint
from planners.nnunet_format import fingerprint_to_nnunet, plan_to_nnunet
from planners.plan import Plan

OUTPUT = RESULTS / "planners" / "nnunet_agreement.json"
_ENTRY = "nnunetv2.experiment_planning.plan_and_preprocess_entrypoints"
_VERSION = "import importlib.metadata; print(importlib.metadata.version('nnunetv2'))"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A public folder, and how it is read where it does not speak for itself."""

    name: str
    folder: str
    reading: tuple[str, ...] = ()


SUBJECTS = (
    Subject(name="msd-hippocampus", folder="msd-hippocampus"),
    Subject(name="isbi2012-em", folder="isbi2012-em"),
    Subject(
        name="sts-ct",
        folder="sts-ct-mr-pet",
        reading=("--images", "nifti/*/CT_image.nii.gz", "--labels", "nifti/*/CT_mask.nii.gz"),
    ),
    Subject(name="pyradiomics-nrrd", folder="pyradiomics-nrrd"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderAgreement:
    """How one folder compares; `intensity_deviation` is the worst statistic's, in standard deviations of theirs."""

    schema: ClassVar[str] = "autoseg.nnunet-agreement-folder/1"

    folder: str
    cases: int
    command: str
    plan_values: int
    fingerprint_values: int
    intensity_deviation: float
    differences: tuple[Difference, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Every folder of a run, where it ran and with what."""

    schema: ClassVar[str] = "autoseg.nnunet-agreement/1"

    date: str
    commit: str
    hardware: Hardware
    versions: tuple[tuple[str, str], ...]
    nnunet: str
    folders: tuple[FolderAgreement, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the folders; 0 when all agrees, 1 when something differs, 2 for a mistake in the arguments or data."""
    options = _parser().parse_args(arguments)
    try:
        if options.work:
            record = run(options, options.work.absolute())
        else:
            with tempfile.TemporaryDirectory(prefix="nnunet-agreement-") as folder:
                record = run(options, Path(folder))
    except AutosegError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    write_record(options.output, record)
    return 1 if any(folder.differences for folder in record.folders) else 0


def run(options: argparse.Namespace, work: Path) -> Agreement:
    """Compare every wanted folder, or take what an earlier call finished.

    Raises:
        AutosegError: a folder is not there, or a program failed on it.

    """
    made = []
    for subject in SUBJECTS:
        if options.only and subject.name not in options.only:
            continue
        # Another version of the product starts anew; what nnU-Net made beside it stays.
        finished = work / subject.name / this_commit() / "agreement.json"
        if not finished.exists():
            write_record(finished, agreement(subject, options.datasets / subject.folder, options, finished.parent))
        made.append(read_record(finished, FolderAgreement))
        print(describe(made[-1]), flush=True)
    return Agreement(
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        commit=this_commit(),
        hardware=this_hardware("cpu"),
        versions=these_versions(),
        nnunet=_output([str(options.nnunet_python), "-c", _VERSION]).strip(),
        folders=tuple(made),
    )


def agreement(subject: Subject, source: Path, options: argparse.Namespace, work: Path) -> FolderAgreement:
    """Plan one folder with both programs and compare.

    Raises:
        AutosegError: the folder is not there, or a program failed on it.

    """
    if not source.is_dir():
        raise AutosegError.at(source, "no such folder", "--datasets FOLDER holds the folders named in SUBJECTS")
    root = work / f"{subject.name}.autoseg"
    program = [sys.executable, "-m", "autoseg.cli"]
    _output([*program, "inspect", str(source), "--workspace", str(root), *subject.reading], findings=True)
    _output([*program, "plan", str(root), "--recipe", "nnunet"])
    workspace = Workspace(root)
    dataset, fingerprint = read_record(workspace.dataset, Dataset), read_record(workspace.fingerprint, Fingerprint)
    theirs = nnunet_files(dataset, fingerprint, options.nnunet_python, work.parent / "nnunet")
    ours = plan_to_nnunet(read_record(workspace.plan, Plan), fingerprint)
    plans = compare_plans(ours, _json(theirs / "nnUNetPlans.json"))
    prints = compare_fingerprints(fingerprint_to_nnunet(fingerprint), _json(theirs / "dataset_fingerprint.json"))
    reading = " ".join(f"'{word}'" if "*" in word else word for word in subject.reading)
    return FolderAgreement(
        folder=subject.name,
        cases=len(fingerprint.cases),
        command=f"autoseg inspect {subject.folder} {reading}".strip() + " && autoseg plan --recipe nnunet",
        plan_values=plans.values,
        fingerprint_values=prints.values,
        intensity_deviation=prints.intensity_deviation,
        differences=plans.differences + prints.differences,
    )


def nnunet_files(dataset: Dataset, fingerprint: Fingerprint, python: Path, work: Path) -> Path:
    """Let nnU-Net fingerprint and plan `dataset`, unless it has; return the folder of its two files."""
    made = work / "preprocessed" / DATASET_NAME
    if not (made / "nnUNetPlans.json").exists():
        write_raw(dataset, channel_names(fingerprint), work / "raw" / DATASET_NAME)
        places = {f"nnUNet_{name}": str(work / name) for name in ("raw", "preprocessed", "results")}
        command = [str(python), "-m", _ENTRY, "-d", str(DATASET_ID), "--no_pp", "-npfp", "1"]
        # Its planner sets that many threads, so that 0 makes it fail (2.8.1).
        _output(command, environment=places | {"nnUNet_n_proc_DA": "1"})
    return made


def describe(made: FolderAgreement) -> str:
    """Return a line per difference and one with the count."""
    total = made.plan_values + made.fingerprint_values
    lines = [f"{made.folder} {d.place}: ours {d.ours}, theirs {d.theirs}" for d in made.differences]
    agreeing = f"{made.folder} ({made.cases} cases): {total - len(made.differences)} of {total} values agree"
    return "\n".join([*lines, f"{agreeing}, intensities within {made.intensity_deviation:.2g} standard deviations"])


def _json(path: Path) -> object:
    return json.loads(path.read_bytes())


def _output(command: list[str], environment: dict[str, str] | None = None, *, findings: bool = False) -> str:
    """Run a program and return what it printed; exit code 1 of an inspection with warnings is no failure."""
    done = subprocess.run(
        command, env=os.environ | (environment or {}), capture_output=True, text=True, check=False, encoding="utf-8"
    )
    if done.returncode not in ((0, 1) if findings else (0,)):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise AutosegError.at(" ".join(command[:5]), f"ended with code {done.returncode} ({last})", "mend that first")
    return done.stdout


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nnunet_agreement", description=__doc__)
    parser.add_argument("--datasets", type=Path, required=True, help="folder that holds the public datasets")
    parser.add_argument("--nnunet-python", type=Path, required=True, help="Python that can import nnunetv2")
    parser.add_argument("--work", type=Path, help="folder to keep and resume in; by default a temporary one")
    parser.add_argument("--only", action="append", help="one of the folders; may be repeated")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the record")
    return parser


if __name__ == "__main__":
    sys.exit(main())
