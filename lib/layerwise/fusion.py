"""Rankings of the layers: how far they agree, and one ranking made of many."""

from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import kendalltau, rankdata

from layerwise.subsets import every

# The exact Kemeny ranking goes through every set of layers, which doubles with each layer.
KEMENY_LAYERS = 16


def ranks(scores: ArrayLike) -> np.ndarray:
    """Ranks of the layers from scores (..., layers): 1 the most important, tied ones sharing their mean."""
    return rankdata(-np.asarray(scores), axis=-1)


def borda(ranks: np.ndarray) -> np.ndarray:
    """Scores (..., layers) from ranks (..., methods, layers): how many layers it is above, the mean over the methods.

    Source: Borda (1781).
    """
    return ranks.shape[-1] - ranks.mean(-2)


def reciprocal_rank(ranks: np.ndarray) -> np.ndarray:
    """Scores (..., layers) from ranks (..., methods, layers): the sum of 1 / (60 + rank).

    Source: Cormack, Clarke & Buettcher (2009), with their constant.
    """
    return (1 / (60 + ranks)).sum(-2)


def kemeny(ranks: np.ndarray) -> np.ndarray:
    """Scores (..., layers) from ranks (..., methods, layers): the order that contradicts the methods least.

    Among all orders, the one with the fewest pairs of a method and two layers where the method ranks them the other way
    round (one it ties counts half). Exact, by dynamic programming over the sets of layers that stand first. Of several
    such orders it gives the one whose last layer comes first in the stack, and so on upwards.

    Raises:
        ValueError: there are more than `KEMENY_LAYERS` layers.

    Source: Kemeny (1959); the algorithm of Held & Karp (1962).
    """
    layers = ranks.shape[-1]
    if layers > KEMENY_LAYERS:
        raise ValueError(f"the exact Kemeny ranking of {layers} layers is out of reach: {KEMENY_LAYERS} is the most")
    flat = ranks.reshape(-1, *ranks.shape[-2:])
    # (samples, layers, layers): in how many methods the second layer stands above the first, ties counting half
    against = (np.sign(flat[:, :, :, None] - flat[:, :, None, :]) / 2 + 0.5).sum(1)
    against[:, range(layers), range(layers)] = 0
    return _cheapest(against).reshape(*ranks.shape[:-2], layers)


RULES = {"borda": borda, "reciprocal_rank": reciprocal_rank, "kemeny": kemeny}


def fuse(scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The fused scores of every rule, from scores (..., layers) a method.

    Of more than `KEMENY_LAYERS` layers there is no Kemeny ranking. Where one of the methods is `expert`, each rule is
    there without and with it.
    """
    methods = {name: values for name, values in scores.items() if name != "expert"}
    fused = {}
    for group, suffix in ((methods, ""), *([(scores, "_with_expert")] if "expert" in scores else [])):
        found = np.stack([ranks(values) for values in group.values()], axis=-2)
        for name, rule in RULES.items():
            if rule is not kemeny or found.shape[-1] <= KEMENY_LAYERS:
                fused[name + suffix] = rule(found)
    return fused


def concordance(scores: dict[str, np.ndarray]) -> np.ndarray:
    """Kendall's W (...) of scores (..., layers) a method: 1 where all rank alike, 0 where they cancel out.

    Source: Kendall & Babington Smith (1939), with the correction for ties.
    """
    found = np.stack([ranks(values) for values in scores.values()], axis=-2)
    methods, layers = found.shape[-2:]
    # Over groups of t tied layers the sum of t^3 - t, as each of the t layers counts the t that it is tied with.
    tied = (found[..., :, None] == found[..., None, :]).sum(-1)
    ties = (tied**2 - 1).sum((-1, -2))
    spread = ((found.sum(-2) - methods * (layers + 1) / 2) ** 2).sum(-1)
    return 12 * spread / (methods**2 * (layers**3 - layers) - methods * ties)


def thirds(scores: np.ndarray) -> np.ndarray:
    """Where the early, middle and late thirds of the layers stand in a ranking: scores (..., L) to (..., 3).

    The mean over a third's layers of the share of the other layers that are less important: 1 at the top, 0.5 by
    chance. Of a depth that three does not divide, the earlier thirds are the longer ones; fewer than three layers have
    none: (..., 0).
    """
    found = np.asarray(ranks(scores))
    if found.shape[-1] < 3:
        return found[..., :0]
    places = (found.shape[-1] - found) / (found.shape[-1] - 1)
    return np.stack([part.mean(-1) for part in np.array_split(places, 3, axis=-1)], axis=-1)


def agreement(scores: dict[str, ArrayLike]) -> dict[tuple[str, str], np.ndarray]:
    """Kendall's tau of every pair of methods, from scores (..., layers) a method: (...) a pair."""
    return {
        pair: kendalltau(*(np.asarray(scores[method]) for method in pair), axis=-1).statistic
        for pair in combinations(scores, 2)
    }


def agreement_over_seeds(scores: dict[tuple[str, int], dict[str, list[float]]]) -> pd.DataFrame:
    """Mean Kendall's tau between the rankings of every two seeds, a row a method and a column a subject.

    Args:
        scores: for each subject and seed, those of every method. Subjects with one seed are left out.
    """
    subjects = {}
    for (subject, seed), methods in scores.items():
        for method, values in methods.items():
            subjects.setdefault(subject, {}).setdefault(method, {})[seed] = values
    return pd.DataFrame(
        {
            subject: {method: np.mean(list(agreement(seeds).values())) for method, seeds in methods.items()}
            for subject, methods in subjects.items()
            if all(len(seeds) > 1 for seeds in methods.values())
        }
    )


def _cheapest(costs: np.ndarray) -> np.ndarray:
    """Scores (samples, layers) of the cheapest orders, where `costs` (samples, layers, layers) are of i before j."""
    layers = costs.shape[-1]
    inside = every(layers)
    with_one_less = np.arange(2**layers)[:, None] ^ (1 << np.arange(layers))
    by_size = [np.flatnonzero(inside.sum(1) == size) for size in range(1, layers + 1)]
    scores = np.empty(costs.shape[:-1])
    for cost, score in zip(costs, scores, strict=True):
        # (2^L, L): what it costs that the layer stands before all that are not in the set
        before = np.where(inside, cost.sum(1) - inside @ cost.T, np.inf)
        least, last = np.zeros(2**layers), np.zeros(2**layers, dtype=int)
        for sets in by_size:  # the best order of each set is the best order of all but its last, and the last
            total = before[sets] + least[with_one_less[sets]]
            last[sets] = total.argmin(1)
            least[sets] = total.min(1)
        members = 2**layers - 1
        for place in range(layers):  # from the least important
            score[last[members]] = place
            members ^= 1 << last[members]
    return scores
