"""Which cases train and which judge: whole patients, or blocks of a stack, never both sides of one."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from autoseg.core.errors import AutosegError
from autoseg.datasets.dataset import Dataset, Fold, Folds


@dataclass(frozen=True, slots=True)
class _Unit:
    """Cases that must stay together."""

    cases: tuple[str, ...]


def make_folds(dataset: Dataset, number: int, seed: int, validation: Sequence[str] = ()) -> Folds:
    """Return `number` folds, deterministic by `seed`; each case is held out once.

    Patients (groups) stay together. Slices of one stack are cut into contiguous blocks, and the slice next to a
    held-out block trains nothing. With fewer groups than folds, each group is held out once; a single case trains and
    judges, which is said. The first folds are the smaller ones.

    Args:
        dataset: the cases.
        number: folds wanted, at least 2.
        seed: of the shuffle.
        validation: names of the cases to hold out in one fixed fold, instead.

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
    units = _units(dataset)
    if len(units) == 1:
        because = f"all {len(names)} cases are of one group: contiguous blocks, one case left out between"
        return replace(_blocks(names, min(number, len(names))), because=because)
    random.Random(seed).shuffle(units)
    count = min(number, len(units))
    folds = []
    for part in _parts(units, count):
        held_out = {name for unit in part for name in unit.cases}
        folds.append(
            Fold(
                train=tuple(name for name in names if name not in held_out),
                validation=tuple(name for name in names if name in held_out),
            )
        )
    whole = "" if len(units) == len(names) else f", {len(units)} groups kept whole"
    few = "" if count == number else f"; {number} folds were asked for"
    return Folds(
        because=f"{count} folds over {len(names)} cases, shuffled with seed {seed}{whole}{few}", folds=tuple(folds)
    )


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


def _units(dataset: Dataset) -> list[_Unit]:
    groups: dict[str, list[str]] = {}
    for case in dataset.cases:
        groups.setdefault(case.group, []).append(case.name)
    return [_Unit(tuple(names)) for _, names in sorted(groups.items())]


def _parts(units: Sequence[_Unit], count: int) -> list[list[_Unit]]:
    """Deal the units out, the largest first, each to the part with the fewest cases; parts in ascending size."""
    parts: list[list[_Unit]] = [[] for _ in range(count)]
    for unit in sorted(units, key=lambda u: -len(u.cases)):
        min(parts, key=lambda part: sum(len(u.cases) for u in part)).append(unit)
    return sorted(parts, key=lambda part: sum(len(u.cases) for u in part))


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
