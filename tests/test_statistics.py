"""Estimates and their intervals: known values, pairs, seeds, and the stability and agreement of rankings."""

import numpy as np
import pytest
from scipy import optimize, stats

from layerwise.errors import InputError
from layerwise.ranking import kendall_taus
from layerwise.statistics import (
    MARGIN,
    SIGNIFICANCE,
    Interval,
    accuracy_interval,
    adjust_p_values,
    bootstrap_counts,
    bootstrap_layers,
    bootstrap_means,
    bootstrap_seeds,
    combine_seeds,
    estimate,
    estimate_reselected,
    noninferiority_p_value,
    paired_difference,
    split_in_halves,
)


def test_the_accuracy_interval_is_wilson_s():
    interval = accuracy_interval(np.array([True] * 90 + [False] * 10))
    z, p, n = stats.norm.ppf(0.975), 0.9, 100
    centre, half = (p + z**2 / (2 * n)), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    np.testing.assert_allclose([interval.low, interval.high], (centre + np.array([-half, half])) / (1 + z**2 / n))
    assert (interval.value, interval.n) == (0.9, 100)


def test_the_bootstrap_interval_of_a_mean_agrees_with_student_s():
    scores = np.random.default_rng(0).normal([0.0, 1.0, 5.0], 2.0, size=(400, 3))
    pairs, _ = bootstrap_layers(scores, bootstrap_counts(400, samples=4000, seed=0))
    for layer, (low, high) in enumerate(pairs):
        expected = stats.ttest_1samp(scores[:, layer], 0).confidence_interval()
        assert (low, high) == pytest.approx(tuple(expected), abs=0.03)


def test_a_paired_difference_has_a_narrower_interval_than_two_separate_accuracies():
    first = np.array([True] * 180 + [False] * 20)
    second = first.copy()
    second[:8] = False  # worse on eight reviews, better on none
    difference = paired_difference(first, second, bootstrap_counts(200, samples=2000, seed=0))
    assert difference.low > 0 and difference.value == pytest.approx(0.04)
    assert accuracy_interval(first).low < accuracy_interval(second).high


def test_intervals_are_the_same_for_the_same_seed_only():
    scores = np.random.default_rng(0).normal(size=(50, 3))
    one, again, other = (bootstrap_layers(scores, bootstrap_counts(50, 200, seed)) for seed in (1, 1, 2))
    assert one == again != other


def test_a_ranking_far_beyond_its_noise_is_stable_and_one_of_pure_noise_is_not():
    noise, counts = np.random.default_rng(0).normal(size=(200, 6)), bootstrap_counts(200, 200, seed=0)
    _, clear = bootstrap_layers(noise + 10 * np.arange(6), counts)
    _, chance = bootstrap_layers(noise, counts)
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


def test_bootstraps_of_two_splits_are_independent_though_they_have_one_seed_and_as_many_examples():
    analysis, again, selection = (
        bootstrap_counts(200, 300, 0, split) for split in ("analysis", "analysis", "selection")
    )
    np.testing.assert_array_equal(analysis, again)
    drawn = [counts[1:].ravel().astype(float) for counts in (analysis, selection)]
    assert abs(np.corrcoef(*drawn)[0, 1]) < 0.02


def test_examples_of_a_cluster_are_drawn_together_and_the_interval_is_as_wide_as_the_clusters_say():
    draw = np.random.default_rng(0)
    clusters = np.repeat(np.arange(60), draw.integers(1, 9, size=60))
    values = draw.normal(size=60)[clusters] + 0.3 * draw.normal(size=len(clusters))
    counts = bootstrap_counts(len(clusters), 2000, 0, clusters=clusters)
    for cluster in range(60):
        own = counts[:, clusters == cluster]
        assert (own == own[:, :1]).all()
    means = bootstrap_means(values, counts)
    assert means[0] == pytest.approx(values.mean())
    # The linearised variance of a ratio of totals over the clusters (Cochran, 1977).
    totals = np.bincount(clusters, values - values.mean())
    assert means[1:].std() == pytest.approx(np.sqrt((totals**2).sum()) / len(clusters), rel=0.1)
    assert means[1:].std() > 1.8 * values.std() / np.sqrt(len(values))


