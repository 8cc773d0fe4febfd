from itertools import permutations

import numpy as np
import pytest
from scipy.stats import friedmanchisquare

from layerwise import ranking
from layerwise.ranking import (
    MAX_KEMENY_LAYERS,
    borda,
    fuse,
    kemeny,
    kendall_w,
    mean_place_of_thirds,
    rank_layers,
    reciprocal_rank,
)


def contradictions(order: tuple[int, ...], rankings: np.ndarray) -> float:
    """Pairs of a ranking and two layers that stand the other way round in the order, tied ones counting half."""
    return sum(
        (ranking[first] > ranking[second]) + (ranking[first] == ranking[second]) / 2
        for ranking in rankings
        for place, first in enumerate(order)
        for second in order[place + 1 :]
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("tied", [False, True])
def test_kemeny_s_order_contradicts_the_methods_as_little_as_the_best_of_all_720_orders(seed, tied):
    scores = np.random.default_rng(seed).normal(size=(7, 6))
    found = rank_layers(scores.round() if tied else scores)
    order = tuple(np.argsort(-kemeny(found)).tolist())
    assert contradictions(order, found) == min(contradictions(each, found) for each in permutations(range(6)))


def test_kemeny_of_many_samples_is_that_of_each():
    found = rank_layers(np.random.default_rng(0).normal(size=(3, 4, 5, 8)))
    np.testing.assert_array_equal(kemeny(found), [[kemeny(sample) for sample in row] for row in found])


def test_where_all_agree_every_rule_gives_their_order():
    scores = np.array([0.3, 0.9, 0.1, 0.5])
    for fused in fuse({"a": scores, "b": 10 * scores, "c": scores - 1}).values():
        np.testing.assert_array_equal(rank_layers(fused), rank_layers(scores))


def test_a_condorcet_winner_comes_first_by_kemeny_and_need_not_by_borda():
    # three voters: 0 > 1 > 2, two voters: 1 > 2 > 0. Layer 0 beats each other layer three to two.
    found = rank_layers(np.array([[3, 2, 1]] * 3 + [[1, 3, 2]] * 2))
    assert kemeny(found).argmax() == 0 and borda(found).argmax() == 1


def test_reciprocal_rank_is_the_sum_of_one_over_sixty_and_the_rank():
    assert reciprocal_rank(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0]])) == pytest.approx(
        [1 / 61 + 1 / 62 + 1 / 61, 1 / 62 + 1 / 61 + 1 / 62]
    )


@pytest.mark.parametrize("tied", [False, True])
def test_concordance_is_friedman_s_statistic_over_its_greatest_value(tied):
    scores = np.random.default_rng(1).normal(size=(5, 9))
    scores = scores.round() if tied else scores
    expected = friedmanchisquare(*scores.T).statistic / (5 * (9 - 1))
    assert kendall_w({str(i): row for i, row in enumerate(scores)}) == pytest.approx(expected)


def test_the_expert_votes_in_rules_of_its_own():
    scores = {name: np.random.default_rng(i).normal(size=(2, 5)) for i, name in enumerate(("a", "b", "expert"))}
    found = fuse(scores)
    alone = fuse({"a": scores["a"], "b": scores["b"]})
    assert found.keys() == {*ranking.FUSION_RULES, *(f"{rule}_with_expert" for rule in ranking.FUSION_RULES)}
    for rule in ranking.FUSION_RULES:
        np.testing.assert_array_equal(found[rule], alone[rule])


def test_of_too_many_layers_there_is_no_kemeny_ranking():
    deep = {"a": np.arange(MAX_KEMENY_LAYERS + 1.0), "b": np.arange(MAX_KEMENY_LAYERS + 1.0)}
    assert fuse(deep).keys() == {"borda", "reciprocal_rank"}
    with pytest.raises(ValueError, match="no exact Kemeny ranking of 17 layers"):
        kemeny(rank_layers(np.stack(list(deep.values()))))


def test_thirds_are_the_mean_places_of_early_middle_and_late_layers():
    early_first = np.arange(7.0)[::-1]
    assert mean_place_of_thirds(early_first) == pytest.approx(
        [np.mean([6, 5, 4]) / 6, np.mean([3, 2]) / 6, np.mean([1, 0]) / 6]
    )
    assert mean_place_of_thirds(np.zeros(6)) == pytest.approx([0.5, 0.5, 0.5])
