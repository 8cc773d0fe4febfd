import numpy as np
import pytest
from scipy.stats import kendalltau
from test_subsets import make_table

from layerwise import grading, subsets
from layerwise.fusion import agreement
from layerwise.results import Graded
from layerwise.stories import thirds_story


def graded(table, order):
    return grading.grade(table, table.mean_gain[:, None], subsets.nested(np.array(order))[None])


def test_regret_and_percentile_equal_a_naive_count():
    table = make_table(5, examples=9)
    found = graded(table, [3, 1, 0, 4, 2])
    for size in range(1, 5):
        mine = table.mean_gain[table.rows(subsets.nested(np.array([3, 1, 0, 4, 2])))[size]]
        pool = table.mean_gain[table.sizes == size].tolist()
        pool.remove(mine)
        worse = sum(other < mine for other in pool) + sum(other == mine for other in pool) / 2
        assert found.percentile[size - 1, 0] == pytest.approx(worse / len(pool))
        assert found.regret[size - 1, 0] == pytest.approx(max(*pool, mine) - mine)


def test_the_best_choice_has_no_regret_and_beats_all_others_and_the_worst_beats_none():
    table = make_table(3, examples=7)
    table.gain[:] = np.arange(7) < (table.kept @ [4, 2, 1])[:, None]  # layer 0 matters most
    best, worst = graded(table, [0, 1, 2]), graded(table, [2, 1, 0])
    assert best.regret.max() == 0 and best.percentile.min() == 1
    assert worst.percentile.max() == 0 and worst.regret.min() > 0


def test_the_mean_grade_of_all_choices_is_the_grade_of_chance():
    table = make_table(4, examples=11)
    chance = grading.grade_of_chance(table, table.mean_gain[:, None])
    for size in range(1, 4):
        each = []
        for row in np.flatnonzero(table.sizes == size):
            inside = np.flatnonzero(table.kept[row]).tolist()
            found = graded(table, inside + [i for i in range(4) if i not in inside])
            each.append([found.value[size - 1, 0], found.regret[size - 1, 0], found.percentile[size - 1, 0]])
        expected = [chance.value[size - 1, 0], chance.regret[size - 1, 0], chance.percentile[size - 1, 0]]
        np.testing.assert_allclose(np.mean(each, axis=0), expected, atol=1e-12)


def test_of_a_sampled_table_chance_is_what_was_drawn_by_chance_and_not_what_was_put_in_to_be_graded():
    whole = make_table(8, examples=40)
    whole.gain[:] = np.arange(40) < 5 * whole.kept[:, :4].sum(1)[:, None] + whole.kept[:, 4:].sum(1)[:, None]
    orders = np.array([np.random.default_rng(i).permutation(8) for i in range(30)])
    best = [subsets.best(whole, size) for size in range(9)]
    drawn = {*whole.rows(subsets.nested(orders)).ravel()}
    path = whole.kept[subsets.greedy(whole)]
    steps = {row for kept in path for row in whole.rows(subsets.without_one(kept))}
    rows = sorted(drawn | steps | {*best})
    sample = subsets.Table(whole.kept[rows], whole.log_p[rows], whole.gain[rows])
    assert not sample.complete and len(rows) > len(drawn)
    worth = sample.mean_gain[:, None]
    choice = sample.kept[[rows.index(row) for row in best]][None]
    graded = grading.grade(sample, worth, choice, orders)
    chance = grading.grade_of_chance(sample, worth, orders)
    for size in range(1, 8):
        pool = [row for row in drawn if whole.sizes[row] == size]
        others = [whole.mean_gain[row] for row in pool if row != best[size]]
        mine = whole.mean_gain[best[size]]
        below = sum(other < mine for other in others) + sum(other == mine for other in others) / 2
        assert graded.percentile[size - 1, 0] == pytest.approx(below / max(len(others), 1))
        assert graded.regret[size - 1, 0] == 0
        assert chance.value[size - 1, 0] == pytest.approx(whole.mean_gain[pool].mean())
        assert chance.regret[size - 1, 0] == pytest.approx(mine - whole.mean_gain[pool].mean())
    lost, at_best = grading.half_lost(sample, worth, orders)
    assert lost[0] == pytest.approx(whole.mean_gain[-1] - chance.value[3, 0]) and at_best[0] < lost[0]
    sizes = grading.sizes(sample, orders)
    assert sizes[4].mean == pytest.approx(chance.value[3, 0]) and sizes[4].best.value == whole.mean_gain[best[4]]
    assert sizes[0].subsets == sizes[8].subsets == 1


