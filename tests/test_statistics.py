"""Estimates and their intervals: known values, pairs, seeds, and the stability and agreement of rankings."""

import numpy as np
import pytest
from scipy import stats

from layerwise.ranking import kendall_taus
from layerwise.statistics import Interval, accuracy_interval, bootstrap_layers, combine_seeds, paired_difference


def test_the_accuracy_interval_is_wilson_s():
    interval = accuracy_interval(np.array([True] * 90 + [False] * 10))
    z, p, n = stats.norm.ppf(0.975), 0.9, 100
    centre, half = (p + z**2 / (2 * n)), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    np.testing.assert_allclose([interval.low, interval.high], (centre + np.array([-half, half])) / (1 + z**2 / n))
    assert (interval.value, interval.n) == (0.9, 100)


def test_the_bootstrap_interval_of_a_mean_agrees_with_student_s():
    scores = np.random.default_rng(0).normal([0.0, 1.0, 5.0], 2.0, size=(400, 3))
    pairs, _ = bootstrap_layers(scores, samples=4000, seed=0)
    for layer, (low, high) in enumerate(pairs):
        expected = stats.ttest_1samp(scores[:, layer], 0).confidence_interval()
        assert (low, high) == pytest.approx(tuple(expected), abs=0.03)


def test_a_paired_difference_has_a_narrower_interval_than_two_separate_accuracies():
    first = np.array([True] * 180 + [False] * 20)
    second = first.copy()
    second[:8] = False  # worse on eight reviews, better on none
    difference = paired_difference(first, second, samples=2000, seed=0)
    assert difference.low > 0 and difference.value == pytest.approx(0.04)
    assert accuracy_interval(first).low < accuracy_interval(second).high


def test_intervals_are_the_same_for_the_same_seed_only():
    scores = np.random.default_rng(0).normal(size=(50, 3))
    assert (
        bootstrap_layers(scores, 200, seed=1)
        == bootstrap_layers(scores, 200, seed=1)
        != bootstrap_layers(scores, 200, seed=2)
    )


def test_a_ranking_far_beyond_its_noise_is_stable_and_one_of_pure_noise_is_not():
    noise = np.random.default_rng(0).normal(size=(200, 6))
    _, clear = bootstrap_layers(noise + 10 * np.arange(6), 200, seed=0)
    _, chance = bootstrap_layers(noise, 200, seed=0)
    assert clear.kendall_tau == pytest.approx(1) and clear.ranks == [6, 5, 4, 3, 2, 1]
    assert clear.rank_intervals == [(r, r) for r in (6, 5, 4, 3, 2, 1)]
    assert chance.kendall_tau < 0.8 and max(high - low for low, high in chance.rank_intervals) >= 3


def test_agreement_of_a_ranking_with_itself_is_one_and_with_its_reverse_minus_one():
    taus = kendall_taus({"a": [1, 2, 3], "b": [10, 20, 30], "c": [3, 2, 1]})
    assert taus["a", "b"] == pytest.approx(1) and taus["a", "c"] == taus["b", "c"] == pytest.approx(-1)


def test_an_interval_is_written_in_the_format_of_its_value():
    interval = Interval(value=0.5, low=0.412, high=0.6, n=3)
    assert f"{interval:.1%}" == "50.0% [41.2%, 60.0%]" and f"{interval:+.2f}" == "+0.50 [+0.41, +0.60]"


def test_the_mean_of_equal_values_over_seeds_is_exactly_that_value():
    interval = Interval(value=0.999825, low=0.999825, high=0.999825, n=8)
    assert combine_seeds([interval] * 5) == interval  # and not a last digit below it
