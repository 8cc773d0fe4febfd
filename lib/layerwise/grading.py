"""Grade methods against all sub-networks: how good are the layers they select, among all choices of that size?"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from layerwise import subnetworks
from layerwise.errors import InputError
from layerwise.ranking import kendall_taus, mean_place_of_thirds
from layerwise.statistics import (
    CONFIDENCE,
    Interval,
    bootstrap_counts,
    bootstrap_means,
    estimate,
    estimate_reselected,
    percentile_intervals,
    split_in_halves,
)
from layerwise.subnetworks import SubnetworkTable

BASELINES = ("first", "last", "even", "random")  # selections that use no score
POSITION_BASELINES = BASELINES[:3]
SEARCH = "exhaustive_search"  # selects the best of all sub-networks on the examples that the scores are computed from
GOOD_PERCENTILE = 0.9
QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


class Grade(NamedTuple):
    """Grades of a selection of 1 to L - 1 layers.

    Attributes:
        value: (L - 1, R), the mean metric of the selected sub-network in each resample, for a classifier its accuracy.
        regret: (L - 1, R), the value of the best sub-network of that size, less this value.
        percentile: (L - 1, 3), share of the other sub-networks of that size that are worse; equal ones count half; and
            the ends of its interval, of `rank_interval`.
    """

    value: np.ndarray
    regret: np.ndarray
    percentile: np.ndarray


@dataclass(frozen=True)
class LayerChoice:
    """Layers, and the value of the sub-network that keeps them.

    `held_out` is the value of the best on examples that did not select it, with its interval (see
    `subnetworks.held_out_best`).
    """

    layers: list[int]
    value: float
    held_out: float | None = None
    held_out_interval: tuple[float, float] | None = None  # not saved before version 0.3


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
    """The grade of a selection of so many layers; a random selection has no `layers`, its grade is the expected one.

    Attributes:
        percentile_interval: of `rank_interval`; before version 0.3 of the percentiles in the resamples.
        gain: value less the mean of all selections of that size, on the same examples.
    """

    layers: list[int] | None
    value: float
    regret: float
    percentile: float
    value_interval: tuple[float, float]
    regret_interval: tuple[float, float]
    percentile_interval: tuple[float, float]
    gain: Interval | None = None  # not saved before version 0.3


@dataclass(frozen=True)
class MethodSummary:
    """Means of a method's grades over all sizes from 1 to L - 1.

    Attributes:
        regret, percentile, gain: means of the grades.
        gain_over_baseline: value less that of the best of the position baselines; None for these.
        behind_best: value of the best method, less this value. Which is the best is selected on one half of the
            examples and its value measured on the other; before version 0.3, both on all of them.
        reversed_percentile: the percentile when the ranking is reversed, so that the least important layers are kept.
        gain_over_reversed: value less that of the reversed ranking.
    """

    regret: Interval
    percentile: Interval
    behind_best: Interval
    reversed_percentile: Interval | None
    gain: Interval | None = None  # not saved before version 0.3
    gain_over_baseline: Interval | None = None  # not saved before version 0.3
    gain_over_reversed: Interval | None = None  # not saved before version 0.3


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
        best_half_loss: value lost with the best half, on examples that did not select it; before version 0.3 only the
            `held_out` value of that size is known, and no interval.
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
    best_half_loss: Interval | None = None
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
            means[method] = bootstrap_means(values, bootstrap_counts(len(values), samples, seed, "analysis"))
    return grade_methods(table, means, bootstrap_counts(table.examples, samples, seed, "selection"))


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


def select_by_search(table: SubnetworkTable, counts: np.ndarray) -> np.ndarray:
    """Selections of an exhaustive search: masks (R, L + 1, L) of the best sub-networks in each resample.

    Args:
        table: complete, on examples other than those that grade the search.
        counts: (R, N), of `bootstrap_counts`, of the examples of this table.
    """
    return table.masks[subnetworks.best_rows(table, counts).T]


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
    return (table.values.astype(np.float32) @ counts.T.astype(np.float32)).astype(float) / counts.sum(1)


def grade_selection(table: SubnetworkTable, values: np.ndarray, masks: np.ndarray) -> Grade:
    """Grade a selection against all others of its size; in a sampled table, against the random ones.

    In each bootstrap resample the method selects layers again, and the selection is graded on resampled examples. So
    the spread covers both sources of error. In a sampled table, the selection from all examples is graded every time.

    Args:
        values: (S, R), of `bootstrap_values`.
        masks: (R, L + 1, L) bool, selected in each resample; (1, L + 1, L) if they are always the same.
    """
    rows = _rows_of_resamples(table, masks, values.shape[1])
    value = np.take_along_axis(values, rows, axis=0)[1:-1]
    best = np.array([values[table.sizes == size].max(0) for size in range(1, table.layers)])
    percentiles = []
    for row, random in zip(rows[1:-1, 0], table.random_rows[1:-1], strict=True):
        differences = values[random[random != row]] - values[row]  # a selection is not compared with itself
        worse, equal = (differences[:, 0] < 0).sum(), (differences[:, 0] == 0).sum()
        percentiles.append(((worse + equal / 2) / max(len(differences), 1), *rank_interval(differences)))
    return Grade(value, best - value, np.array(percentiles))


def rank_interval(differences: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the share of others that are worse, from paired tests against all of them.

    From the share that is shown to be worse, up to one less the share that is shown to be better. The tests hold for
    all others together: of the standardised differences in each resample, the largest counts. So the interval holds the
    estimate, and where few differences are shown, it is nearly as wide as from 0 to 1.

    Args:
        differences: (others, R), their values less the own one in each resample; the first is from all examples.

    Source: Mogstad, Romano, Shaikh & Wilhelm (2024).
    """
    others, resamples = differences.shape
    if not others or resamples < 3:
        return 0.0, 1.0
    estimates, errors = differences[:, 0], differences[:, 1:].std(1, ddof=1)
    deviations = np.abs(differences[:, 1:] - estimates[:, None]) / np.maximum(errors, 1e-12)[:, None]
    bound = np.quantile(deviations.max(0), CONFIDENCE) * errors
    return float((estimates < -bound).mean()), 1 - float((estimates > bound).mean())


