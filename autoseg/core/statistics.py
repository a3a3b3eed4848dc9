"""What a handful of cases can say: bootstrap intervals over patients and paired differences.

Rules: resample patients, never slices or folds; BCa intervals (Efron 1987) for means, percentile intervals for medians
(the "basic" bootstrap of a median covers far less than it says); no interval under 10 patients, a note under 50.
Tests count patients, too: Wilcoxon's takes one difference per patient, under 20 patients an exact test flips the signs
of whole patients, and many tests at once are corrected by Holm.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

RESAMPLES = 2000
"""Enough for two digits of a 95 % bound; the usual number in challenge reports."""

CONFIDENCE = 0.95
SEED = 20_260_101
"""Fixed, so that the same scores give the same interval on every machine."""

MINIMUM_PATIENTS = 10
"""Below it a 95 % bootstrap interval covers the truth less than 80 % of the time: none is given."""

CAUTION_PATIENTS = 50
"""Below it coverage stays under the 95 % that the interval promises: a note says so."""

RANKED_PATIENTS = 20
"""From here on Wilcoxon's test; below it all 2^n flips of signs are counted, at most 2^18 sums."""

SIGNIFICANCE = 0.05
"""Chance of calling two equal results different."""

POWER = 0.8
"""Chance of finding a difference that is there: what studies are usually sized for."""

_BLOCK_BYTES = 64 << 20

Floats = NDArray[np.float64]
Statistic = Callable[[Floats, NDArray[np.int64]], Floats]
"""(values (n,), weights (resamples, n)) -> one number per resample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A 95 % confidence interval, bounds included."""

    lower: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """How `a` differs from `b` on the same cases: a - b.

    One test is made: Wilcoxon's signed-rank test (`wilcoxon_p`) or, under 20 patients, the exact sign-flip test of the
    mean (`sign_flip_p`); the other is None, and both are when every difference is zero. Older records have Wilcoxon's
    for any number. `sd` is the standard deviation of the patients' mean differences, None for one patient; it and
    `patients` are None in records older than them.
    """

    n: int
    mean_a: float
    mean_b: float
    mean: float
    mean_interval: Interval | None
    median: float
    median_interval: Interval | None
    wilcoxon_p: float | None
    patients: int | None = None
    sd: float | None = None
    sign_flip_p: float | None = None

    @property
    def p(self) -> float | None:
        """The p-value of the test that was made, two-sided; None where there was none to make."""
        return self.wilcoxon_p if self.sign_flip_p is None else self.sign_flip_p

    @property
    def test(self) -> Literal["Wilcoxon", "sign flip"] | None:
        """The test that `p` is of."""
        if self.p is None:
            return None
        return "Wilcoxon" if self.sign_flip_p is None else "sign flip"


def weighted_mean(values: Floats, weights: NDArray[np.int64]) -> Floats:
    """Return the mean of `values` (n,) for each row of the integer `weights` (resamples, n)."""
    result: Floats = (weights @ values) / weights.sum(axis=1)
    return result


