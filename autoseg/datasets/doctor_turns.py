"""Labels that were mirrored or turned against their image, by their own edges and by what is usual in the dataset."""

from collections.abc import Iterator

import numpy as np

from autoseg.datasets.inspection import Examined, Finding, TurnGain

_FEWEST = 5
_LEAST_GAIN = 0.02
_DEVIATIONS = 3.0
_MAD_TO_SIGMA = 1.4826
_USUALLY = 0.8
_GAIN_AMONG_FEW = 0.4
"""Without other cases to compare with, a label must meet half more edge to be called turned: a tumour on one side of a
brain, in its place, meets 21 % more on the other side."""


def turned_labels(labelled: Examined) -> Iterator[Finding]:
    """Yield a warning for each label that lies better on its image's edges after a turn, or one for the whole dataset.

    In a dataset where a turn usually loses edge (median below zero by a robust standard deviation), a case that gains
    by it and is three such deviations from the median is turned. Where four fifths of all cases gain by one turn, all
    are. Where labels have no edges to lie on, neither happens.
    """
    judged = [(case, {turn.turn: turn.gain for turn in fact.turns}) for case, fact in labelled if fact.turns]
    if len(judged) < _FEWEST:
        for case, gains in judged:
            turn, gain = max(gains.items(), key=lambda pair: pair[1])
            if gain > _GAIN_AMONG_FEW:
                yield _finding(case.references[0] or case.name, TurnGain(turn=turn, gain=gain))
        return
    found: dict[int, TurnGain] = {}
    for turn in dict.fromkeys(name for _, gains in judged for name in gains):
        having = [(index, gains[turn]) for index, (_, gains) in enumerate(judged) if turn in gains]
        values = np.array([gain for _, gain in having])
        middle = float(np.median(values))
        sigma = _MAD_TO_SIGMA * float(np.median(np.abs(values - middle)))
        if len(values) >= _FEWEST and np.mean(values > _LEAST_GAIN) >= _USUALLY:
            what = f"{np.mean(values > 0):.0%} of the labels lie better on the edges of their images {turn}"
            mend = "check in a viewer that labels and images were stored with the same axes"
            yield Finding(severity="warning", where="labels", what=what, mend=mend)
            return
        if middle < -sigma:
            for index, gain in having:
                known = found.get(index)
                turned = gain > _LEAST_GAIN and gain - middle > _DEVIATIONS * sigma
                if turned and (known is None or gain > known.gain):
                    found[index] = TurnGain(turn=turn, gain=gain)
    for index, best in sorted(found.items()):
        case = judged[index][0]
        yield _finding(case.references[0] or case.name, best)


def _finding(where: str, best: TurnGain) -> Finding:
    what = (
        f"the label lies better on its image when {best.turn}: {np.expm1(best.gain):.0%} more edge under its boundary"
    )
    mend = "look at it in a viewer; if it is turned, export it again"
    return Finding(severity="warning", where=where, what=what, mend=mend)