def test_two_layers_are_graded_and_have_no_thirds():
    table = make_table(2, examples=12)
    judges = grading.resamples(12, samples=100, seed=0)
    means = {name: np.random.default_rng(i).normal(size=(101, 2)) for i, name in enumerate(("fisher", "shap"))}
    found = grading.graded(table, None, means, judges)
    again = Graded.model_validate_json(found.model_dump_json())
    assert again.thirds == [] and again.grades["shap"].keys() == {1}
    assert thirds_story(again.thirds) == "there are too few layers to say."


def test_each_resample_grades_its_own_choice_on_its_own_reviews():
    table = make_table(4, examples=30)
    counts = grading.resamples(30, samples=5, seed=0)
    worth = grading.worth(table, counts)
    orders = np.array([np.random.default_rng(i).permutation(4) for i in range(6)])
    found = grading.grade(table, worth, subsets.nested(orders))
    for r, order in enumerate(orders):
        drawn = np.repeat(np.arange(30), counts[r])
        accuracy = table.gain[:, drawn].mean(1)
        rows = table.rows(subsets.nested(order))
        for size in range(1, 4):
            pool = accuracy[table.sizes == size]
            assert found.value[size - 1, r] == pytest.approx(accuracy[rows[size]])
            assert found.regret[size - 1, r] == pytest.approx(pool.max() - accuracy[rows[size]])


def test_the_first_resample_is_the_data_itself_and_all_hold_as_many_examples():
    counts = grading.resamples(20, samples=50, seed=1)
    assert (counts[0] == 1).all() and (counts.sum(1) == 20).all() and counts.shape == (51, 20)
    values = np.random.default_rng(0).random((20, 3))
    np.testing.assert_allclose(grading.resampled(values, counts)[0], values.mean(0))


def test_a_bootstrapped_mean_spreads_like_its_standard_error():
    values = np.random.default_rng(0).normal(size=(400, 1))
    found = grading.resampled(values, grading.resamples(400, samples=4000, seed=0))[1:, 0]
    assert found.std() == pytest.approx(values.std() / 20, rel=0.05)


def test_agreement_is_kendall_s_tau_of_every_pair_in_every_resample():
    draw = np.random.default_rng(0)
    means = {name: draw.random((4, 6)) for name in "abc"}
    found = agreement(means)
    assert set(found) == {("a", "b"), ("a", "c"), ("b", "c")}
    for (one, other), taus in found.items():
        expected = [kendalltau(x, y).statistic for x, y in zip(means[one], means[other], strict=True)]
        np.testing.assert_allclose(taus, expected)
    symmetric, *_ = grading.matrix(found, list("abc"), examples=4)
    np.testing.assert_array_equal(symmetric, symmetric.T)


def test_a_method_that_knows_the_truth_is_graded_above_the_one_that_has_it_upside_down():
    draw = np.random.default_rng(0)
    table = make_table(6, examples=300)
    worth_of_layers = np.array([5, 4, 3, 2, 1, 0])
    table.gain[:] = draw.random(table.gain.shape) < (table.kept @ worth_of_layers / 15)[:, None]
    counts = grading.resamples(300, samples=200, seed=0)
    worth = grading.worth(table, counts)
    noisy = worth_of_layers + draw.normal(scale=0.5, size=(50, 6))
    means = {"knows": grading.resampled(noisy, grading.resamples(50, 200, 0))}
    means["upside_down"] = -means["knows"]
    choices = grading.choices(means)
    grades = {name: grading.grade(table, worth, kept) for name, kept in choices.items()}
    opposites = {name: grading.grade(table, worth, grading.chosen(-values)) for name, values in means.items()}
    said = grading.summarise(grades, opposites, 300)
    assert said["knows"].percentile.low > 0.9 and said["upside_down"].percentile.high < 0.1
    assert said["knows"].behind.value == 0 and said["upside_down"].behind.low > 0.2
    assert said["upside_down"].reversed_percentile.value == said["knows"].percentile.value
    assert said["first"].percentile.value > 0.9 > said["last"].percentile.value
