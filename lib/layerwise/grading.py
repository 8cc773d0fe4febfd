"""Methods graded against all sub-networks: what the layers they choose are worth among all choices of that size."""

from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from layerwise import subsets
from layerwise.fusion import agreement, thirds
from layerwise.importance import Method
from layerwise.results import (
    Choice,
    Graded,
    GradeOfSize,
    GroundTruth,
    Interval,
    Size,
    Stability,
    Summary,
    bounds,
    estimate,
)
from layerwise.subsets import Table

CONTROLS = ("first", "last", "even", "random")  # choices that look at nothing
WELL = 0.9  # percentile of a choice of layers that is called good
QUANTILES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)


class Grade(NamedTuple):
    """What a method's choices are worth: three arrays (L - 1, R), for 1 to L - 1 layers and in each resample.

    `value` is the accuracy of the choice; `regret` what the best choice of that size has more; `percentile` the share
    of the other choices of that size that are worse, those of the same accuracy counting half.
    """

    value: np.ndarray
    regret: np.ndarray
    percentile: np.ndarray


def blind(name: str) -> bool:
    """Whether a choice of this name looks at nothing."""
    return name in CONTROLS or name.startswith("random_")


def resamples(examples: int, samples: int, seed: int) -> np.ndarray:
    """How often each example is drawn: (1 + samples, examples) counts, the first row holding each example once."""
    drawn = np.random.default_rng(seed).multinomial(examples, np.full(examples, 1 / examples), size=samples)
    return np.vstack([np.ones(examples, dtype=drawn.dtype), drawn])


