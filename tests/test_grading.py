import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import stats
from scipy.stats import kendalltau
from test_subnetworks import make_table

from layerwise import grading, statistics, subnetworks
from layerwise.errors import InputError
from layerwise.grading import Grading
from layerwise.ranking import kendall_taus


def grade_order(table, order):
    return grading.grade_selection(table, table.mean_values[:, None], subnetworks.nested_masks(np.array(order))[None])


def test_regret_and_percentile_equal_a_naive_count():
    table = make_table(5, examples=9)
    found = grade_order(table, [3, 1, 0, 4, 2])
    for size in range(1, 5):
        mine = table.mean_values[table.rows(subnetworks.nested_masks(np.array([3, 1, 0, 4, 2])))[size]]
        pool = table.mean_values[table.sizes == size].tolist()
        pool.remove(mine)
        worse = sum(other < mine for other in pool) + sum(other == mine for other in pool) / 2
        assert found.percentile[size - 1, 0] == pytest.approx(worse / len(pool))
        assert found.regret[size - 1, 0] == pytest.approx(max(*pool, mine) - mine)


def test_the_best_choice_has_no_regret_and_beats_all_others_and_the_worst_beats_none():
    table = make_table(3, examples=7)
    table.values[:] = np.arange(7) < (table.masks @ [4, 2, 1])[:, None]  # layer 0 matters most
    best, worst = grade_order(table, [0, 1, 2]), grade_order(table, [2, 1, 0])
    assert best.regret.max() == 0 and best.percentile[:, 0].min() == 1
    assert worst.percentile[:, 0].max() == 0 and worst.regret.min() > 0


def test_the_mean_grade_of_all_choices_is_the_grade_of_chance():
    table = make_table(4, examples=11)
    chance = grading.grade_random(table, table.mean_values[:, None])
    for size in range(1, 4):
        each = []
        for row in np.flatnonzero(table.sizes == size):
            inside = np.flatnonzero(table.masks[row]).tolist()
            found = grade_order(table, inside + [i for i in range(4) if i not in inside])
            each.append([found.value[size - 1, 0], found.regret[size - 1, 0], found.percentile[size - 1, 0]])
        expected = [chance.value[size - 1, 0], chance.regret[size - 1, 0], chance.percentile[size - 1, 0]]
        np.testing.assert_allclose(np.mean(each, axis=0), expected, atol=1e-12)


def test_of_a_sampled_table_chance_is_what_was_drawn_by_chance_and_not_what_was_put_in_to_be_grade_order():
    whole = make_table(8, examples=40)
    whole.values[:] = np.arange(40) < 5 * whole.masks[:, :4].sum(1)[:, None] + whole.masks[:, 4:].sum(1)[:, None]
    orders = np.array([np.random.default_rng(i).permutation(8) for i in range(30)])
    best = [subnetworks.best_row(whole, size) for size in range(9)]
    drawn = {*whole.rows(subnetworks.nested_masks(orders)).ravel()}
    path = whole.masks[subnetworks.greedy_path(whole)]
    steps = {row for kept in path for row in whole.rows(subnetworks.masks_without_one(kept))}
    rows = sorted(drawn | steps | {*best})
    sample = subnetworks.SubnetworkTable(whole.masks[rows], whole.log_p[rows], whole.values[rows], orders)
    assert not sample.complete and len(rows) > len(drawn)
    values = sample.mean_values[:, None]
    choice = sample.masks[[rows.index(row) for row in best]][None]
    graded = grading.grade_selection(sample, values, choice)
    chance = grading.grade_random(sample, values)
    for size in range(1, 8):
        pool = [row for row in drawn if whole.sizes[row] == size]
        others = [whole.mean_values[row] for row in pool if row != best[size]]
        mine = whole.mean_values[best[size]]
        below = sum(other < mine for other in others) + sum(other == mine for other in others) / 2
        assert graded.percentile[size - 1, 0] == pytest.approx(below / max(len(others), 1))
        assert graded.regret[size - 1, 0] == 0
        assert chance.value[size - 1, 0] == pytest.approx(whole.mean_values[pool].mean())
        assert chance.regret[size - 1, 0] == pytest.approx(mine - whole.mean_values[pool].mean())
    counts, second_half = statistics.bootstrap_counts(40, 5, 0), statistics.split_in_halves(40)
    sizes = grading.describe_sizes(sample, subnetworks.held_out_best(sample, counts, second_half))
    assert sizes[4].mean == pytest.approx(chance.value[3, 0]) and sizes[4].best.value == whole.mean_values[best[4]]
    assert sizes[0].subsets == sizes[8].subsets == 1


