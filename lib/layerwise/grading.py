"""Grade methods against all sub-networks: how good are the layers they select, among all choices of that size?"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from layerwise import subnetworks
from layerwise.errors import InputError
from layerwise.ranking import kendall_taus, mean_place_of_thirds
from layerwise.statistics import Interval, bootstrap_counts, bootstrap_means, estimate, percentile_intervals
from layerwise.subnetworks import SubnetworkTable

BASELINES = ("first", "last", "even", "random")  # selections that use no score
GOOD_PERCENTILE = 0.9
QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


class Grade(NamedTuple):
    """Grades of a selection: three arrays (L - 1, R), for 1 to L - 1 layers kept and each resample.

    Attributes:
        value: the mean metric of the selected sub-network, for a classifier its accuracy.
        regret: the value of the best sub-network of that size, less this value.
        percentile: share of the other sub-networks of that size that are worse; equal ones count half.
    """

    value: np.ndarray
    regret: np.ndarray
    percentile: np.ndarray


@dataclass(frozen=True)
class LayerChoice:
    """Layers, and the value of the sub-network that keeps them; `held_out` is its value on other examples."""

    layers: list[int]
    value: float
    held_out: float | None = None


@dataclass(frozen=True)
class SizeSummary:
    """The sub-networks of one size.

    In a sample, `subsets`, `mean` and `quantiles` (0, 5, 25, 50, 75, 95 and 100 %) are those of the random ones.
    """

    subsets: int
    best: LayerChoice
    greedy: LayerChoice
    mean: float
    quantiles: list[float]


@dataclass(frozen=True)
class SizeGrade:
    """The grade of a selection of so many layers; a random selection has no `layers`, its grade is the expected one."""

    layers: list[int] | None
    value: float
    regret: float
    percentile: float
    value_interval: tuple[float, float]
    regret_interval: tuple[float, float]
    percentile_interval: tuple[float, float]


@dataclass(frozen=True)
class MethodSummary:
    """Means of a method's grades over all sizes from 1 to L - 1.

    Attributes:
        regret, percentile: means of the grades.
        behind_best: value of the method with the best mean percentile, less this value.
        reversed_percentile: the percentile when the ranking is reversed, so that the least important layers are kept.
    """

    regret: Interval
    percentile: Interval
    behind_best: Interval
    reversed_percentile: Interval | None


@dataclass(frozen=True, kw_only=True)
class Grading:
    """Grades of methods and values of layers, from a table of sub-networks.

    Attributes:
        examples: number of examples of the table.
        subsets: number of its sub-networks.
        complete: whether it holds all of them.
        sizes: the sub-networks of each size, by the number of layers kept.
        grades: of each method and baseline, by the number of layers kept.
        summary: the means of these grades over all sizes.
        shapley: mean Shapley value of each layer (L,), in nats; `shapley_intervals` its 95 % intervals.
        leave_one_out: mean loss of log-probability without each layer (L,), in nats; with intervals.
        interactions: Shapley interaction of each pair of layers, named "0-1"; None where the table is a sample.
        ranked: names of the rankings in the rows of `agreement`.
        agreement: Kendall's tau of every two rankings; `agreement_low`, `agreement_high` are the ends of its intervals.
        random_half_loss: value lost with a random half of the layers.
        best_half_loss: value lost with the best half, on the same examples.
        thirds: mean places of early, middle and late layers by Shapley value; none for fewer than three layers.
    """

    examples: int
    subsets: int
    complete: bool
    sizes: dict[int, SizeSummary]
    grades: dict[str, dict[int, SizeGrade]]
    summary: dict[str, MethodSummary]
    shapley: list[float]
    shapley_intervals: list[tuple[float, float]]
    leave_one_out: list[float]
    leave_one_out_intervals: list[tuple[float, float]]
    interactions: dict[str, Interval] | None
    ranked: list[str]
    agreement: list[list[float]]
    agreement_low: list[list[float]]
    agreement_high: list[list[float]]
    random_half_loss: Interval
    best_half_loss: Interval
    thirds: list[Interval]


def grade(scores: Mapping[str, ArrayLike], table: SubnetworkTable, samples: int = 1000, seed: int = 0) -> Grading:
    """Grade scores of importance against the sub-networks of a table, beside position and random baselines.

    Args:
        scores: for each method its scores (L,), or (N, L) for each example: those are resampled as well.
        table: of `evaluate` or `evaluate_or_sample`.
        samples: bootstrap resamples behind each interval.
        seed: of the bootstrap.

    Raises:
        InputError: there are no scores, or scores are not finite or not of as many layers as the table.

    >>> from layerwise.evaluation import evaluate
    >>> from layerwise.examples import tiny_classifier
    >>> model, tokenizer, texts, labels = tiny_classifier()
    >>> grading = grade({"mine": [0.1, 0.4, 0.2, 0.3]}, evaluate(model, (tokenizer, texts, labels)))
    >>> grading.grades["mine"][2].layers
    [1, 3]
    """
    if not scores:
        raise InputError("there are no scores to grade: give at least one method")
    means = {}
    for method, each in scores.items():
        values = np.asarray(each, dtype=float)
        if values.ndim not in (1, 2) or values.shape[-1] != table.layers:
            raise InputError(f"{method!r} has scores of shape {values.shape}, and the model has {table.layers} layers")
        if not np.isfinite(values).all():
            raise InputError(f"{method!r} has scores that are not finite numbers")
        if values.ndim == 1:
            means[method] = np.broadcast_to(values, (1 + samples, table.layers))
        else:
            means[method] = bootstrap_means(values, bootstrap_counts(len(values), samples, seed))
    return grade_methods(table, means, bootstrap_counts(table.examples, samples, seed))


def is_baseline(name: str) -> bool:
    """Whether a selection of this name uses no score."""
    return name in BASELINES or name.startswith("random_")


def sort_layers(scores: np.ndarray) -> np.ndarray:
    """The layers from the most to the least important: scores (..., L) to indices (..., L)."""
    return np.argsort(-scores, axis=-1, kind="stable")


def select_layers(scores: np.ndarray) -> np.ndarray:
    """Masks of the k most important layers, for k from 0 to L: scores (..., L) to (..., L + 1, L) bool."""
    return subnetworks.nested_masks(sort_layers(scores))


def top_layers(scores: np.ndarray, k: int) -> list[int]:
    """The k layers with the highest scores (L,), in the order of the stack.

    Raises:
        InputError: k is no number of layers.
    """
    if k not in range(len(scores) + 1):
        raise InputError(f"cannot select {k} of {len(scores)} layers: give a number from 0 to {len(scores)}")
    return np.flatnonzero(select_layers(scores)[k]).tolist()


def select_by_each_method(scores: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Selections of each method and of the position baselines: first, last and evenly spaced layers.

    Args:
        scores: (R, L) of each method, in each resample of the examples.

    Returns:
        Masks (R, L + 1, L) of each method and (1, L + 1, L) of each baseline, for 0 to L layers kept.
    """
    layers = next(iter(scores.values())).shape[1]
    first = subnetworks.nested_masks(np.arange(layers))
    return {method: select_layers(values) for method, values in scores.items()} | {
        "first": first[None],
        "last": first[None, :, ::-1],
        "even": subnetworks.evenly_spaced_masks(layers)[None],
    }