def resampled(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Means of values (N, ...) in each resample: (R, ...)."""
    return np.tensordot(counts, values, axes=1) / counts.shape[1]


def resampled_means(scores: dict[str, np.ndarray], samples: int, seed: int) -> dict[str, np.ndarray]:
    """Mean scores (1 + samples, L) in each resample, the first row of all examples, from scores (N, L) a method."""
    return {method: resampled(values, resamples(len(values), samples, seed)) for method, values in scores.items()}


def worth(table: Table, counts: np.ndarray) -> np.ndarray:
    """Accuracy of every sub-network in each resample: counts (R, N) to (S, R)."""
    # Single precision counts exactly up to 16 million, and is faster: two choices that are equally good stay equal.
    return (table.gain.astype(np.float32) @ counts.T.astype(np.float32)).astype(float) / counts.shape[1]


def orders(means: np.ndarray) -> np.ndarray:
    """The layers from the most to the least important: scores (..., L) to indices (..., L)."""
    return np.argsort(-means, axis=-1, kind="stable")


def choices(means: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What methods choose, and controls that look at nothing: the first, the last, evenly spaced layers.

    Args:
        means: (R, L) a method, its scores in each resample of the reviews.

    Returns:
        (R, L + 1, L) a method, (1, L + 1, L) a control: the choice of k layers, for k from 0 to L.
    """
    layers = next(iter(means.values())).shape[1]
    first = subsets.nested(np.arange(layers))
    return {method: chosen(values) for method, values in means.items()} | {
        "first": first[None],
        "last": first[None, :, ::-1],
        "even": subsets.evenly_spaced(layers)[None],
    }


def chosen(means: np.ndarray) -> np.ndarray:
    """The k most important layers, for k from 0 to L: scores (..., L) to (..., L + 1, L) bool."""
    return subsets.nested(orders(means))


def layers_kept(scores: np.ndarray, size: int) -> list[int]:
    """So many layers of the highest scores (L,), in the order of the stack."""
    return np.flatnonzero(chosen(scores)[size]).tolist()


def grade(table: Table, worth: np.ndarray, choices: np.ndarray, orders: np.ndarray | None = None) -> Grade:
    """Grade choices of layers against all others of their size, or of a sampled table against those drawn by chance.

    A method chooses anew in each resample of the reviews that it scored, and each choice is graded in a resample of
    the reviews that judge it, so that an interval covers both. A table that is not complete may lack those choices:
    there the one from all reviews is graded in every resample.

    Args:
        worth: (S, R), the accuracy of every sub-network in each resample of the examples.
        choices: (R, L + 1, L) bool, the k layers that are chosen in each resample; (1, L + 1, L) where always the same.
        orders: as for `graded`.
    """
    held = choices if table.complete else choices[:1]
    rows = np.broadcast_to(table.rows(held), (worth.shape[1], table.layers + 1))
    found = []
    for size, drawn in enumerate(_drawn(table, orders)[1:-1], start=1):
        value, pool = np.take_along_axis(worth, rows[None, :, size], axis=0)[0], worth[drawn]
        own = np.isin(rows[:, size], drawn)  # a choice is not compared with itself
        below, same = (pool < value).sum(0), (pool == value).sum(0) - own
        percentile = (below + same / 2) / np.maximum(len(drawn) - own, 1)
        found.append((value, worth[table.sizes == size].max(0) - value, percentile))
    return Grade(*np.stack(found, axis=1))


def grade_of_chance(table: Table, worth: np.ndarray, orders: np.ndarray | None = None) -> Grade:
    """The expected grade of a choice made blindly: the mean over all choices of a size, or those drawn by chance."""
    found = []
    for size, drawn in enumerate(_drawn(table, orders)[1:-1], start=1):
        mean = worth[drawn].mean(0)
        found.append((mean, worth[table.sizes == size].max(0) - mean, np.full(len(mean), 0.5)))
    return Grade(*np.stack(found, axis=1))


def half_lost(table: Table, worth: np.ndarray, orders: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy (R,) that is lost by keeping half of the layers: of choices by chance on average, and of the best."""
    whole, size = worth[table.sizes == table.layers][0], table.layers // 2
    by_chance = worth[_drawn(table, orders)[size]].mean(0)
    return whole - by_chance, whole - worth[subsets.best(table, size)]


def report(grade: Grade, examples: int, choice: np.ndarray | None = None) -> dict[int, GradeOfSize]:
    """The grades of a method by size; `choice` (L + 1, L) are the layers it keeps, from all reviews."""
    rows = {}
    for size, arrays in enumerate(zip(*grade, strict=True), start=1):
        found = {name: estimate(array, examples) for name, array in zip(Grade._fields, arrays, strict=True)}
        rows[size] = GradeOfSize(
            layers=None if choice is None else np.flatnonzero(choice[size]).tolist(),
            **{name: interval.value for name, interval in found.items()},
            **{f"{name}_interval": (interval.low, interval.high) for name, interval in found.items()},
        )
    return rows


def summarise(grades: dict[str, Grade], opposites: dict[str, Grade], examples: int) -> dict[str, Summary]:
    """Means over the sizes; `opposites` are the grades of methods that are taken the wrong way round."""
    top = max(opposites, key=lambda method: grades[method].percentile[:, 0].mean())
    return {
        name: Summary(
            regret=estimate(grade.regret.mean(0), examples),
            percentile=estimate(grade.percentile.mean(0), examples),
            behind=estimate((grades[top].value - grade.value).mean(0), examples),
            reversed_percentile=estimate(opposites[name].percentile.mean(0), examples) if name in opposites else None,
        )
        for name, grade in grades.items()
    }


def graded(table: Table, orders: np.ndarray | None, means: dict[str, np.ndarray], judges: np.ndarray) -> Graded:
    """Every method and control graded against the sub-networks of a table, and what the layers are worth.

    Args:
        orders: (P, L), the random orders that the table was sampled along; None where it is complete.
        means: (R, L) a method, its scores in each resample of the examples that it scored.
        judges: (R, N), of `resamples`, of the examples of the table.
    """
    n, value = judges.shape[1], worth(table, judges)
    kept = choices(means)
    grades = {name: grade(table, value, each, orders) for name, each in kept.items()} | {
        "random": grade_of_chance(table, value, orders)
    }
    opposites = {method: grade(table, value, chosen(-each), orders) for method, each in means.items()}
    layers = {
        "shapley_value": resampled(subsets.shapley(table, orders), judges),
        "left_out_alone": resampled(subsets.leave_one_out(table), judges),
    }
    rankings = means | layers
    tau, low, high = matrix(agreement(rankings), list(rankings), n).tolist()
    by_chance, at_best = half_lost(table, value, orders)
    return Graded(
        examples=n,
        subsets=len(table.kept),
        complete=table.complete,
        sizes=sizes(table, orders),
        grades={name: report(each, n, kept[name][0] if name in kept else None) for name, each in grades.items()},
        summary=summarise(grades, opposites, n),
        shapley=layers["shapley_value"][0].tolist(),
        shapley_intervals=bounds(layers["shapley_value"]),
        leave_one_out=layers["left_out_alone"][0].tolist(),
        leave_one_out_intervals=bounds(layers["left_out_alone"]),
        interactions=_interactions(table, judges) if table.complete and table.layers > 1 else None,
        ranked=list(rankings),
        agreement=tau,
        agreement_low=low,
        agreement_high=high,
        half_by_chance=estimate(by_chance, n),
        half_at_best=estimate(at_best, n),
        thirds=[estimate(third, n) for third in thirds(layers["shapley_value"]).T],
    )


def sizes(table: Table, orders: np.ndarray | None = None) -> dict[int, Size]:
    """What sub-networks of each size are worth: the best, the greedy one, and all of them, or those drawn by chance."""
    found, path = {}, subsets.greedy(table)
    for size, rows in enumerate(_drawn(table, orders)):
        pool = table.mean_gain[rows]
        best = subsets.best(table, size)
        found[size] = Size(
            subsets=len(pool),
            best=_choice(table, best, subsets.held_out_best(table, size)),
            greedy=_choice(table, path[size]),
            mean=float(pool.mean()),
            quantiles=np.quantile(pool, QUANTILES).tolist(),
        )
    return found


def matrix(pairs: dict[tuple[str, str], np.ndarray], names: list[str], examples: int) -> np.ndarray:
    """Estimates of agreement, low ends and high ends: three symmetric matrices (3, names, names)."""
    found = np.ones((3, len(names), len(names)))
    for (one, other), distribution in pairs.items():
        i, j, interval = names.index(one), names.index(other), estimate(distribution, examples)
        found[:, i, j] = found[:, j, i] = interval.value, interval.low, interval.high
    return found


def trust(truth: GroundTruth, cards: dict[str, Method], layers: int, classes: int) -> pd.DataFrame:
    """Which score to trust, and what it costs: a row a method, fusion and control, the best mean percentile first."""
    rows, all_passes = {}, sum(card.passes(layers, classes) for card in cards.values())
    for name, said in truth.summary.items():
        card, opposite = cards.get(name), said.reversed_percentile
        looks_at_nothing = name in CONTROLS
        rows[name] = {
            "percentile": said.percentile.value,
            "low": said.percentile.low,
            "high": said.percentile.high,
            "regret": said.regret.value,
            "wrong way round": opposite.value if opposite else None,
            "needs": card.needs if card else "nothing" if looks_at_nothing else "all scores",
            "passes": card.passes(layers, classes) if card else 0 if looks_at_nothing else all_passes,
        }
        if name in truth.ranked:
            row, exact = truth.ranked.index(name), truth.ranked.index("shapley_value")
            rows[name]["tau with Shapley"] = truth.agreement[row][exact]
    return pd.DataFrame(rows).T.sort_values("percentile", ascending=False)


def side_by_side(
    truths: dict[tuple[str, int], GroundTruth],
    stability: dict[tuple[str, int], dict[str, Stability]],
    cards: dict[str, Method],
    classes: int,
) -> pd.DataFrame:
    """Cost, mean grades, stability and agreement of every method and control for each subject and seed, a row each.

    `passes` are forward passes an example, `stability` is the mean Kendall's tau of a ranking with those of the
    bootstrap, `agreement` that with the rankings of the other methods. What is not measured is None.
    """
    rows = []
    for (subject, seed), truth in truths.items():
        voters = [name for name in cards if name in truth.ranked]
        for method, said in truth.summary.items():
            others = [truth.ranked.index(name) for name in voters if name != method]
            own = truth.agreement[truth.ranked.index(method)] if method in truth.ranked else None
            steady, card = stability[subject, seed].get(method), cards.get(method)
            rows.append(
                {
                    "subject": subject,
                    "seed": seed,
                    "method": method,
                    "passes": card.passes(len(truth.shapley), classes) if card else None,
                    "percentile": said.percentile.value,
                    "percentile low": said.percentile.low,
                    "percentile high": said.percentile.high,
                    "regret": said.regret.value,
                    "regret low": said.regret.low,
                    "regret high": said.regret.high,
                    "stability": steady.kendall_tau if steady else None,
                    "agreement": sum(own[other] for other in others) / len(others) if own and others else None,
                }
            )
    return pd.DataFrame(rows)


def _interactions(table: Table, judges: np.ndarray) -> dict[str, Interval]:
    """Of each pair of layers, named as 0-1."""
    found = resampled(subsets.interactions(table), judges).T
    pairs = combinations(range(table.layers), 2)
    return {f"{i}-{j}": estimate(values, judges.shape[1]) for (i, j), values in zip(pairs, found, strict=True)}


def _choice(table: Table, row: int, held_out: float | None = None) -> Choice:
    layers = np.flatnonzero(table.kept[row]).tolist()
    return Choice(layers=layers, value=float(table.mean_gain[row]), held_out=held_out)


def _drawn(table: Table, orders: np.ndarray | None) -> list[np.ndarray]:
    """The rows that stand for all choices of each size, from 0 to L layers.

    Where the table is a sample, those along random orders: what was put into it to be graded was chosen, and is better
    than chance.
    """
    by_chance = np.ones(len(table.kept), dtype=bool)
    if orders is not None:
        by_chance[:] = False
        by_chance[table.rows(subsets.nested(orders))] = True
    return [np.flatnonzero(by_chance & (table.sizes == size)) for size in range(table.layers + 1)]
