"""Which cases train and which judge: whole patients, or blocks of a stack, never both sides of one."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autoseg.core.errors import AutosegError
from autoseg.datasets.dataset import Dataset, Fold, Folds
from planners.fingerprint import Fingerprint

_NAMED = 5
"""Labels that a sentence names; the rest are counted. Source: what fits on two lines of a terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RareLabel:
    """A label that some cases lack, and the names of the cases that hold it."""

    name: str
    cases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Unit:
    """Cases that must stay together; `held` says how many of them hold each rare label."""

    cases: tuple[str, ...]
    held: tuple[int, ...]

    @property
    def order(self) -> tuple[int, int, int]:
        """Its place in the deal: by the rarest label it holds, by how many of its cases do, by its size."""
        first = next((i for i, cases in enumerate(self.held) if cases), len(self.held))
        return first, -sum(self.held[first : first + 1]), -len(self.cases)


@dataclass(slots=True)
class _Part:
    """Units that are held out together; of each rare label, how many of their cases and of the units hold it."""

    names: set[str]
    cases: list[int]
    units: list[int]

    def add(self, unit: _Unit) -> None:
        self.names.update(unit.cases)
        self.cases = [sum(both) for both in zip(self.cases, unit.held, strict=True)]
        self.units = [units + (cases > 0) for units, cases in zip(self.units, unit.held, strict=True)]


def rare_labels(fingerprint: Fingerprint) -> tuple[RareLabel, ...]:
    """Return the structures that some cases hold and others lack, in the order of the labels."""
    cases = fingerprint.cases
    holders = (
        RareLabel(name=label.name, cases=tuple(case.name for case in cases if case.label_voxels[position]))
        for position, label in enumerate(fingerprint.labels)
        if label.role == "foreground"
    )
    return tuple(label for label in holders if 0 < len(label.cases) < len(cases))


def make_folds(
    dataset: Dataset, number: int, seed: int, validation: Sequence[str] = (), rare: Sequence[RareLabel] = ()
) -> Folds:
    """Return `number` folds, deterministic by `seed`; each case is held out once.

    Patients (groups) stay together. Slices of one stack are cut into contiguous blocks, and the slice next to a
    held-out block trains nothing. With fewer groups than folds, each group is held out once; a single case trains and
    judges, which is said. Each fold holds out its share of the rare labels as far as groups allow. The first folds are
    those whose training keeps every label, then the smaller ones.

    Args:
        dataset: the cases.
        number: folds wanted, at least 2.
        seed: of the shuffle.
        validation: names of the cases to hold out in one fixed fold, instead.
        rare: the labels that some cases lack.

    Raises:
        AutosegError: a name in `validation` is no case, or all cases would be held out.

    """
    names = tuple(case.name for case in dataset.cases)
    if validation:
        return _fixed(dataset, names, validation)
    if len(names) == 1:
        because = "one case only: it both trains and judges, so its scores say nothing of new cases"
        return Folds(because=because, folds=(Fold(train=names, validation=names),))
    if dataset.stacks and set(dataset.stacks[0]) == set(names):
        return _blocks(dataset.stacks[0], min(number, len(names)))
    groups = _groups(dataset)
    if len(groups) == 1:
        because = f"all {len(names)} cases are of one group: contiguous blocks, one case left out between"
        return replace(_blocks(names, min(number, len(names))), because=because)
    random.Random(seed).shuffle(groups)
    rare = _rarest_first(rare, groups)
    count = min(number, len(groups))
    parts = _parts(_units(groups, rare), count)
    folds = tuple(
        Fold(
            train=tuple(name for name in names if name not in part.names),
            validation=tuple(name for name in names if name in part.names),
        )
        for part in parts
    )
    whole = "" if len(groups) == len(names) else f", {len(groups)} groups kept whole"
    few = "" if count == number else f"; {number} folds were asked for"
    because = f"{count} folds over {len(names)} cases, shuffled with seed {seed}{whole}{few}{_about(rare, parts)}"
    return Folds(because=because, folds=folds)


def _fixed(dataset: Dataset, names: tuple[str, ...], validation: Sequence[str]) -> Folds:
    unknown = [name for name in validation if name not in names]
    if unknown:
        what = f"no case {unknown[0]} to validate on"
        raise AutosegError.at(dataset.folder, what, f"choose among {', '.join(names[:5])} ...")
    held_out = set(validation)
    train = tuple(name for name in names if name not in held_out)
    if not train:
        raise AutosegError.at(dataset.folder, "all cases are held out", "leave some to train on")
    kept = tuple(name for name in names if name in held_out)
    return Folds(because=f"{len(kept)} named cases are held out", folds=(Fold(train=train, validation=kept),))