def selections_to_grade(scores: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """All selections that `grade_methods` grades: masks (L + 1, L) of each method, baseline and reversed ranking.

    Args:
        scores: (R, L) of each method; the first row counts, which is from all examples.
    """
    selected = [masks[0] for masks in select_by_each_method(scores).values()]
    return selected + [select_layers(-each[0]) for each in scores.values()]


def bootstrap_values(table: SubnetworkTable, counts: np.ndarray) -> np.ndarray:
    """The mean value of every sub-network in each resample: counts (R, N) to (S, R)."""
    # Single precision counts exactly up to 16 million, and is faster: two equally good sub-networks stay equal.
    return (table.values.astype(np.float32) @ counts.T.astype(np.float32)).astype(float) / counts.shape[1]


def grade_selection(table: SubnetworkTable, values: np.ndarray, masks: np.ndarray) -> Grade:
    """Grade a selection against all others of its size; in a sampled table, against the random ones.

    In each bootstrap resample the method selects layers again, and the selection is graded on resampled examples. So an
    interval covers both sources of error. In a sampled table, the selection from all examples is graded every time.

    Args:
        values: (S, R), of `bootstrap_values`.
        masks: (R, L + 1, L) bool, selected in each resample; (1, L + 1, L) if they are always the same.
    """
    masks = masks if table.complete else masks[:1]
    rows = np.broadcast_to(table.rows(masks), (values.shape[1], table.layers + 1))
    grades = []
    for size, random in enumerate(table.random_rows[1:-1], start=1):
        value, pool = np.take_along_axis(values, rows[None, :, size], axis=0)[0], values[random]
        own = np.isin(rows[:, size], random)  # a selection is not compared with itself
        below, equal = (pool < value).sum(0), (pool == value).sum(0) - own
        percentile = (below + equal / 2) / np.maximum(len(random) - own, 1)
        grades.append((value, values[table.sizes == size].max(0) - value, percentile))
    return Grade(*np.stack(grades, axis=1))


def grade_random(table: SubnetworkTable, values: np.ndarray) -> Grade:
    """The expected grade of a random selection; `values` (S, R) as of `bootstrap_values`."""
    grades = []
    for size, random in enumerate(table.random_rows[1:-1], start=1):
        mean = values[random].mean(0)
        grades.append((mean, values[table.sizes == size].max(0) - mean, np.full(len(mean), 0.5)))
    return Grade(*np.stack(grades, axis=1))


def grade_methods(table: SubnetworkTable, scores: Mapping[str, np.ndarray], counts: np.ndarray) -> Grading:
    """Grade every method and baseline against the sub-networks of a table.

    Args:
        scores: (R, L) of each method, its means in each resample of the examples that it scored.
        counts: (R, N), of `bootstrap_counts`, of the examples of the table.
    """
    n, values = counts.shape[1], bootstrap_values(table, counts)
    masks = select_by_each_method(scores)
    grades = {name: grade_selection(table, values, each) for name, each in masks.items()}
    grades["random"] = grade_random(table, values)
    reversed_grades = {method: grade_selection(table, values, select_layers(-each)) for method, each in scores.items()}
    shapley = bootstrap_means(subnetworks.shapley_values(table), counts)
    alone = bootstrap_means(subnetworks.leave_one_out(table), counts)
    rankings = {**scores, "shapley_value": shapley, "left_out_alone": alone}
    tau, low, high = agreement_matrix(kendall_taus(rankings), list(rankings), n).tolist()
    random_loss, best_loss = half_losses(table, values)
    return Grading(
        examples=n,
        subsets=len(table.masks),
        complete=table.complete,
        sizes=describe_sizes(table),
        grades={
            name: summarise_sizes(each, n, masks[name][0] if name in masks else None) for name, each in grades.items()
        },
        summary=summarise_methods(grades, reversed_grades, n),
        shapley=shapley[0].tolist(),
        shapley_intervals=percentile_intervals(shapley),
        leave_one_out=alone[0].tolist(),
        leave_one_out_intervals=percentile_intervals(alone),
        interactions=_interactions(table, counts) if table.complete and table.layers > 1 else None,
        ranked=list(rankings),
        agreement=tau,
        agreement_low=low,
        agreement_high=high,
        random_half_loss=estimate(random_loss, n),
        best_half_loss=estimate(best_loss, n),
        thirds=[estimate(third, n) for third in mean_place_of_thirds(shapley).T],
    )


def half_losses(table: SubnetworkTable, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Value (R,) lost with half of the layers: the mean of random halves, and the best half."""
    whole, size = values[table.sizes == table.layers][0], table.layers // 2
    random = values[table.random_rows[size]].mean(0)
    return whole - random, whole - values[subnetworks.best_row(table, size)]


def summarise_sizes(grade: Grade, examples: int, masks: np.ndarray | None = None) -> dict[int, SizeGrade]:
    """The grades of a method by size; `masks` (L + 1, L) are its selections from all examples."""
    rows = {}
    for size, arrays in enumerate(zip(*grade, strict=True), start=1):
        value, regret, percentile = (estimate(array, examples) for array in arrays)
        rows[size] = SizeGrade(
            layers=None if masks is None else np.flatnonzero(masks[size]).tolist(),
            value=value.value,
            regret=regret.value,
            percentile=percentile.value,
            value_interval=(value.low, value.high),
            regret_interval=(regret.low, regret.high),
            percentile_interval=(percentile.low, percentile.high),
        )
    return rows


def summarise_methods(
    grades: dict[str, Grade], reversed_grades: dict[str, Grade], examples: int
) -> dict[str, MethodSummary]:
    """Means of the grades over the sizes; `reversed_grades` are those of the reversed rankings."""
    best = max(reversed_grades, key=lambda method: grades[method].percentile[:, 0].mean())

    def mean_percentile(grade: Grade) -> Interval:
        return estimate(grade.percentile.mean(0), examples)

    return {
        name: MethodSummary(
            regret=estimate(grade.regret.mean(0), examples),
            percentile=mean_percentile(grade),
            behind_best=estimate((grades[best].value - grade.value).mean(0), examples),
            reversed_percentile=mean_percentile(reversed_grades[name]) if name in reversed_grades else None,
        )
        for name, grade in grades.items()
    }


def describe_sizes(table: SubnetworkTable) -> dict[int, SizeSummary]:
    """The sub-networks of each size: the best, the greedy one, and the distribution of random ones."""
    sizes, path = {}, subnetworks.greedy_path(table)
    for size, rows in enumerate(table.random_rows):
        pool = table.mean_values[rows]
        best = _layer_choice(table, subnetworks.best_row(table, size), subnetworks.held_out_value_of_best(table, size))
        sizes[size] = SizeSummary(
            subsets=len(pool),
            best=best,
            greedy=_layer_choice(table, path[size]),
            mean=float(pool.mean()),
            quantiles=np.quantile(pool, QUANTILES).tolist(),
        )
    return sizes


def agreement_matrix(taus: Mapping[tuple[str, str], np.ndarray], names: list[str], examples: int) -> np.ndarray:
    """Kendall's tau of each pair (R,) as three symmetric matrices (3, names, names): estimate, low end, high end."""
    matrix = np.ones((3, len(names), len(names)))
    for (one, other), distribution in taus.items():
        i, j, tau = names.index(one), names.index(other), estimate(distribution, examples)
        matrix[:, i, j] = matrix[:, j, i] = tau.value, tau.low, tau.high
    return matrix


def pairwise_taus(grading: Grading, methods: Iterable[str]) -> list[Interval]:
    """Kendall's tau of every pair of these methods that were ranked, with its interval over examples."""
    places = [grading.ranked.index(method) for method in methods if method in grading.ranked]
    values, lows, highs = grading.agreement, grading.agreement_low, grading.agreement_high
    return [
        Interval(value=values[i][j], low=lows[i][j], high=highs[i][j], n=grading.examples)
        for i, j in combinations(places, 2)
    ]


def _interactions(table: SubnetworkTable, counts: np.ndarray) -> dict[str, Interval]:
    distributions = bootstrap_means(subnetworks.shapley_interactions(table), counts).T
    pairs = combinations(range(table.layers), 2)
    return {f"{i}-{j}": estimate(each, counts.shape[1]) for (i, j), each in zip(pairs, distributions, strict=True)}


def _layer_choice(table: SubnetworkTable, row: int, held_out: float | None = None) -> LayerChoice:
    layers = np.flatnonzero(table.masks[row]).tolist()
    return LayerChoice(layers=layers, value=float(table.mean_values[row]), held_out=held_out)