def test_with_clusters_the_accuracy_interval_covers_the_true_accuracy_and_without_them_it_does_not():
    draw = np.random.default_rng(0)
    clusters, covered = np.repeat(np.arange(50), 9), {True: 0, False: 0}
    for _ in range(500):
        correct = draw.random(450) < draw.beta(2.4, 0.6, size=50)[clusters]  # of accuracy 0.8
        for known in covered:
            interval = accuracy_interval(correct, clusters if known else None)
            covered[known] += interval.low <= 0.8 <= interval.high
    assert covered[True] / 500 > 0.92 > 0.8 > covered[False] / 500
    alone = np.arange(450)
    assert accuracy_interval(correct, alone) == accuracy_interval(correct)


def test_halves_hold_whole_clusters():
    clusters = np.array([7, 3, 7, 5, 5, 9])
    second = split_in_halves(6, clusters)
    assert all(len(set(second[clusters == cluster])) == 1 for cluster in clusters) and 0 < second.sum() < 6
    assert split_in_halves(5).tolist() == [False, True, False, True, False]


def most_likely_score(better: int, worse: int, n: int) -> float:
    """The score of the difference of paired proportions at minus the margin, its likelihood maximised by a search."""

    def loss(share: float) -> float:
        rest = n - better - worse
        terms = ((better, share - MARGIN), (worse, share), (rest, 1 - 2 * share + MARGIN))
        return -sum(count * np.log(p) for count, p in terms if count)

    found = optimize.minimize_scalar(
        loss, bounds=(MARGIN + 1e-12, (1 + MARGIN) / 2), method="bounded", options={"xatol": 1e-10}
    )
    return (better - worse + n * MARGIN) / np.sqrt(n * (2 * found.x - MARGIN - MARGIN**2))


@pytest.mark.parametrize(("better", "worse", "n"), [(0, 0, 443), (0, 3, 443), (4, 4, 443), (30, 50, 1000), (9, 1, 60)])
def test_the_non_inferiority_test_is_the_score_test_at_the_most_likely_share(better, worse, n):
    correct, whole = np.ones(n, dtype=bool), np.ones(n, dtype=bool)
    whole[:better] = correct[better : better + worse] = False
    expected = stats.norm.sf(most_likely_score(better, worse, n))
    assert noninferiority_p_value(correct, whole) == pytest.approx(expected, rel=1e-4)


def test_the_non_inferiority_test_errs_no_more_often_than_its_level_where_few_answers_differ():
    """443 reviews, 1 % of the pairs differ and all of them to the worse: a paired t-test errs in 6.4 %."""
    n, draw = 443, np.random.default_rng(0)
    whole, worse = np.ones(n, dtype=bool), draw.binomial(n, MARGIN, size=5000)
    p_values = {k: noninferiority_p_value(np.arange(n) >= k, whole) for k in np.unique(worse)}
    assert np.mean([p_values[k] < SIGNIFICANCE for k in worse]) < SIGNIFICANCE
    exact = sum(
        stats.binom.pmf(k, n, MARGIN)
        for k in range(60)
        if noninferiority_p_value(np.arange(n) >= k, whole) < SIGNIFICANCE
    )
    assert exact < SIGNIFICANCE
    by_t_test = [
        stats.ttest_1samp((np.arange(n) >= k) - 1.0, -MARGIN, alternative="greater").pvalue if k else 0
        for k in range(60)
    ]
    assert sum(stats.binom.pmf(k, n, MARGIN) for k, p in enumerate(by_t_test) if p < SIGNIFICANCE) > 0.06


def test_several_seeds_are_not_inferior_only_where_each_of_them_is():
    whole = np.ones((2, 2000), dtype=bool)
    seeds = np.stack([np.arange(2000) >= 2, np.arange(2000) >= 30])
    each = [noninferiority_p_value(*pair) for pair in zip(seeds, whole, strict=True)]
    assert noninferiority_p_value(seeds, whole) == max(each) > 0.5 > min(each)