def _groups(dataset: Dataset) -> list[tuple[str, ...]]:
    groups: dict[str, list[str]] = {}
    for case in dataset.cases:
        groups.setdefault(case.group, []).append(case.name)
    return [tuple(names) for _, names in sorted(groups.items())]


def _rarest_first(rare: Sequence[RareLabel], groups: Sequence[tuple[str, ...]]) -> list[RareLabel]:
    group = {name: index for index, names in enumerate(groups) for name in names}
    return sorted(rare, key=lambda label: (len({group.get(name) for name in label.cases}), len(label.cases)))


def _units(groups: Sequence[tuple[str, ...]], rare: Sequence[RareLabel]) -> list[_Unit]:
    holders = [frozenset(label.cases) for label in rare]
    return [_Unit(names, tuple(sum(name in cases for name in names) for cases in holders)) for names in groups]


def _parts(units: Sequence[_Unit], count: int) -> list[_Part]:
    """Deal the units out, holders of the rarest label first, each to the part with the fewest cases of that label.

    Of parts that have as few, the one with the fewest cases of the unit's next rarest label gets it, at last the
    smallest. Without rare labels the largest unit comes first and goes to the smallest part. Source: the greedy order
    of Sechidis, Tsoumakas and Vlahavas, "On the stratification of multi-label data", 2011.
    """
    holders = [sum(unit.held[i] > 0 for unit in units) for i in range(len(units[0].held))]
    total = sum(len(unit.cases) for unit in units)
    parts = [_Part(set(), [0] * len(holders), [0] * len(holders)) for _ in range(count)]
    for unit in sorted(units, key=lambda unit: unit.order):
        min(parts, key=lambda part: _cost(unit, part, holders, total // count)).add(unit)

    def rank(part: _Part) -> tuple[int, bool, int, int]:
        untrained = sum(own == all_ for own, all_ in zip(part.units, holders, strict=True))
        return untrained, len(part.names) * count > total, part.units.count(0), len(part.names)

    return sorted(parts, key=rank)


def _cost(unit: _Unit, part: _Part, holders: Sequence[int], share: int) -> tuple[int, ...]:
    """Return what speaks against the part, first things first.

    To hold out the last of the units that hold a label would leave none to train on. Where one unit alone holds a
    label that cannot be helped; such units share a part while it has room, so that the other folds train on all labels.
    """
    mine = [i for i, cases in enumerate(unit.held) if cases]
    last = sum(holders[i] > 1 and part.units[i] == holders[i] - 1 for i in mine)
    size = len(part.names)
    if mine and holders[mine[0]] == 1:
        is_full = size + len(unit.cases) > share
        return last, is_full, size if is_full else -size
    return (last, *(part.cases[i] for i in mine), size)


def _about(rare: Sequence[RareLabel], parts: Sequence[_Part]) -> str:
    """Return what became of the rare labels, or nothing where there are none."""
    if not rare:
        return ""
    text = "; dealt by the labels that some cases lack, the rarest first: "
    text += _listed([f"{label.name} (in {len(label.cases)})" for label in rare])
    sparse = [label.name for i, label in enumerate(rare) if not all(part.units[i] for part in parts)]
    if sparse:
        text += f"; not in every fold's validation: {_listed(sparse)}"
    for index, part in enumerate(parts):
        lost = [label.name for label in rare if part.names.issuperset(label.cases)]
        if lost:
            text += f"; fold {index} has none to train on of {_listed(lost)}"
    return text


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _blocks(order: Sequence[str], count: int) -> Folds:
    """Cut slices into `count` contiguous blocks; the neighbours of the held-out block are left out of training."""
    n = len(order)
    folds = []
    for index in range(count):
        low, high = index * n // count, (index + 1) * n // count
        train = (*order[: max(0, low - 1)], *order[high + 1 :]) or (*order[:low], *order[high:])
        folds.append(Fold(train=train, validation=tuple(order[low:high])))
    because = f"{n} slices of one stack: {count} contiguous blocks, one slice left out between"
    return Folds(because=because, folds=tuple(sorted(folds, key=lambda fold: len(fold.validation))))