def weighted_median(values: Floats, weights: NDArray[np.int64]) -> Floats:
    """Return the median of `values` (n,), each repeated as often as a row of `weights` (resamples, n) says."""
    order = np.argsort(values, kind="stable")
    reached = np.cumsum(weights[:, order], axis=1)
    total = reached[:, -1:]
    lower = np.argmax(reached >= (total + 1) // 2, axis=1)
    upper = np.argmax(reached >= total // 2 + 1, axis=1)
    result: Floats = (values[order[lower]] + values[order[upper]]) / 2
    return result


def percentile_interval(
    values: Sequence[float], patients: Sequence[str] | None = None, statistic: Statistic = weighted_median
) -> Interval | None:
    """Return the percentile bootstrap interval of `statistic`, by default the median; None under 10 patients.

    `patients` names the patient of each value; without it every value is a patient of its own.
    """
    array, patient = _checked(values, patients)
    if _count(patient) < MINIMUM_PATIENTS:
        return None
    tail = (1 - CONFIDENCE) / 2
    lower, upper = np.quantile(_resampled(array, patient, statistic), (tail, 1 - tail))
    return Interval(lower=float(lower), upper=float(upper))


def bca_interval(
    values: Sequence[float], patients: Sequence[str] | None = None, statistic: Statistic = weighted_mean
) -> Interval | None:
    """Return the bias-corrected, accelerated bootstrap interval of `statistic`, by default the mean.

    None under 10 patients. Values that are all equal give an interval of no width. Source: Efron, Better bootstrap
    confidence intervals, JASA 1987; ties count half when the bias is estimated, as SciPy does.
    """
    array, patient = _checked(values, patients)
    if _count(patient) < MINIMUM_PATIENTS:
        return None
    if np.ptp(array) == 0:
        return Interval(lower=float(array[0]), upper=float(array[0]))
    estimate = statistic(array, np.ones((1, array.size), dtype=np.int64))[0]
    resampled = _resampled(array, patient, statistic)
    below = (np.sum(resampled < estimate) + np.sum(resampled <= estimate)) / (2 * RESAMPLES)
    bias = ndtri(np.clip(below, 0.5 / RESAMPLES, 1 - 0.5 / RESAMPLES))
    acceleration = _acceleration(array, patient, statistic)
    tail = ndtri((1 - CONFIDENCE) / 2)
    quantiles = [float(ndtr(bias + (bias + z) / (1 - acceleration * (bias + z)))) for z in (tail, -tail)]
    lower, upper = np.quantile(resampled, quantiles)
    return Interval(lower=float(lower), upper=float(upper))


def paired_difference(
    a: Sequence[float], b: Sequence[float], patients: Sequence[str] | None = None
) -> PairedDifference:
    """Compare two results on the same cases, in the same order: a - b with intervals and a test.

    Mean and median are over cases. Cases of one patient depend on each other, so intervals resample patients.
    Wilcoxon's signed-rank test takes one number per patient, the mean of its differences; under 20 patients `sign_flip`
    takes its place.

    Raises:
        ValueError: not the same number of values, none at all, or one that is not finite.

    """
    if len(a) != len(b):
        msg = f"{len(a)} values cannot be paired with {len(b)}"
        raise ValueError(msg)
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    difference = first - second
    values = [float(v) for v in difference]
    by_patient = _patient_means(*_checked(values, patients))
    ranked = by_patient.size >= RANKED_PATIENTS
    return PairedDifference(
        n=len(values),
        patients=by_patient.size,
        mean_interval=bca_interval(values, patients),
        median_interval=percentile_interval(values, patients),
        mean_a=float(first.mean()),
        mean_b=float(second.mean()),
        mean=float(difference.mean()),
        median=float(np.median(difference)),
        sd=float(by_patient.std(ddof=1)) if by_patient.size > 1 else None,
        wilcoxon_p=_wilcoxon(by_patient) if ranked else None,
        sign_flip_p=None if ranked else sign_flip(values, patients),
    )


def sign_flip(differences: Sequence[float], patients: Sequence[str] | None = None) -> float | None:
    """Return the exact two-sided p-value of the mean of paired differences; None when every difference is zero.

    Were the two results alike, each patient's differences could as well have the other sign: p is the share of all 2^n
    choices of signs whose mean is as far from zero as the one found. The signs of a patient's cases turn together.
    Meant for few patients; time and memory double with each. Source: Fisher, The Design of Experiments, 1935, section
    21.

    >>> sign_flip([1, 1, 1])
    0.25

    """
    array, patient = _checked(differences, patients)
    by_patient = np.bincount(patient, weights=array)
    by_patient = by_patient[by_patient != 0]  # their sign changes no sum
    if by_patient.size == 0:
        return None
    sums = by_patient[:1]  # one sign of the first patient's: the other mirrors all sums
    for value in by_patient[1:]:
        sums = np.concatenate([sums + value, sums - value])
    rounding = 1e-9 * float(np.abs(by_patient).sum())  # equal sums, added up in another order
    return float(np.mean(np.abs(sums) >= abs(float(by_patient.sum())) - rounding))


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Return the p-values, in their order, adjusted for being many; None stays None and counts as no test.

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 1979.

    >>> holm([0.01, None, 0.04, 0.03])
    (0.03, None, 0.06, 0.06)

    """
    order = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, i) in enumerate(order):
        highest = max(highest, min(1.0, p * (len(order) - rank)))
        adjusted[i] = highest
    return tuple(adjusted)


def patients_needed(mean: float, sd: float | None, tests: int = 1) -> int | None:
    """Return how many patients would show a paired difference of this mean and standard deviation, if it is real.

    Normal theory: n = ((z(1 - a/2) + z(power)) sd / mean)^2 with a = SIGNIFICANCE / `tests`, the strictest step of
    Holm's correction, and 80 % power. None when there is no difference or no spread to compute with.

    >>> patients_needed(0.01, 0.05)
    197

    """
    if not mean or not sd:
        return None
    reach = float(ndtri(1 - SIGNIFICANCE / tests / 2) + ndtri(POWER))
    return math.ceil((reach * sd / mean) ** 2)


def _patient_means(array: Floats, patient: NDArray[np.intp]) -> Floats:
    means: Floats = np.bincount(patient, weights=array) / np.bincount(patient)
    return means


def _wilcoxon(difference: Floats) -> float | None:
    from scipy.stats import wilcoxon  # scipy.stats takes a second to load

    if not np.any(difference):
        return None
    return float(wilcoxon(difference).pvalue)


def _checked(values: Sequence[float], patients: Sequence[str] | None) -> tuple[Floats, NDArray[np.intp]]:
    """Return the values and the number of each one's patient, from 0."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0 or not np.all(np.isfinite(array)):
        msg = "statistics need at least one value, and only finite ones: leave undefined values out and count them"
        raise ValueError(msg)
    if patients is None:
        return array, np.arange(array.size)
    if len(patients) != array.size:
        msg = f"{len(patients)} patients for {array.size} values"
        raise ValueError(msg)
    patient: NDArray[np.intp] = np.unique(np.asarray(patients), return_inverse=True)[1]
    return array, patient


def _count(patient: NDArray[np.intp]) -> int:
    return int(patient.max()) + 1


def _resampled(array: Floats, patient: NDArray[np.intp], statistic: Statistic) -> Floats:
    """Draw RESAMPLES times as many patients as there are, with replacement; return the statistic of each draw."""
    generator = np.random.default_rng(SEED)
    n = _count(patient)

    def drawn(rows: range) -> NDArray[np.int64]:
        chosen = generator.integers(0, n, (len(rows), n))
        flat = (chosen + np.arange(len(rows))[:, None] * n).ravel()
        return np.bincount(flat, minlength=len(rows) * n).reshape(len(rows), n)

    return _in_blocks(RESAMPLES, array, patient, statistic, drawn)


def _acceleration(array: Floats, patient: NDArray[np.intp], statistic: Statistic) -> float:
    """Skewness of the statistic when one patient at a time is left out (jackknife)."""
    n = _count(patient)

    def left_out(rows: range) -> NDArray[np.int64]:
        return np.asarray(np.asarray(rows)[:, None] != np.arange(n)[None], dtype=np.int64)

    jackknife = _in_blocks(n, array, patient, statistic, left_out)
    deviation = jackknife.mean() - jackknife
    spread = float(np.sum(deviation**2))
    return float(np.sum(deviation**3) / (6 * spread**1.5)) if spread > 0 else 0.0


def _in_blocks(
    total: int,
    array: Floats,
    patient: NDArray[np.intp],
    statistic: Statistic,
    weights_of: Callable[[range], NDArray[np.int64]],
) -> Floats:
    """Evaluate the statistic for `total` rows of patient weights without holding them all."""
    block = max(1, _BLOCK_BYTES // (8 * array.size))
    rows = [range(start, min(start + block, total)) for start in range(0, total, block)]
    return np.concatenate([statistic(array, weights_of(r)[:, patient]) for r in rows])