def test_the_non_inferiority_test_of_what_is_not_correct_or_wrong_is_refused():
    with pytest.raises(InputError, match="takes pairs of predictions that are correct or not: 0 or 1"):
        noninferiority_p_value(np.array([0.5, 1.0]), np.array([1.0, 1.0]))


def test_adjusted_p_values_reject_what_the_step_down_procedure_rejects():
    p_values = np.random.default_rng(0).random(12) ** 4
    for level in (0.001, 0.01, 0.05, 0.3):
        rejected = set()
        for rank, i in enumerate(np.argsort(p_values)):
            if p_values[i] > level / (12 - rank):
                break
            rejected.add(int(i))
        assert {i for i, p in enumerate(adjust_p_values(p_values.tolist())) if p <= level} == rejected
    assert adjust_p_values([]) == []


def test_an_estimate_that_is_selected_anew_lies_in_the_middle_of_its_interval():
    distribution = np.array([0.9, *np.random.default_rng(0).normal(0.7, 0.05, size=2000)])
    found = estimate_reselected(distribution, 100)
    assert (found.value, (found.low + found.high) / 2) == (0.9, pytest.approx(0.9))
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.05, rel=0.05)
    assert estimate(distribution, 100).high < 0.9


def draw_seeds(draw: np.random.Generator, seeds: int, reviews: int = 300) -> np.ndarray:
    """Differences (S, N) whose expectation is zero, with an effect of each seed and one of each review."""
    of_reviews = draw.normal(size=(1, reviews)) + 0.3 * draw.normal(size=(seeds, reviews))
    return of_reviews + draw.normal(size=(seeds, 1)) / 10


@pytest.mark.parametrize("seeds", [3, 8])
def test_an_interval_over_seeds_and_reviews_covers_what_one_over_reviews_alone_does_not(seeds):
    draw, trials = np.random.default_rng(0), 300
    covered = dict.fromkeys(("both", "intervals", "reviews"), 0)
    counts, drawn = bootstrap_counts(300, 200, 0), bootstrap_seeds(seeds, 200, 0)
    for _ in range(trials):
        values = draw_seeds(draw, seeds)
        found = {
            "both": estimate(bootstrap_means(values, counts, drawn), 300),
            "intervals": combine_seeds([estimate(bootstrap_means(each, counts), 300) for each in values]),
            "reviews": estimate(bootstrap_means(values.mean(0), counts), 300),
        }
        for name, interval in found.items():
            covered[name] += interval.low <= 0 <= interval.high
    assert covered["both"] > 0.88 * trials and covered["intervals"] > 0.93 * trials
    assert covered["reviews"] < covered["both"]


def test_two_seeds_have_an_interval_over_examples_alone():
    one, two = Interval(value=0.5, low=0.4, high=0.62, n=9), Interval(value=0.7, low=0.62, high=0.8, n=9)
    combined = combine_seeds([one, two])
    found = combined.value, combined.low, combined.high
    assert found == (pytest.approx(0.6), pytest.approx(0.51), pytest.approx(0.71))


def test_more_seeds_make_the_interval_of_their_mean_narrower():
    draw, widths = np.random.default_rng(0), []
    for seeds in (3, 30):
        values = draw_seeds(draw, seeds)
        counts = bootstrap_counts(300, 400, 0)
        both = estimate(bootstrap_means(values, counts, bootstrap_seeds(seeds, 400, 0)), 300)
        combined = combine_seeds([estimate(bootstrap_means(each, counts), 300) for each in values])
        widths.append((both.high - both.low, combined.high - combined.low))
    assert all(more < few for few, more in zip(*widths, strict=True))


def test_one_seed_drawn_with_its_reviews_is_the_bootstrap_over_its_reviews():
    values, counts = np.random.default_rng(0).random((1, 50)), bootstrap_counts(50, 100, 0)
    np.testing.assert_allclose(
        bootstrap_means(values, counts, bootstrap_seeds(1, 100, 0)), bootstrap_means(values[0], counts)
    )