def grade_random(table: SubnetworkTable, values: np.ndarray) -> Grade:
    """The expected grade of a random selection; `values` (S, R) as of `bootstrap_values`."""
    mean = np.array([values[random].mean(0) for random in table.random_rows[1:-1]])
    best = np.array([values[table.sizes == size].max(0) for size in range(1, table.layers)])
    return Grade(mean, best - mean, np.full((len(mean), 3), 0.5))


def grade_methods(
    table: SubnetworkTable,
    scores: Mapping[str, np.ndarray],
    counts: np.ndarray,
    clusters: np.ndarray | None = None,
    searched: np.ndarray | None = None,
) -> Grading:
    """Grade every method and baseline against the sub-networks of a table.

    Args:
        scores: (R, L) of each method, its means in each resample of the examples that it scored.
        counts: (R, N), of `bootstrap_counts`, of the examples of the table.
        clusters: (N,), those that the counts were drawn with: the examples of one are in one half where the best is
            selected on other examples.
        searched: (R, L + 1, L) bool, of `select_by_search`, which is graded as well.
    """
    n, values, second_half = table.examples, bootstrap_values(table, counts), split_in_halves(table.examples, clusters)
    masks = select_by_each_method(scores) | ({} if searched is None else {SEARCH: searched})
    reversed_masks = {method: select_layers(-each) for method, each in scores.items()}
    grades = {name: grade_selection(table, values, each) for name, each in masks.items()}
    grades["random"] = grade_random(table, values)
    best = held_out_best_method(table, {method: masks[method] for method in scores}, counts, second_half)
    held_out = subnetworks.held_out_best(table, counts, second_half)
    shapley = bootstrap_means(subnetworks.shapley_values(table), counts)
    alone = bootstrap_means(subnetworks.leave_one_out(table), counts)
    rankings = {**scores, "shapley_value": shapley, "left_out_alone": alone}
    tau, low, high = agreement_matrix(kendall_taus(rankings), list(rankings), n).tolist()
    whole, half = values[table.sizes == table.layers][0], table.layers // 2
    return Grading(
        examples=n,
        subsets=len(table.masks),
        complete=table.complete,
        sizes=describe_sizes(table, held_out),
        grades={
            name: summarise_sizes(each, grades["random"], n, masks[name][0] if name in masks else None)
            for name, each in grades.items()
        },
        summary=summarise_methods(
            grades, {name: grade_selection(table, values, each) for name, each in reversed_masks.items()}, best, n
        ),
        shapley=shapley[0].tolist(),
        shapley_intervals=percentile_intervals(shapley),
        leave_one_out=alone[0].tolist(),
        leave_one_out_intervals=percentile_intervals(alone),
        interactions=_interactions(table, counts) if table.complete and table.layers > 1 else None,
        ranked=list(rankings),
        agreement=tau,
        agreement_low=low,
        agreement_high=high,
        random_half_loss=estimate(whole - values[table.random_rows[half]].mean(0), n),
        best_half_loss=estimate_reselected(whole - held_out[half], n),
        thirds=[estimate(third, n) for third in mean_place_of_thirds(shapley).T],
    )