def test_two_layers_are_graded_and_have_no_thirds():
    table = make_table(2, examples=12)
    counts = statistics.bootstrap_counts(12, samples=100, seed=0)
    means = {name: np.random.default_rng(i).normal(size=(101, 2)) for i, name in enumerate(("fisher", "shap"))}
    found = grading.grade_methods(table, means, counts)
    again = TypeAdapter(Grading).validate_json(TypeAdapter(Grading).dump_json(found))
    assert again.thirds == [] and again.grades["shap"].keys() == {1}


def test_a_grading_holds_the_types_that_it_declares():
    table = make_table(3, examples=12)
    found = grading.grade({"mine": [0.1, 0.3, 0.2]}, table, samples=20)
    TypeAdapter(Grading).dump_python(found, warnings="error")


def test_each_resample_grades_its_own_choice_on_its_own_reviews():
    table = make_table(4, examples=30)
    counts = statistics.bootstrap_counts(30, samples=5, seed=0)
    values = grading.bootstrap_values(table, counts)
    orders = np.array([np.random.default_rng(i).permutation(4) for i in range(6)])
    found = grading.grade_selection(table, values, subnetworks.nested_masks(orders))
    for r, order in enumerate(orders):
        drawn = np.repeat(np.arange(30), counts[r])
        accuracy = table.values[:, drawn].mean(1)
        rows = table.rows(subnetworks.nested_masks(order))
        for size in range(1, 4):
            pool = accuracy[table.sizes == size]
            assert found.value[size - 1, r] == pytest.approx(accuracy[rows[size]])
            assert found.regret[size - 1, r] == pytest.approx(pool.max() - accuracy[rows[size]])


def test_the_first_resample_is_the_data_itself_and_all_hold_as_many_examples():
    counts = statistics.bootstrap_counts(20, samples=50, seed=1)
    assert (counts[0] == 1).all() and (counts.sum(1) == 20).all() and counts.shape == (51, 20)
    values = np.random.default_rng(0).random((20, 3))
    np.testing.assert_allclose(statistics.bootstrap_means(values, counts)[0], values.mean(0))


def test_a_bootstrapped_mean_spreads_like_its_standard_error():
    values = np.random.default_rng(0).normal(size=(400, 1))
    found = statistics.bootstrap_means(values, statistics.bootstrap_counts(400, samples=4000, seed=0))[1:, 0]
    assert found.std() == pytest.approx(values.std() / 20, rel=0.05)


def test_agreement_is_kendall_s_tau_of_every_pair_in_every_resample():
    draw = np.random.default_rng(0)
    means = {name: draw.random((4, 6)) for name in "abc"}
    found = kendall_taus(means)
    assert set(found) == {("a", "b"), ("a", "c"), ("b", "c")}
    for (one, other), taus in found.items():
        expected = [kendalltau(x, y).statistic for x, y in zip(means[one], means[other], strict=True)]
        np.testing.assert_allclose(taus, expected)
    symmetric, *_ = grading.agreement_matrix(found, list("abc"), examples=4)
    np.testing.assert_array_equal(symmetric, symmetric.T)


def test_a_method_that_knows_the_truth_is_graded_above_the_one_that_has_it_upside_down():
    draw = np.random.default_rng(0)
    table = make_table(6, examples=300)
    value_of_layers = np.array([5, 4, 3, 2, 1, 0])
    table.values[:] = draw.random(table.values.shape) < (table.masks @ value_of_layers / 15)[:, None]
    counts = statistics.bootstrap_counts(300, samples=200, seed=0)
    noisy = value_of_layers + draw.normal(scale=0.5, size=(50, 6))
    means = {"knows": statistics.bootstrap_means(noisy, statistics.bootstrap_counts(50, 200, 0))}
    means["upside_down"] = -means["knows"]
    summary = grading.grade_methods(table, means, counts).summary
    assert summary["knows"].percentile.low > 0.7 and summary["upside_down"].percentile.high < 0.3
    assert summary["knows"].gain.low > 0.1 and summary["upside_down"].gain.high < -0.1
    assert summary["knows"].gain_over_baseline.low < 0.05 and summary["upside_down"].gain_over_baseline.high < -0.2
    assert summary["knows"].behind_best.value == 0 and summary["upside_down"].behind_best.low > 0.2
    assert summary["upside_down"].reversed_percentile.value == summary["knows"].percentile.value
    assert summary["first"].percentile.value > 0.9 > summary["last"].percentile.value
    assert summary["first"].gain_over_baseline is None and summary["random"].gain.value == 0


