"""Two or more results on the same cases: which is better, by how much, and could it be chance."""

from collections.abc import Sequence
from pathlib import Path

from autoseg.core.comparison import Comparison, Result, compare_scores, shared_metrics
from autoseg.core.definitions import Metric, parse_metrics
from autoseg.core.errors import AutosegError
from autoseg.core.records import read_record, write_record
from autoseg.core.runtime import digest_file
from autoseg.core.scores import Scores

SCORES_JSON = "scores.json"
COMPARISON_JSON = "comparison.json"
_SHOWN = 3


def compare(places: Sequence[Path], output: Path | None = None, metrics: str | None = None) -> Comparison:
    """Compare scores of the same cases: every result after the first with the first, case by case.

    Args:
        places: two or more folders with the scores.json that `autoseg evaluate` wrote, or such files.
        output: folder for comparison.json; nothing is written when None.
        metrics: names with commas between; all that the results share when None.

    Raises:
        AutosegError: fewer than two results, no scores in one of them, other cases, labels, references or rules, or a
            metric that they do not share.

    """
    if len(places) < 2:
        raise AutosegError.at("compare", f"{len(places)} result given", "name at least two folders with scores.json")
    files = [_scores_file(place) for place in places]
    scores = [read_record(file, Scores) for file in files]
    for file, other in zip(files[1:], scores[1:], strict=True):
        _check_same_cases(files[0], scores[0], file, other)
    results = [
        Result(name=name, scores=str(file), sha256=digest_file(file))
        for name, file in zip(_names(places), files, strict=True)
    ]
    comparison = compare_scores(results, scores, _chosen(metrics, scores))
    if output is not None:
        write_record(output / COMPARISON_JSON, comparison)
    return comparison


def _chosen(metrics: str | None, scores: Sequence[Scores]) -> tuple[Metric, ...] | None:
    if metrics is None:
        return None
    shared = shared_metrics(scores)
    wanted = parse_metrics(metrics)
    absent = [metric for metric in wanted if metric not in (*shared, "iou")]
    if absent:
        mend = f"evaluate all of them with --metrics {absent[0]}; they share {', '.join(shared) or 'nothing'}"
        raise AutosegError.at("--metric", f"not all results have {absent[0]} with one meaning", mend)
    return wanted


def _scores_file(place: Path) -> Path:
    if place.is_file():
        return place
    if not place.is_dir():
        raise AutosegError.at(place, "no such file or folder", "name folders with the scores.json of autoseg evaluate")
    file = place / SCORES_JSON
    if not file.is_file():
        raise AutosegError.at(place, f"holds no {SCORES_JSON}", "run `autoseg evaluate` on these predictions first")
    return file


def _names(places: Sequence[Path]) -> list[str]:
    """Return the shortest endings of the paths that tell them apart; of equal paths, numbered ones."""
    parts = [place.resolve().parts for place in places]
    parts = [p[:-1] if p[-1] == SCORES_JSON else p for p in parts]
    for length in range(1, max(len(p) for p in parts) + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{p[-1]} ({number})" for number, p in enumerate(parts, start=1)]


def _check_same_cases(first_file: Path, first: Scores, file: Path, other: Scores) -> None:
    """Refuse scores of other cases, labels or references: their differences would mean nothing."""
    mend = "evaluate both against the same references"
    if first.both_empty != other.both_empty:
        what = f"counts labels that neither side holds otherwise than {first_file}"
        raise AutosegError.at(file, what, "evaluate both by the same rules")
    ours, theirs = [case.case for case in first.cases], [case.case for case in other.cases]
    if ours != theirs:
        odd = sorted(set(ours) ^ set(theirs))
        shown = ", ".join(odd[:_SHOWN]) + (", ..." if len(odd) > _SHOWN else "")
        raise AutosegError.at(file, f"{len(odd)} cases are not in both ({shown}), compared with {first_file}", mend)
    for case, same in zip(first.cases, other.cases, strict=True):
        if [score.label for score in case.labels] != [score.label for score in same.labels]:
            raise AutosegError.at(file, f"other labels than in {first_file}", mend)
        for score, twin in zip(case.labels, same.labels, strict=True):
            if score.tp + score.fn != twin.tp + twin.fn:
                what = f"the reference of {case.case} has {twin.tp + twin.fn} voxels of {score.label}, not"
                raise AutosegError.at(file, f"{what} {score.tp + score.fn} as in {first_file}", mend)