def held_out_best_method(
    table: SubnetworkTable, masks: Mapping[str, np.ndarray], counts: np.ndarray, second_half: np.ndarray
) -> np.ndarray:
    """Mean value, over the sizes from 1 to L - 1, of the best method on examples that did not select it: (R,).

    Args:
        masks: (R, L + 1, L) of each method, or (1, L + 1, L).
        counts, second_half: as for `subnetworks.held_out_best`.
    """
    halves = counts * ~second_half, counts * second_half
    rows = [_rows_of_resamples(table, each, len(counts))[1:-1] for each in masks.values()]
    first, second = (
        np.array([subnetworks.values_of_rows(table, each, half) for each in rows]) for half in halves
    )  # (methods, L - 1, R) each
    chosen = sum(
        np.take_along_axis(measured, seen.mean(1).argmax(0)[None, None], axis=0)[0]
        for seen, measured in ((first, second), (second, first))
    )
    return (chosen / counts.sum(1)).mean(0)


def summarise_sizes(
    grade: Grade, random: Grade, examples: int, masks: np.ndarray | None = None
) -> dict[int, SizeGrade]:
    """The grades of a method by size.

    Args:
        random: of `grade_random`.
        masks: (L + 1, L), its selections from all examples.
    """
    rows = {}
    for size, (values, regrets, gains, (percentile, *ends)) in enumerate(
        zip(grade.value, grade.regret, grade.value - random.value, grade.percentile.tolist(), strict=True), start=1
    ):
        value, regret = estimate_reselected(values, examples), estimate_reselected(regrets, examples)
        rows[size] = SizeGrade(
            layers=None if masks is None else np.flatnonzero(masks[size]).tolist(),
            value=value.value,
            regret=regret.value,
            percentile=percentile,
            value_interval=(value.low, value.high),
            regret_interval=(regret.low, regret.high),
            percentile_interval=(ends[0], ends[1]),
            gain=estimate_reselected(gains, examples),
        )
    return rows


def summarise_methods(
    grades: Mapping[str, Grade], reversed_grades: Mapping[str, Grade], best: np.ndarray, examples: int
) -> dict[str, MethodSummary]:
    """Means of the grades over the sizes.

    Args:
        grades: of each selection, the position baselines and `random` among them.
        reversed_grades: of the reversed rankings.
        best: (R,), of `held_out_best_method`.
    """
    values = {name: grade.value.mean(0) for name, grade in grades.items()}
    baseline = np.max([values[name] for name in POSITION_BASELINES], axis=0)

    def mean_percentile(grade: Grade) -> Interval:
        value, low, high = grade.percentile.mean(0).tolist()
        return Interval(value=value, low=low, high=high, n=examples)

    return {
        name: MethodSummary(
            regret=estimate_reselected(grade.regret.mean(0), examples),
            percentile=mean_percentile(grade),
            behind_best=estimate_reselected(best - values[name], examples),
            reversed_percentile=mean_percentile(reversed_grades[name]) if name in reversed_grades else None,
            gain=estimate_reselected(values[name] - values["random"], examples),
            gain_over_baseline=None
            if name in POSITION_BASELINES
            else estimate_reselected(values[name] - baseline, examples),
            gain_over_reversed=estimate_reselected(values[name] - reversed_grades[name].value.mean(0), examples)
            if name in reversed_grades
            else None,
        )
        for name, grade in grades.items()
    }


def describe_sizes(table: SubnetworkTable, held_out: np.ndarray) -> dict[int, SizeSummary]:
    """The sub-networks of each size: the best, the greedy one, and the distribution of random ones.

    Args:
        held_out: (L + 1, R), of `subnetworks.held_out_best`.
    """
    sizes, path = {}, subnetworks.greedy_path(table)
    for size, rows in enumerate(table.random_rows):
        pool = table.mean_values[rows]
        other = estimate_reselected(held_out[size], table.examples)
        best = _layer_choice(table, subnetworks.best_row(table, size))
        sizes[size] = SizeSummary(
            subsets=len(pool),
            best=replace(best, held_out=other.value, held_out_interval=(other.low, other.high)),
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


def _layer_choice(table: SubnetworkTable, row: int) -> LayerChoice:
    return LayerChoice(layers=np.flatnonzero(table.masks[row]).tolist(), value=float(table.mean_values[row]))


def _rows_of_resamples(table: SubnetworkTable, masks: np.ndarray, resamples: int) -> np.ndarray:
    """Rows (L + 1, R) of selections (R, L + 1, L) or (1, L + 1, L); a sampled table holds the first of them only."""
    rows = table.rows(masks if table.complete else masks[:1])
    return np.broadcast_to(rows, (resamples, table.layers + 1)).T
