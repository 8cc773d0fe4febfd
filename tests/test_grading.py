import numpy as np
import pytest
from pydantic import TypeAdapter
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
    assert best.regret.max() == 0 and best.percentile.min() == 1
    assert worst.percentile.max() == 0 and worst.regret.min() > 0


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
    lost, at_best = grading.half_losses(sample, values)
    assert lost[0] == pytest.approx(whole.mean_values[-1] - chance.value[3, 0]) and at_best[0] < lost[0]
    sizes = grading.describe_sizes(sample)
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
    values = grading.bootstrap_values(table, counts)
    noisy = value_of_layers + draw.normal(scale=0.5, size=(50, 6))
    means = {"knows": statistics.bootstrap_means(noisy, statistics.bootstrap_counts(50, 200, 0))}
    means["upside_down"] = -means["knows"]
    choices = grading.select_by_each_method(means)
    grades = {name: grading.grade_selection(table, values, masks) for name, masks in choices.items()}
    reversed_grades = {
        name: grading.grade_selection(table, values, grading.select_layers(-mean)) for name, mean in means.items()
    }
    summary = grading.summarise_methods(grades, reversed_grades, 300)
    assert summary["knows"].percentile.low > 0.9 and summary["upside_down"].percentile.high < 0.1
    assert summary["knows"].behind_best.value == 0 and summary["upside_down"].behind_best.low > 0.2
    assert summary["upside_down"].reversed_percentile.value == summary["knows"].percentile.value
    assert summary["first"].percentile.value > 0.9 > summary["last"].percentile.value


def test_the_public_grade_takes_means_or_scores_of_each_example_and_names_a_wrong_shape():
    table = make_table(4, examples=30)
    per_example = np.random.default_rng(0).normal(size=(20, 4))
    found = grading.grade({"mine": per_example, "mean": per_example.mean(0)}, table, samples=100)
    assert (
        found.grades["mine"][2].layers == found.grades["mean"][2].layers == grading.top_layers(per_example.mean(0), 2)
    )
    counts = statistics.bootstrap_counts(30, 100, 0)
    means = statistics.bootstrap_scores({"mine": per_example}, 100, 0)
    assert found.grades["mine"] == grading.grade_methods(table, means, counts).grades["mine"]
    two = grading.grade({"one": np.arange(4), "other": np.arange(4)[::-1]}, table, samples=100)
    assert two.agreement[0][1] == two.agreement_low[0][1] == -1
    for wrong, complaint in (({}, "no scores"), ({"mine": [1, 2, np.nan, 3]}, "'mine' has scores that are not finite")):
        with pytest.raises(InputError, match=complaint):
            grading.grade(wrong, table)
    with pytest.raises(InputError, match=r"'mine' has scores of shape \(3,\), and the model has 4 layers"):
        grading.grade({"mine": [1, 2, 3]}, table)