class Population:
    """Sub-networks of six layers, which are worth unequally much, with the true accuracy of each."""

    def __init__(self, seed: int = 0):
        self.draw = np.random.default_rng(seed)
        self.masks = subnetworks.all_masks(6)
        self.worth = np.array([0.03, 0.025, 0.02, 0.01, 0.005, 0.0])
        self.accuracy = 0.6 + self.masks @ self.worth

    def table(self, examples: int = 200) -> subnetworks.SubnetworkTable:
        """Examples are easy or hard for all sub-networks alike, as reviews are."""
        hard = stats.norm.ppf(self.draw.random(examples))
        correct = 0.8 * hard + 0.6 * self.draw.normal(size=(64, examples)) < stats.norm.ppf(self.accuracy)[:, None]
        return subnetworks.SubnetworkTable(self.masks, correct.astype(float), correct)

    def scores(self, examples: int = 200) -> np.ndarray:
        return 2 * self.worth + 0.15 * self.draw.normal(size=(examples, 6))

    def true_gain_and_percentile(self, layers: dict[int, list[int]]) -> tuple[float, float]:
        """Of the layers selected at each size, the means over the sizes."""
        gains, percentiles = [], []
        for size, kept in layers.items():
            pool = self.accuracy[self.masks.sum(1) == size]
            own = self.accuracy[sum(1 << layer for layer in kept)]
            gains.append(own - pool.mean())
            percentiles.append((pool < own).sum() / (len(pool) - 1))
        return float(np.mean(gains)), float(np.mean(percentiles))


def test_intervals_of_the_gain_and_of_the_percentile_cover_the_truth_of_the_selected_layers_on_simulated_tables():
    population, trials = Population(), 150
    covered = dict.fromkeys(("gain", "percentile", "resampled percentiles"), 0)
    for trial in range(trials):
        table = population.table()
        counts = statistics.bootstrap_counts(200, 200, trial, "selection")
        means = {"mine": statistics.bootstrap_means(population.scores(), statistics.bootstrap_counts(200, 200, trial))}
        masks, values = grading.select_layers(means["mine"]), grading.bootstrap_values(table, counts)
        grades = {"mine": grading.grade_selection(table, values, masks), "random": grading.grade_random(table, values)}
        grades |= dict.fromkeys(grading.POSITION_BASELINES, grades["random"])
        found = grading.summarise_methods(grades, {}, np.zeros(201), 200)["mine"]
        layers = {size: np.flatnonzero(masks[0, size]).tolist() for size in range(1, 6)}
        gain, percentile = population.true_gain_and_percentile(layers)
        assert found.gain.low <= found.gain.value <= found.gain.high
        assert found.percentile.low <= found.percentile.value <= found.percentile.high
        covered["gain"] += found.gain.low <= gain <= found.gain.high
        covered["percentile"] += found.percentile.low <= percentile <= found.percentile.high
        covered["resampled percentiles"] += covers_by_resampled_percentiles(table, values, masks, percentile)
    assert covered["gain"] > 0.92 * trials and covered["percentile"] > 0.95 * trials
    assert covered["resampled percentiles"] < 0.5 * trials  # as it was before version 0.3


def covers_by_resampled_percentiles(table, values, masks, truth: float) -> bool:
    """Whether the truth is within the percentile interval of what each resample selects and grades."""
    rows = np.array([table.rows(each) for each in masks])
    percentiles = np.zeros(len(rows))
    for size in range(1, 6):
        pool, own = values[table.sizes == size], np.take_along_axis(values, rows[:, size][None], 0)
        percentiles += ((pool < own).sum(0) + ((pool == own).sum(0) - 1) / 2) / (len(pool) - 1) / 5
    low, high = np.quantile(percentiles[1:], (0.025, 0.975))
    return low <= truth <= high


def test_a_rank_interval_counts_those_that_are_shown_to_differ():
    draw = np.random.default_rng(0)
    true_differences = np.array([-0.5, -0.4, -0.3, 0, 0, 0, 0, 0.5])
    differences = true_differences[:, None] + 0.05 * draw.normal(size=(8, 400))
    differences[:, 0] = true_differences
    assert grading.rank_interval(differences) == (3 / 8, 7 / 8)
    alike = np.zeros((5, 400))
    assert grading.rank_interval(alike) == (0, 1) == grading.rank_interval(np.empty((0, 400)))


