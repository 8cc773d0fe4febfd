"""Rankings of the layers: how far they agree, and how to fuse many into one."""

from collections.abc import Callable, Mapping
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from layerwise.errors import InputError
from layerwise.subnetworks import all_masks

# The exact Kemeny ranking goes through every set of layers, and their number doubles with each layer.
MAX_KEMENY_LAYERS = 16


def rank_layers(scores: ArrayLike) -> np.ndarray:
    """Ranks of the layers from scores (..., L): 1 is the most important; tied layers share their mean rank."""
    from scipy.stats import rankdata  # takes half a second to import, and the workflow reads only the names below

    return rankdata(-np.asarray(scores), axis=-1)


def borda(ranks: np.ndarray) -> np.ndarray:
    """Scores (..., L) from ranks (..., methods, L): how many layers it is above, the mean over the methods.

    Source: Borda (1781).
    """
    return ranks.shape[-1] - ranks.mean(-2)


def reciprocal_rank(ranks: np.ndarray) -> np.ndarray:
    """Scores (..., L) from ranks (..., methods, L): the sum of 1 / (60 + rank).

    Source: Cormack, Clarke & Buettcher (2009), with their constant.
    """
    return (1 / (60 + ranks)).sum(-2)


def kemeny(ranks: np.ndarray) -> np.ndarray:
    """Scores (..., L) from ranks (..., methods, L): the order that contradicts the methods least.

    Of all orders, the one with the fewest pairs of a method and two layers that the method ranks in the opposite order
    (ties count half). Exact, by dynamic programming over the sets of layers that come first. Of several such orders it
    is the one whose last layer comes first in the stack, and so on upwards.

    Raises:
        InputError: there are more than `MAX_KEMENY_LAYERS` layers.

    Source: Kemeny (1959); the algorithm of Held & Karp (1962).
    """
    layers = ranks.shape[-1]
    if layers > MAX_KEMENY_LAYERS:
        raise InputError(f"no exact Kemeny ranking of {layers} layers is possible: {MAX_KEMENY_LAYERS} is the limit")
    flat = ranks.reshape(-1, *ranks.shape[-2:])
    # (samples, L, L): how many methods rank the second layer above the first, ties counting half
    against = (np.sign(flat[:, :, :, None] - flat[:, :, None, :]) / 2 + 0.5).sum(1)
    against[:, range(layers), range(layers)] = 0
    return _cheapest_orders(against).reshape(*ranks.shape[:-2], layers)


FUSION_RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "borda": borda,
    "reciprocal_rank": reciprocal_rank,
    "kemeny": kemeny,
}


def fuse(scores: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    """Fuse the scores (..., L) of several methods into one score (..., L), by each rule of `FUSION_RULES`.

    There is no Kemeny ranking of more than `MAX_KEMENY_LAYERS` layers. If one of the methods is `expert`, each rule is
    applied without it and with it.

    >>> fuse({"one": [3.0, 1.0, 2.0], "other": [2.0, 1.0, 3.0]})["borda"].tolist()
    [1.5, 0.0, 1.5]
    """
    methods = {name: values for name, values in scores.items() if name != "expert"}
    groups = {"": methods} | ({"_with_expert": scores} if "expert" in scores else {})
    fused = {}
    for suffix, group in groups.items():
        ranks = np.stack([rank_layers(values) for values in group.values()], axis=-2)
        for name, rule in FUSION_RULES.items():
            if rule is not kemeny or ranks.shape[-1] <= MAX_KEMENY_LAYERS:
                fused[name + suffix] = rule(ranks)
    return fused


def is_fused(name: str) -> bool:
    """Whether a ranking of this name is one of `fuse`."""
    return name.split("_with_")[0] in FUSION_RULES


def kendall_w(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """Kendall's W (...) of scores (..., L) of each method: 1 where all rank alike, 0 where they cancel out.

    Source: Kendall & Babington Smith (1939), with the correction for ties.
    """
    ranks = np.stack([rank_layers(values) for values in scores.values()], axis=-2)
    methods, layers = ranks.shape[-2:]
    # Over groups of t tied layers the sum of t^3 - t, because each of the t layers counts the t that it is tied with.
    tied = (ranks[..., :, None] == ranks[..., None, :]).sum(-1)
    ties = (tied**2 - 1).sum((-1, -2))
    spread = ((ranks.sum(-2) - methods * (layers + 1) / 2) ** 2).sum(-1)
    return 12 * spread / (methods**2 * (layers**3 - layers) - methods * ties)


def mean_place_of_thirds(scores: np.ndarray) -> np.ndarray:
    """Mean place of the early, middle and late thirds of the layers in a ranking: scores (..., L) to (..., 3).

    The place of a layer is the share of the other layers that are less important: 1 at the top, 0.5 by chance. If the
    depth is not divisible by three, the earlier thirds are longer; fewer than three layers have no thirds: (..., 0).
    """
    ranks = rank_layers(scores)
    if ranks.shape[-1] < 3:
        return ranks[..., :0]
    places = (ranks.shape[-1] - ranks) / (ranks.shape[-1] - 1)
    return np.stack([part.mean(-1) for part in np.array_split(places, 3, axis=-1)], axis=-1)


def kendall_taus(scores: Mapping[str, ArrayLike]) -> dict[tuple[str, str], np.ndarray]:
    """Kendall's tau (...) of every pair of methods, from scores (..., L) of each method."""
    from scipy.stats import kendalltau

    return {
        pair: kendalltau(*(np.asarray(scores[method]) for method in pair), axis=-1).statistic
        for pair in combinations(scores, 2)
    }


def _cheapest_orders(costs: np.ndarray) -> np.ndarray:
    """Scores (samples, L) of the cheapest orders, where `costs` (samples, L, L) are those of i before j."""
    layers = costs.shape[-1]
    inside = all_masks(layers)
    with_one_less = np.arange(2**layers)[:, None] ^ (1 << np.arange(layers))
    by_size = [np.flatnonzero(inside.sum(1) == size) for size in range(1, layers + 1)]
    scores = np.empty(costs.shape[:-1])
    for cost, score in zip(costs, scores, strict=True):
        # (2^L, L): the cost of placing the layer before all that are not in the set
        before = np.where(inside, cost.sum(1) - inside @ cost.T, np.inf)
        least, last = np.zeros(2**layers), np.zeros(2**layers, dtype=int)
        for sets in by_size:  # the best order of a set is the best order of all but its last layer, then that layer
            total = before[sets] + least[with_one_less[sets]]
            last[sets] = total.argmin(1)
            least[sets] = total.min(1)
        members = 2**layers - 1
        for place in range(layers):  # from the least important
            score[last[members]] = place
            members ^= 1 << last[members]
    return scores
