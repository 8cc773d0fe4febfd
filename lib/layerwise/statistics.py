"""Estimates with 95 % intervals: the bootstrap over examples, and the tests that go with it."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from layerwise.errors import InputError

CONFIDENCE = 0.95
SIGNIFICANCE = 0.025  # of one-sided tests, which agrees with two-sided intervals of 95 %
MARGIN = 0.01  # of accuracy: a model that loses less than this is not inferior


@dataclass(frozen=True)
class Interval:
    """An estimate from n examples with its 95 % interval.

    >>> f"{Interval(value=0.912, low=0.896, high=0.928, n=2994):.1%}"
    '91.2% [89.6%, 92.8%]'
    """

    value: float
    low: float
    high: float
    n: int

    def __format__(self, kind: str) -> str:
        return f"{self.value:{kind}} [{self.low:{kind}}, {self.high:{kind}}]"

    @property
    def points(self) -> str:
        """A difference of accuracies in points (hundredths)."""
        return f"{100 * self.value:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"


@dataclass(frozen=True)
class Stability:
    """How certain a ranking of layers is, over bootstrap samples of the examples.

    Attributes:
        ranks: of the layers; 1 is the most important.
        rank_intervals: 95 % intervals of the ranks.
        kendall_tau: mean correlation of the resampled rankings with the ranking from all examples.
    """

    ranks: list[int]
    rank_intervals: list[tuple[float, float]]
    kendall_tau: float


def accuracy_interval(correct: np.ndarray, clusters: np.ndarray | None = None) -> Interval:
    """Share of True in (N,), with Wilson's interval (Wilson, 1927).

    With clusters, the interval is that of as many independent examples as have the same variance (Korn & Graubard,
    1998): N divided by the design effect.

    Args:
        clusters: (N,), what each example belongs to, such as a product: examples of one cluster are not independent.
    """
    n, share = len(correct), float(correct.mean())
    effective = n / _design_effect(correct, clusters)
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    centre, shrinkage = share + z**2 / (2 * effective), 1 + z**2 / effective
    arm = z * math.sqrt(share * (1 - share) / effective + z**2 / (4 * effective**2))
    return Interval(
        value=share, low=max(0.0, (centre - arm) / shrinkage), high=min(1.0, (centre + arm) / shrinkage), n=n
    )


def paired_difference(first: np.ndarray, second: np.ndarray, counts: np.ndarray) -> Interval:
    """Mean of first - second, both (N,) and paired by example, in the resamples of counts (R, N)."""
    return estimate(bootstrap_means(first.astype(float) - second, counts), len(first))


def bootstrap_layers(scores: np.ndarray, counts: np.ndarray) -> tuple[list[tuple[float, float]], Stability]:
    """Intervals and ranks of L layers from scores (N, L), in the resamples of counts (R, N) of `bootstrap_counts`.

    Returns:
        A 95 % percentile interval of the mean of each layer, and the stability of the ranking.
    """
    means = bootstrap_means(scores, counts)
    taus = [stats.kendalltau(means[0], mean).statistic for mean in means[1:]]
    return percentile_intervals(means), Stability(
        ranks=stats.rankdata(-means[0], method="ordinal").tolist(),
        rank_intervals=percentile_intervals(stats.rankdata(-means, axis=1)),
        kendall_tau=float(np.mean(taus)),
    )


def bootstrap_counts(
    examples: int, samples: int, seed: int, split: str = "", clusters: np.ndarray | None = None
) -> np.ndarray:
    """How often each example is drawn: (1 + samples, examples); the first row holds each example once.

    Args:
        split: names the examples. Of one seed, the draws of one split are the same and those of two independent.
        clusters: (examples,), what each example belongs to, such as a product: its examples are drawn together (Davison
            & Hinkley, 1997, section 3.8). By default every example is drawn alone.
    """
    units, members = examples, np.arange(examples)
    if clusters is not None:
        unique, members = np.unique(clusters, return_inverse=True)
        units = len(unique)
    draw = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(split.encode())))
    counts = np.ones((1 + samples, examples), dtype=np.int32)
    for row in counts[1:]:
        row[:] = draw.multinomial(units, np.full(units, 1 / units))[members]
    return counts


def split_in_halves(examples: int, clusters: np.ndarray | None = None) -> np.ndarray:
    """Whether each example is of the second half: (examples,) bool; every other one, or every other cluster."""
    members = np.arange(examples) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    return members % 2 == 1


def bootstrap_seeds(seeds: int, samples: int, seed: int) -> np.ndarray:
    """How often each of S training seeds is drawn: (1 + samples, S); the first row holds each of them once.

    S - 1 are drawn of S, so that the variance of a mean over few seeds is not too small (McCarthy & Snowden, 1985).
    """
    draw = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=tuple(b"seeds")))
    drawn = draw.multinomial(max(1, seeds - 1), np.full(seeds, 1 / seeds), size=samples)
    return np.vstack([np.ones(seeds, dtype=drawn.dtype), drawn])


def bootstrap_means(values: np.ndarray, counts: np.ndarray, seeds: np.ndarray | None = None) -> np.ndarray:
    """Means of values (N, ...) in each resample of counts (R, N): (R, ...).

    Args:
        seeds: (R, S) of `bootstrap_seeds`, where values (S, N) are those of S seeds: then seeds are drawn, and of them
            examples, and the means are (R,).
    """
    if seeds is not None:
        return ((seeds @ values) * counts).sum(1) / (seeds.sum(1) * counts.sum(1))
    means = np.tensordot(counts, values, axes=1)
    return means / counts.sum(1).reshape(-1, *[1] * (means.ndim - 1))


def bootstrap_scores(scores: Mapping[str, np.ndarray], counts: np.ndarray) -> dict[str, np.ndarray]:
    """Mean scores (R, L) of each method in each resample of counts (R, N), from its scores (N, L)."""
    return {method: bootstrap_means(values, counts) for method, values in scores.items()}


def estimate(distribution: np.ndarray, n: int) -> Interval:
    """An estimate and its percentile interval from (R,): the first entry is from all n examples, others resampled."""
    [(low, high)] = percentile_intervals(distribution[:, None])
    return Interval(value=float(distribution[0]), low=low, high=high, n=n)


def estimate_reselected(distribution: np.ndarray, n: int) -> Interval:
    """An estimate (R,) of what selects anew in each resample, with the normal interval around it.

    The best of many is less lucky on other examples than on those that selected it. So resamples lie below the
    estimate, and a percentile interval may not hold it; their standard deviation is that of the estimate.
    """
    value, arm = float(distribution[0]), float(stats.norm.ppf((1 + CONFIDENCE) / 2) * distribution[1:].std(ddof=1))
    arm = max(arm, 1e-12)  # what differs by rounding alone does not differ
    return Interval(value=value, low=value - arm, high=value + arm, n=n)


def percentile_intervals(distribution: np.ndarray) -> list[tuple[float, float]]:
    """The percentile interval of each column of (R, L), without the first row."""
    edges = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.quantile(distribution[1:], edges, axis=0).tolist()
    return list(zip(low, high, strict=True))


def combine_seeds(intervals: Sequence[Interval]) -> Interval:
    """The mean over training seeds, from the interval over examples of each.

    Seeds share their examples. So the standard error is that of one seed over examples and, beside it, that of the mean
    over seeds, with Student's quantile of their joint degrees of freedom (Satterthwaite, 1946). One seed says nothing
    of others, and two say next to nothing (Student's quantile is 13): their interval is over examples alone.
    """
    if len(intervals) == 1:
        return intervals[0]
    values = [each.value for each in intervals]
    mean = statistics.mean(values)  # exact: the mean of equal values is that value
    if len(intervals) == 2:
        return mean_of_ends(intervals)
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    within = (statistics.mean((each.high - each.low) / 2 for each in intervals) / z) ** 2
    between = statistics.variance(values) / len(values)
    freedom = (within + between) ** 2 * (len(values) - 1) / between**2 if between else math.inf
    arm = float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * math.sqrt(within + between))
    return Interval(value=mean, low=mean - arm, high=mean + arm, n=intervals[0].n)


def mean_of_ends(intervals: Sequence[Interval]) -> Interval:
    """Means over training seeds of values and of both ends of their intervals."""
    value, low, high = (statistics.mean(getattr(each, name) for each in intervals) for name in ("value", "low", "high"))
    return Interval(value=value, low=low, high=high, n=intervals[0].n)


def noninferiority_p_value(correct: np.ndarray, whole: np.ndarray) -> float:
    """One-sided p-value of the score test for paired proportions against "worse by `MARGIN` or more" (Tango, 1998).

    For several seeds it is the largest of theirs, which is valid: if the mean over seeds is worse, one of them is
    (Berger, 1982).

    Args:
        correct, whole: (N,) or (S, N) of S seeds, whether the predictions of the smaller and of the whole model are
            correct.

    Raises:
        InputError: they are not 0 or 1, or not of the same shape.
    """
    correct, whole = (np.atleast_2d(each).astype(float) for each in (correct, whole))
    if correct.shape != whole.shape or not np.isin(np.stack([correct, whole]), (0, 1)).all():
        raise InputError("the non-inferiority test takes pairs of predictions that are correct or not: 0 or 1")
    n, better, worse = correct.shape[1], (correct > whole).sum(1), (correct < whole).sum(1)
    # The share of pairs with the whole model alone correct, most likely if it is larger than the other by the margin.
    linear = -better - worse - (2 * n - better + worse) * MARGIN
    share = (np.sqrt(linear**2 - 8 * n * worse * MARGIN * (1 + MARGIN)) - linear) / (4 * n)
    score = (better - worse + n * MARGIN) / np.sqrt(n * (2 * share - MARGIN * (1 + MARGIN)))
    return float(stats.norm.sf(score).max())


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests, each large enough for all of them together (Holm, 1979)."""
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1)
    return adjusted.tolist()


def _design_effect(values: np.ndarray, clusters: np.ndarray | None) -> float:
    """How many times as large the variance of a mean over (N,) is as for independent examples; at least 1."""
    residuals = values - values.mean()
    alone = (residuals**2).sum()
    if clusters is None or not alone:
        return 1.0
    _, members = np.unique(clusters, return_inverse=True)
    return max(1.0, float((np.bincount(members, residuals) ** 2).sum() / alone))
