"""What the values in label files mean: which are labels, which are gray levels of a picture, which are dirt."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoseg.datasets.arrangement import Arrangement
from autoseg.datasets.dataset import Case, Inference
from autoseg.datasets.inspection import CaseFacts, Finding
from autoseg.datasets.options import Options
from autoseg.datasets.read_case import MOST_VALUE
from planners.fingerprint import Label

WHITE = 255
_MOST_LEVELS = 8
"""Evenly spaced gray levels of at most so many labels; more are numbers, not shades."""
_STRAY_SHARE = 0.05
"""Values that only smoothing or JPEG brings in hold less than this share of the voxels."""
_MOST_CLASSES = 100
_FEW_CLASSES = 20
_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """The labels of a dataset and the way from file values to label values."""

    labels: tuple[Label, ...]
    value_map: tuple[tuple[int, int], ...] = ()
    overlapping: bool = False
    merge_instances: bool = False
    inferences: tuple[Inference, ...] = ()
    findings: tuple[Finding, ...] = ()


def conclude(arrangement: Arrangement, facts: Sequence[CaseFacts], options: Options) -> Meaning:
    """Return what the values found in all label files mean."""
    totals: Counter[int] = Counter()
    for case in facts:
        for file in case.values:
            totals.update({count.value: count.voxels for count in file})
    if not totals:
        return Meaning(labels=arrangement.labels or ())
    where = _places(arrangement.cases, facts)
    if arrangement.reference_kind != "map":
        return _masks(arrangement, facts, totals, where, options)
    if options.merge_instances:
        return _merged(totals)
    if arrangement.labels is not None:
        return _declared(arrangement, arrangement.labels, facts, totals, options)
    return _undeclared_labels(facts, totals, where, options)


def _places(cases: Sequence[Case], facts: Sequence[CaseFacts]) -> Mapping[int, str]:
    """Return for each value the first label file that holds it."""
    found: dict[int, str] = {}
    for case, fact in zip(cases, facts, strict=True):
        for name, file in zip(case.references, fact.values, strict=False):
            for count in file:
                found.setdefault(count.value, name)
    return found


# ------------------------------------------------------------------------------------- a label map per case
def _declared(
    arrangement: Arrangement,
    labels: tuple[Label, ...],
    facts: Sequence[CaseFacts],
    totals: Counter[int],
    options: Options,
) -> Meaning:
    """Hold the files to the declared labels; gray levels of a picture may stand for the numbers 0, 1, 2."""
    values = {0, *(value for label in labels for value in label.values)}
    if not set(totals) <= values:
        where = _places(arrangement.cases, facts)
        value_map, said, findings = _gray_levels(totals, where, options)
        mapped = dict(value_map)
        if value_map and {mapped.get(value, value) for value in totals} <= values:
            return Meaning(labels=labels, value_map=value_map, inferences=tuple(said), findings=tuple(findings))
    return Meaning(labels=labels, findings=_undeclared(arrangement, facts))


def _undeclared(arrangement: Arrangement, facts: Sequence[CaseFacts]) -> tuple[Finding, ...]:
    """Return an error for every file with a value that the folder's own description does not declare."""
    declared = {0, *(value for label in arrangement.labels or () for value in label.values)}
    known = ", ".join(map(str, sorted(declared)[: 2 * _MOST_SHOWN]))
    findings = []
    for case, fact in zip(arrangement.cases, facts, strict=True):
        for name, file in zip(case.references, fact.values, strict=False):
            unknown = [count for count in file if count.value not in declared]
            if unknown:
                shown = ", ".join(f"{c.value} ({c.voxels} voxels)" for c in unknown[:_MOST_SHOWN])
                mend = f"declare them (declared are {known}) or correct the file"
                what = f"label values that are not declared: {shown}"
                findings.append(Finding(severity="error", where=name, what=what, mend=mend))
    return tuple(findings)


def _merged(totals: Counter[int]) -> Meaning:
    objects = sum(value > 0 for value in totals)
    said = Inference(what="labels", value="label_1", because=f"--merge-instances: {objects} values are one label")
    return Meaning(labels=(Label(name="label_1", values=(1,)),), merge_instances=True, inferences=(said,))


def _undeclared_labels(
    facts: Sequence[CaseFacts], totals: Counter[int], where: Mapping[int, str], options: Options
) -> Meaning:
    value_map, said, findings = _gray_levels(totals, where, options)
    values = sorted({dict(value_map).get(value, value) for value in totals} - {0})
    negative = [value for value in values if value < 0]
    if negative:
        what, mend = f"negative label value {negative[0]}", "use 0 for background and positive values for structures"
        findings.append(Finding(severity="error", where=where[negative[0]], what=what, mend=mend))
    if values and values[-1] > MOST_VALUE:
        mend = f"use values from 0 to {MOST_VALUE}, or --merge-instances for one label"
        what = f"label value {values[-1]}"
        findings.append(Finding(severity="error", where=where[values[-1]], what=what, mend=mend))
    positive = [value for value in values if value > 0]
    if not value_map:
        findings += _too_many(facts, positive, where)
    labels = tuple(Label(name=f"label_{value}", values=(value,)) for value in positive)
    names = ", ".join(label.name for label in labels[: 2 * _MOST_SHOWN]) + (", ..." if len(labels) > 10 else "")
    because = "nothing names them: the values in the files"
    return Meaning(
        labels=labels,
        value_map=value_map,
        inferences=(Inference(what="labels", value=names or "none", because=because), *said),
        findings=tuple(findings),
    )


