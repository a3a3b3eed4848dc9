"""A folder -> Dataset: its layout, then one complete read of every case, then what follows from both."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from autoseg.core.errors import AutosegError
from autoseg.core.runtime import progress, run_parallel
from autoseg.datasets.apart import examine_apart
from autoseg.datasets.arrangement import Arrangement
from autoseg.datasets.dataset import Case, Dataset, Inference
from autoseg.datasets.declaration import declare, read_declaration, with_declared
from autoseg.datasets.examine import Examination, stamp_of
from autoseg.datasets.inspection import CaseFacts, Finding
from autoseg.datasets.layouts import arrange
from autoseg.datasets.listing import list_folder
from autoseg.datasets.options import Options
from autoseg.datasets.stacks import find_stack
from autoseg.datasets.values import Meaning, conclude
from autoseg.datasets.workers import bytes_on_disk, workers_for
from autoseg.imaging.reading import ReadOptions

_WORTH_WORKERS_BYTES = 256 << 20
"""Below this many bytes on disk, starting worker processes takes longer than they save."""
_MOST_PREVIEWS = 400
"""Pictures of more cases would make a page that nobody looks through."""
_RGB = ("red", "green", "blue")


@dataclass(frozen=True, slots=True, kw_only=True)
class Understanding:
    """A dataset, what each case holds, what is wrong, and pictures (PNG, by stamp) of what was read this time."""

    dataset: Dataset
    facts: tuple[CaseFacts, ...]
    test_facts: tuple[CaseFacts, ...]
    findings: tuple[Finding, ...]
    previews: Mapping[str, bytes]


def understand(folder: Path, options: Options) -> Dataset:
    """Return the dataset in `folder`.

    Raises:
        AutosegError: the folder is not understood, or something in it would spoil training; the message is the first.

    """
    understanding = study(folder, options, {})
    for finding in understanding.findings:
        if finding.severity == "error":
            raise AutosegError.at(finding.where, finding.what, finding.mend)
    return understanding.dataset


def study(folder: Path, options: Options, known: Mapping[str, CaseFacts]) -> Understanding:
    """Return the dataset in `folder` with all findings on it.

    Args:
        folder: the dataset.
        options: what the user says about it.
        known: facts of earlier reads by stamp; cases whose files are unchanged are not read again.

    Raises:
        AutosegError: the folder is not understood.

    """
    declared = read_declaration(folder, options)
    options = with_declared(options, declared)
    arrangement = _unique_names(arrange(list_folder(folder), options), folder)
    arrangement = declare(arrangement, folder, options, declared)
    facts, test_facts, previews = _examine(folder, arrangement, known, options.reading)
    meaning = conclude(arrangement, facts, options)
    channels, said, channel_findings = _channels(arrangement, facts)
    stack = _stack(arrangement.cases, facts)
    alike = "neighbours are much more alike than other images"
    stacked = (Inference(what="stack", value=f"{len(stack)} slices of one volume", because=alike),) if stack else ()
    dataset = Dataset(
        name=folder.resolve().name,
        folder=str(folder.resolve()),
        layout=arrangement.layout,
        channels=channels,
        labels=meaning.labels,
        value_map=meaning.value_map,
        overlapping=meaning.overlapping,
        cases=arrangement.cases,
        test_cases=arrangement.test_cases,
        inferences=(*arrangement.inferences, *said, *meaning.inferences, *_groups(arrangement.cases), *stacked),
        reference_kind=arrangement.reference_kind,
        merge_instances=meaning.merge_instances,
        stacks=(stack,) if stack else (),
        reading=options.reading,
    )
    own = [finding for fact in facts for finding in fact.findings]
    tests = [
        replace(finding, severity="warning") if finding.severity == "error" else finding
        for fact in test_facts
        for finding in fact.findings
    ]
    findings = (
        *arrangement.findings,
        *_notes_together(own),
        *channel_findings,
        *meaning.findings,
        *_nothing(arrangement, meaning),
        *tests,
    )
    return Understanding(dataset=dataset, facts=facts, test_facts=test_facts, findings=findings, previews=previews)


def _examine(
    folder: Path, arrangement: Arrangement, known: Mapping[str, CaseFacts], reading: ReadOptions
) -> tuple[tuple[CaseFacts, ...], tuple[CaseFacts, ...], dict[str, bytes]]:
    """Read every case whose files are not known yet, labelled ones first; the first of them give pictures."""
    cases = (*arrangement.cases, *arrangement.test_cases)
    kind = arrangement.reference_kind
    stamps = [stamp_of(folder, case, kind, reading) for case in cases]
    tasks = [
        Examination(
            folder=folder,
            case=case,
            reference_kind=kind,
            stamp=stamp,
            preview=number < _MOST_PREVIEWS,
            reading=reading,
        )
        for number, (case, stamp) in enumerate(zip(cases, stamps, strict=True))
        if stamp not in known
    ]
    sizes = [bytes_on_disk(folder, task.case) for task in tasks]
    workers = workers_for(sizes, worth_bytes=_WORTH_WORKERS_BYTES)
    what = "inspect"
    read = tuple(progress(run_parallel(examine_apart, tasks, what=what, workers=workers), what=what, total=len(tasks)))
    found = dict(known)
    found.update({task.stamp: one.facts for task, one in zip(tasks, read, strict=True)})
    previews = {task.stamp: one.preview for task, one in zip(tasks, read, strict=True) if one.preview}
    facts = tuple(replace(found[s], name=c.name) for c, s in zip(cases, stamps, strict=True))
    return facts[: len(arrangement.cases)], facts[len(arrangement.cases) :], previews


def _unique_names(arrangement: Arrangement, folder: Path) -> Arrangement:
    """Return the arrangement with the names of cases made fit for files; refuse two cases of one name."""
    cases = tuple(replace(case, name=_file_name(case.name)) for case in arrangement.cases)
    taken = {case.name for case in cases}
    tests = []
    for case in arrangement.test_cases:
        name = _file_name(case.name)
        tests.append(replace(case, name=name if name not in taken else f"test_{name}"))
    count = Counter(case.name for case in cases)
    doubled = [case for case in cases if count[case.name] > 1]
    if doubled:
        what = f"two cases are called {doubled[0].name}: {doubled[0].images[0]} and {doubled[1].images[0]}"
        raise AutosegError.at(folder, what, "rename one, or list the cases with --cases")
    return replace(arrangement, cases=cases, test_cases=tuple(tests))


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-+=" else "_" for c in name).lstrip(".") or "case"


def _channels(
    arrangement: Arrangement, facts: Sequence[CaseFacts]
) -> tuple[tuple[str, ...], tuple[Inference, ...], tuple[Finding, ...]]:
    """Return the names of the channels; every case must have as many as most have."""
    readable = [(case, fact) for case, fact in zip(arrangement.cases, facts, strict=True) if fact.channels]
    if not readable:
        return arrangement.channels or ("image",), (), ()
    usual = Counter(len(fact.channels) for _, fact in readable).most_common(1)[0][0]
    expected = len(arrangement.channels) if arrangement.channels else usual
    findings = tuple(
        Finding(
            severity="error",
            where=case.images[0],
            what=f"{len(fact.channels)} channels where {expected} are expected",
            mend="give all cases the same channels in the same order",
        )
        for case, fact in readable
        if len(fact.channels) != expected
    )
    if arrangement.channels:
        return arrangement.channels, (), findings
    names, because = _channel_names(usual, [fact for _, fact in readable])
    return names, (Inference(what="channels", value=", ".join(names), because=because),), findings


def _channel_names(count: int, facts: Sequence[CaseFacts]) -> tuple[tuple[str, ...], str]:
    named = next((fact.channel_names for fact in facts if len(fact.channel_names) == count), None)
    if named:
        return named, "named in the files"
    if count == 1:
        return ("image",), "one value per voxel"
    if count == len(_RGB) and all(fact.dimensions == 2 for fact in facts):
        return _RGB, "three values per pixel of a picture"
    return tuple(f"channel_{number}" for number in range(1, count + 1)), f"{count} values per voxel"


def _stack(cases: Sequence[Case], facts: Sequence[CaseFacts]) -> tuple[str, ...]:
    if len({case.group for case in cases}) < len(cases) or any(fact.dimensions != 2 for fact in facts):
        return ()
    return find_stack([case.name for case in cases], [fact.thumbnail for fact in facts])


def _groups(cases: Sequence[Case]) -> tuple[Inference, ...]:
    groups = len({case.group for case in cases})
    if groups in (0, len(cases)):
        return ()
    because = "cases share a patient or series in their names; they stay in one fold"
    return (Inference(what="groups", value=f"{groups} groups of {len(cases)} cases", because=because),)


def _notes_together(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings with notes of one kind, told by their mend, as one that names the first and counts them."""
    notes = Counter(finding.mend for finding in findings if finding.severity == "note")
    told: set[str] = set()
    together = []
    for finding in findings:
        if finding.severity != "note":
            together.append(finding)
        elif finding.mend not in told:
            told.add(finding.mend)
            more = notes[finding.mend] - 1
            together.append(replace(finding, what=finding.what + (f" (so do {more} more files)" if more else "")))
    return together


def _nothing(arrangement: Arrangement, meaning: Meaning) -> tuple[Finding, ...]:
    """Return an error if there is nothing to learn."""
    if arrangement.cases and not any(label.role == "foreground" for label in meaning.labels):
        where, what = (
            arrangement.cases[0].references[0] or arrangement.cases[0].name,
            "no label file holds any structure",
        )
        return (Finding(severity="error", where=where, what=what, mend="check that these files are the labels"),)
    if not arrangement.cases:
        what, mend = "no image has a label", "add labels, or say where they are with --images and --labels"
        return (Finding(severity="error", where=".", what=what, mend=mend),)
    return ()