def test_the_accuracy_lost_with_the_best_half_covers_the_truth_and_is_not_a_gain_by_luck():
    """All halves of the layers lose a point: the best on all examples seems to lose nothing, or to gain."""
    draw, trials, covered, lucky = np.random.default_rng(0), 100, 0, 0
    masks = subnetworks.all_masks(6)
    counts, second_half = statistics.bootstrap_counts(400, 100, 0), statistics.split_in_halves(400)
    for _ in range(trials):
        correct = 0.8 * draw.normal(size=400) + 0.6 * draw.normal(size=(64, 400)) < stats.norm.ppf(0.79)
        correct[-1] |= draw.random(400) < 1 / 21  # the whole model: one point more
        table = subnetworks.SubnetworkTable(masks, correct.astype(float), correct)
        whole = grading.bootstrap_values(table, counts)[-1]
        held_out = subnetworks.held_out_best(table, counts, second_half)
        loss = statistics.estimate_reselected(whole - held_out[3], 400)
        covered += loss.low <= 0.01 <= loss.high
        best = grading.describe_sizes(table, held_out)[3].best
        lucky += whole[0] - best.value < 0
    assert covered > 0.92 * trials and lucky > 0.8 * trials
    found = grading.grade_methods(table, {"mine": np.tile(np.arange(6.0), (101, 1))}, counts)
    assert found.best_half_loss == loss and found.sizes[3].best == best
    assert best.held_out_interval[0] < best.held_out < best.held_out_interval[1] and best.held_out < best.value


def test_the_best_of_many_methods_that_know_nothing_is_not_ahead_of_a_random_choice():
    table = make_table(6, examples=400)  # every sub-network is right 60 times in 100
    counts, second_half = statistics.bootstrap_counts(400, 200, 0), statistics.split_in_halves(400)
    draw, values = np.random.default_rng(0), grading.bootstrap_values(table, counts)
    masks = {f"method {i}": grading.select_layers(draw.random((1, 6))) for i in range(13)}
    best = grading.held_out_best_method(table, masks, counts, second_half)
    gain = statistics.estimate_reselected(best - grading.grade_random(table, values).value.mean(0), 400)
    lucky = max(grading.grade_selection(table, values, each).value[:, 0].mean() for each in masks.values())
    assert gain.low < 0 and gain.value < (lucky - grading.grade_random(table, values).value[:, 0].mean()) / 2


def test_an_exhaustive_search_on_other_examples_is_graded_as_what_it_selects_in_each_resample():
    other, table = make_table(4, examples=30, seed=1), make_table(4, examples=40)
    counts = statistics.bootstrap_counts(30, 20, 0, "analysis")
    searched = grading.select_by_search(other, counts)
    assert searched.shape == (21, 5, 4)
    assert [np.flatnonzero(mask).tolist() for mask in searched[0]] == [
        np.flatnonzero(other.masks[subnetworks.best_row(other, size)]).tolist() for size in range(5)
    ]
    drawn = other.select(np.repeat(np.arange(30), counts[7]))
    assert (searched[7, 2] == other.masks[subnetworks.best_row(drawn, 2)]).all()
    grading_counts = statistics.bootstrap_counts(40, 20, 0, "selection")
    means = {"mine": np.tile(np.arange(4.0), (21, 1))}
    found = grading.grade_methods(table, means, grading_counts, searched=searched)
    assert found.grades[grading.SEARCH][2].layers == np.flatnonzero(searched[0, 2]).tolist()
    assert grading.SEARCH not in found.ranked and found.summary[grading.SEARCH].reversed_percentile is None


def test_the_public_grade_takes_means_or_scores_of_each_example_and_names_a_wrong_shape():
    table = make_table(4, examples=30)
    per_example = np.random.default_rng(0).normal(size=(20, 4))
    found = grading.grade({"mine": per_example, "mean": per_example.mean(0)}, table, samples=100)
    assert (
        found.grades["mine"][2].layers == found.grades["mean"][2].layers == grading.top_layers(per_example.mean(0), 2)
    )
    counts = statistics.bootstrap_counts(30, 100, 0, "selection")
    means = statistics.bootstrap_scores({"mine": per_example}, statistics.bootstrap_counts(20, 100, 0, "analysis"))
    assert found.grades["mine"] == grading.grade_methods(table, means, counts).grades["mine"]
    two = grading.grade({"one": np.arange(4), "other": np.arange(4)[::-1]}, table, samples=100)
    assert two.agreement[0][1] == two.agreement_low[0][1] == -1
    for wrong, complaint in (({}, "no scores"), ({"mine": [1, 2, np.nan, 3]}, "'mine' has scores that are not finite")):
        with pytest.raises(InputError, match=complaint):
            grading.grade(wrong, table)
    with pytest.raises(InputError, match=r"'mine' has scores of shape \(3,\), and the model has 4 layers"):
        grading.grade({"mine": [1, 2, 3]}, table)