def _gray_levels(
    totals: Counter[int], where: Mapping[int, str], options: Options
) -> tuple[tuple[tuple[int, int], ...], list[Inference], list[Finding]]:
    """Return the mapping of gray levels such as 0/255 or 0/127/255 to 0, 1, 2; stray levels are findings."""
    if max(totals) != WHITE or min(totals) < 0:
        return (), [], []
    levels = _even_levels(sorted(totals))
    stray: list[int] = []
    if levels is None:
        levels, stray = _levels_and_stray(totals)
        if levels is None:
            return (), [], []
    codes = {level: index for index, level in enumerate(levels)}
    pairs = {level: code for level, code in codes.items() if level != code}
    text = ", ".join(f"{level} is {code}" for level, code in sorted(pairs.items()))
    said = [Inference(what="label values", value=text, because="the files hold gray levels of a picture")]
    findings: list[Finding] = []
    if stray:
        shown = ", ".join(f"{value} ({totals[value]} voxels)" for value in stray[:_MOST_SHOWN])
        shown += f" and {len(stray) - _MOST_SHOWN} more" if len(stray) > _MOST_SHOWN else ""
        nearest = "each to the nearest of " + ", ".join(map(str, levels))
        if options.clean_labels:
            pairs |= {value: codes[min(levels, key=lambda level: abs(level - value))] for value in stray}
            said.append(Inference(what="stray label values", value=shown, because=f"--clean-labels: moved {nearest}"))
        else:
            what = f"stray label values, as smoothing or JPEG leave them: {shown}"
            mend = f"save the labels without smoothing, or give --clean-labels to move {nearest}"
            findings.append(Finding(severity="error", where=where[stray[0]], what=what, mend=mend))
    return tuple(sorted((level, code) for level, code in pairs.items() if level != code)), said, findings


def _even_levels(values: Sequence[int]) -> list[int] | None:
    """Return the values as gray levels if they are evenly spaced from 0 to 255, give or take one."""
    levels = sorted({0, *values})
    steps = len(levels) - 1
    if not 1 <= steps <= _MOST_LEVELS:
        return None
    return levels if all(abs(v - i * WHITE / steps) <= 1 for i, v in enumerate(levels)) else None


def _levels_and_stray(totals: Counter[int]) -> tuple[list[int] | None, list[int]]:
    """Return black, white and, where it is frequent, middle gray, with all rarer values as stray."""
    voxels = sum(totals.values())
    middle = max(range(120, 136), key=lambda value: totals.get(value, 0))
    levels = [0, *([middle] if totals.get(middle, 0) > _STRAY_SHARE / 5 * voxels else []), WHITE]
    stray = sorted(value for value in totals if value not in levels)
    share = sum(totals[value] for value in stray) / voxels
    return (levels, stray) if share <= _STRAY_SHARE else (None, [])


def _too_many(facts: Sequence[CaseFacts], values: Sequence[int], where: Mapping[int, str]) -> list[Finding]:
    """Return an error if the values look like numbers of single objects and not like classes."""
    sets = [{c.value for c in file if c.value > 0} for fact in facts for file in fact.values]
    shared = _likeness(sets)
    if len(values) <= _FEW_CLASSES or (len(values) <= _MOST_CLASSES and shared > 0.5):
        return []
    what = f"{len(values)} different label values, too many for classes"
    mend = "give --merge-instances if they number single objects, else declare the classes in a dataset.json"
    return [Finding(severity="error", where=where[values[-1]], what=what, mend=mend)]


def _likeness(sets: Sequence[set[int]]) -> float:
    """Return the mean share of all values that a case holds: classes recur from case to case, numbers do not."""
    union = set().union(*sets)
    filled = [s for s in sets if s]
    return sum(len(s) / len(union) for s in filled) / len(filled) if filled else 1.0


# ---------------------------------------------------------------------- one file per structure or per object
def _masks(
    arrangement: Arrangement,
    facts: Sequence[CaseFacts],
    totals: Counter[int],
    where: Mapping[int, str],
    options: Options,
) -> Meaning:
    value_map, said, findings = _gray_levels(totals, where, options)
    overlapping = any(fact.overlapping for fact in facts)
    if arrangement.reference_kind == "instances":
        labels: tuple[Label, ...] = (Label(name="label_1", values=(1,)),)
    else:
        labels = arrangement.labels or ()
        if overlapping:
            names = ", ".join(fact.name for fact in facts if fact.overlapping)[:80]
            said.append(Inference(what="labels", value="overlapping", because=f"structures share voxels in {names}"))
    return Meaning(
        labels=labels,
        value_map=value_map,
        overlapping=overlapping and arrangement.reference_kind == "structures",
        inferences=tuple(said),
        findings=tuple(findings),
    )
