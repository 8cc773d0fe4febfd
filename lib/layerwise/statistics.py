"""Estimates with 95 % intervals: the bootstrap over examples, and the tests that go with it."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

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


def accuracy_interval(correct: np.ndarray) -> Interval:
    """Share of True in (N,), with Wilson's interval (Wilson, 1927)."""
    test = stats.binomtest(int(correct.sum()), len(correct))
    low, high = test.proportion_ci(CONFIDENCE, method="wilson")
    return Interval(value=float(test.statistic), low=float(low), high=float(high), n=len(correct))


def paired_difference(first: np.ndarray, second: np.ndarray, samples: int, seed: int) -> Interval:
    """Mean of first - second, both (N,) and paired by example, with its bootstrap interval."""
    paired = first.astype(float) - second.astype(float)
    (low,), (high,) = _bootstrap(paired[:, None], samples, seed).confidence_interval
    return Interval(value=float(paired.mean()), low=float(low), high=float(high), n=len(paired))


def bootstrap_layers(scores: np.ndarray, samples: int, seed: int) -> tuple[list[tuple[float, float]], Stability]:
    """Bootstrap over the examples of scores (N, L), all layers resampled together.

    Returns:
        A 95 % percentile interval of the mean of each layer, and the stability of the ranking.
    """
    resampled = _bootstrap(scores, samples, seed)
    means = resampled.bootstrap_distribution.T  # (samples, L)
    ranks = stats.rankdata(-means, axis=1)
    low, high = np.quantile(ranks, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    taus = [stats.kendalltau(scores.mean(0), mean).statistic for mean in means]
    pairs = list(zip(*(edge.tolist() for edge in resampled.confidence_interval), strict=True))
    return pairs, Stability(
        ranks=stats.rankdata(-scores.mean(0), method="ordinal").tolist(),
        rank_intervals=list(zip(low.tolist(), high.tolist(), strict=True)),
        kendall_tau=float(np.mean(taus)),
    )


def bootstrap_counts(examples: int, samples: int, seed: int) -> np.ndarray:
    """How often each example is drawn: (1 + samples, examples); the first row holds each example once."""
    drawn = np.random.default_rng(seed).multinomial(examples, np.full(examples, 1 / examples), size=samples)
    return np.vstack([np.ones(examples, dtype=drawn.dtype), drawn])


def bootstrap_means(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means of values (N, ...) in each resample of counts (R, N): (R, ...)."""
    return np.tensordot(counts, values, axes=1) / counts.shape[1]


def bootstrap_scores(scores: Mapping[str, np.ndarray], samples: int, seed: int) -> dict[str, np.ndarray]:
    """Mean scores (1 + samples, L) of each method in each resample, from its scores (N, L)."""
    return {
        method: bootstrap_means(values, bootstrap_counts(len(values), samples, seed))
        for method, values in scores.items()
    }


def estimate(distribution: np.ndarray, n: int) -> Interval:
    """An estimate and its percentile interval from (R,): the first entry is from all n examples, others resampled."""
    [(low, high)] = percentile_intervals(distribution[:, None])
    return Interval(value=float(distribution[0]), low=low, high=high, n=n)


def percentile_intervals(distribution: np.ndarray) -> list[tuple[float, float]]:
    """The percentile interval of each column of (R, L), without the first row."""
    edges = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.quantile(distribution[1:], edges, axis=0).tolist()
    return list(zip(low, high, strict=True))


def combine_seeds(intervals: Sequence[Interval]) -> Interval:
    """The mean over seeds, with an interval from the lowest end of their intervals to the highest."""
    return Interval(
        value=statistics.mean(each.value for each in intervals),  # exact: the mean of equal values is that value
        low=min(each.low for each in intervals),
        high=max(each.high for each in intervals),
        n=intervals[0].n,
    )


def noninferiority_p_value(correct: np.ndarray, whole: np.ndarray) -> float:
    """One-sided p-value of the paired t-test against "worse by `MARGIN` or more" (Blackwelder, 1982).

    Args:
        correct, whole: (N,), whether the predictions of the smaller and of the whole model are correct.
    """
    differences = correct.astype(float) - whole.astype(float)
    if not differences.any():  # never another answer, so there is no variance to test with
        return 0.0
    return float(stats.ttest_1samp(differences, -MARGIN, alternative="greater").pvalue)


def _bootstrap(scores: np.ndarray, samples: int, seed: int):
    return stats.bootstrap(
        (scores,),
        np.mean,
        axis=0,
        n_resamples=samples,
        batch=100,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
