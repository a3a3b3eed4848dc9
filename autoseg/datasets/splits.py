"""Whether a split is one of these cases: a workspace keeps its split as long as it is."""

from autoseg.datasets.dataset import Dataset, Folds


def is_split_of(folds: Folds, dataset: Dataset) -> bool:
    """Whether the folds hold every case of the dataset and no other, and tear no patient that could be kept whole."""
    names = {case.name for case in dataset.cases}
    held = {name for fold in folds.folds for name in (*fold.train, *fold.validation)}
    if held != names:
        return False
    groups = {case.name: case.group for case in dataset.cases}
    if len(set(groups.values())) == 1 or dataset.stacks:
        return True  # blocks of slices, or a single case
    return not any(
        {groups[name] for name in fold.train} & {groups[name] for name in fold.validation} for fold in folds.folds
    )
