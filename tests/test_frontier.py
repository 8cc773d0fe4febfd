"""The frontier: planted variances are found and no others, and a healing that was killed goes on where it was."""

import itertools
import json
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import make_batch, make_model
from datasets import Dataset
from pydantic import TypeAdapter
from test_subnetworks import make_table
from test_training import KillAt, Killed
from transformers import Trainer

from layerwise.adapter import LayerwiseAdapter
from layerwise.distillation import Distillation
from layerwise.errors import InputError
from layerwise.evaluation import evaluate
from layerwise.report import figures, tables
from layerwise.statistics import Interval, accuracy_interval, bootstrap_counts, estimate
from layerwise.study import frontier, schemas
from layerwise.study.artifacts import Provenance
from layerwise.study.config import Parameters
from layerwise.study.models import training
from layerwise.study.variance import compare_variances, two_way_components

PROVENANCE = Provenance(
    commit="", parameters={}, reviews_sha256="", device="", threads=1, versions={}, finished="", seconds=60
)


def simulate(
    rng: np.random.Generator, choices: int, seeds: int, reviews: int, of_choice: float, of_seed: float
) -> np.ndarray:
    """Predictions (choices, seeds, reviews) of models whose accuracies on new reviews have these standard deviations.

    Some reviews are hard for all models; some predictions change with the choice, and some with the seed.
    """
    effects = rng.standard_normal(choices)
    accuracy = 0.85 + of_choice * ((effects - effects.mean()) / effects.std(ddof=1))[:, None]
    accuracy = accuracy + of_seed * rng.standard_normal((choices, seeds))
    hardness = rng.uniform(size=(1, 1, reviews))
    for share, shape in ((0.04, (choices, 1, reviews)), (0.03, (choices, seeds, reviews))):
        hardness = np.where(rng.uniform(size=shape) < share, rng.uniform(size=shape), hardness)
    return (hardness < accuracy[..., None]).astype(float)


def excess_of(values: np.ndarray, samples: int = 200) -> tuple[float, float, float]:
    between, within = compare_variances(values, bootstrap_counts(values.shape[-1], samples, seed=1), seed=2)
    interval = estimate(between - within, values.shape[-1])
    return interval.value, interval.low, interval.high


def test_the_component_of_the_choices_is_their_covariance_over_two_different_seeds():
    accuracies = np.random.default_rng(0).normal(size=(7, 4))
    between, within, _ = two_way_components(accuracies)
    pairs = itertools.permutations(range(4), 2)
    assert between == pytest.approx(np.mean([np.cov(accuracies[:, s], accuracies[:, t])[0, 1] for s, t in pairs]))
    assert within == pytest.approx(np.mean([np.var(row, ddof=1) for row in accuracies]))


def test_the_components_recover_planted_variances_of_choices_seeds_and_their_interaction():
    rng = np.random.default_rng(0)
    drawn = 2 * rng.normal(size=(4000, 6, 1)) + rng.normal(size=(4000, 1, 3)) + 0.5 * rng.normal(size=(4000, 6, 3))
    np.testing.assert_allclose(two_way_components(drawn).mean(1), [4, 1 + 0.25, 0.25], rtol=0.06)


def test_variances_count_every_pair_of_different_reviews_and_no_review_with_itself():
    values = np.random.default_rng(0).uniform(size=(3, 2, 5))
    between, within = compare_variances(values, np.ones((1, 5), dtype=int), seed=0)
    by_hand = []
    for n, m in itertools.permutations(range(5), 2):
        one, other = values[:, :, n], values[:, :, m]
        covariances = [np.cov(one[:, s], other[:, t])[0, 1] for s, t in ((0, 1), (1, 0))]
        seeds = [np.cov(one[c], other[c])[0, 1] for c in range(3)]
        by_hand.append((np.mean(covariances), np.mean(seeds)))
    assert (between[0], within[0]) == pytest.approx(tuple(np.mean(by_hand, axis=0)))


@pytest.mark.parametrize(("of_choice", "of_seed"), [(0, 0), (0.02, 0), (0.01, 0.02)])
def test_variances_on_few_reviews_are_those_on_new_reviews_and_not_larger(of_choice, of_seed):
    rng, found = np.random.default_rng(0), []
    for _ in range(300):
        values = simulate(rng, choices=10, seeds=2, reviews=300, of_choice=of_choice, of_seed=of_seed)
        between, within = compare_variances(values, np.ones((1, 300), dtype=int), seed=0)
        found.append((between[0], within[0], values.mean((1, 2)).var(ddof=1)))
    between, within, plain = np.mean(found, axis=0)
    assert (between, within) == pytest.approx((of_choice**2, of_seed**2), abs=2e-5)
    assert plain > between + 4e-5  # what would be reported without the corrections


def test_choices_that_differ_more_than_seeds_are_shown_to_do_so_with_an_interval_that_holds_the_truth():
    rng, truth = np.random.default_rng(0), 0.03**2 - 0.005**2
    found = [excess_of(simulate(rng, 14, 2, 450, of_choice=0.03, of_seed=0.005)) for _ in range(60)]
    assert np.mean([low > 0 for _, low, _ in found]) > 0.95
    assert np.mean([low <= truth <= high for _, low, high in found]) > 0.85


@pytest.mark.parametrize(("of_choice", "of_seed"), [(0, 0), (0, 0.01), (0.01, 0.01)])
@pytest.mark.parametrize("reviews", [450, 3000])
def test_choices_that_differ_no_more_than_seeds_are_hardly_ever_shown_to_do_so(of_choice, of_seed, reviews):
    rng = np.random.default_rng(0)
    found = [excess_of(simulate(rng, 14, 2, reviews, of_choice, of_seed), samples=100) for _ in range(60)]
    assert np.mean([low > 0 for _, low, _ in found]) <= 0.08


def test_the_choices_are_the_best_the_worst_those_of_scores_and_baselines_and_random_ones_each_once():
    table = make_table(5, examples=40)
    scores = {"one": np.arange(5), "same": np.arange(5) * 2, "other": np.array([3, 0, 9, 1, 2])}
    choices = frontier.choose_subnetworks(table, scores, size=2, random=3, seed=0)
    by_name = {name: choice.layers for choice in choices for name in choice.names}
    assert by_name["one"] == by_name["same"] == by_name["last"] == [3, 4] and by_name["other"] == [0, 2]
    assert by_name["first"] == [0, 1] and set(by_name) == {
        *scores,
        "first",
        "last",
        "even",
        schemas.BEST,
        schemas.WORST,
    }
    values = {tuple(np.flatnonzero(table.masks[row])): table.mean_values[row] for row in table.random_rows[2]}
    assert values[tuple(by_name[schemas.BEST])] == max(values.values())
    assert values[tuple(by_name[schemas.WORST])] == min(values.values())
    kept = [tuple(choice.layers) for choice in choices]
    assert len(set(kept)) == len(kept) and all(len(layers) == 2 for layers in kept)
    assert sum(choice.random for choice in choices) == 3
    every = frontier.choose_subnetworks(table, scores, size=2, random=None, seed=0)
    assert len(every) == 10 and all(choice.random for choice in every)


@pytest.mark.parametrize("size", [0, 5])
def test_a_frontier_of_no_layer_or_of_all_layers_is_refused(size):
    with pytest.raises(InputError, match=f"frontier_layers is {size}: of 5 layers keep at least one, and not all"):
        frontier.choose_subnetworks(make_table(5), {"one": np.arange(5)}, size, 3, 0)


def collate(rows: list[dict]) -> dict[str, torch.Tensor]:
    ids = torch.tensor([row["input_ids"] for row in rows])
    labels = torch.tensor([row["labels"] for row in rows])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}


@pytest.fixture
def tiny(tmp_path):
    """What `frontier.heal_choices` takes, for a tiny model: two choices, two seeds, two epochs."""
    rng = np.random.default_rng(0)
    ids = rng.integers(3, 50, size=(40, 9))
    rows = [{"input_ids": each.tolist(), "labels": int(each[0] > 26), "length": 9} for each in ids]
    tokens = {"train": Dataset.from_list(rows[:24]), "validation": Dataset.from_list(rows[24:])}
    batches = {"validation": [collate(rows[24:])], "test": [make_batch(seed=seed, examples=12) for seed in range(2)]}
    options = {"data_collator": collate, "compute_metrics": training._accuracy}
    task = training.Task(partial(Trainer, **options), partial(Distillation, **options), "accuracy")
    choices = [frontier.Choice(np.array(mask, dtype=bool)) for mask in ([1, 0, 0, 1], [0, 1, 1, 0])]
    parameters = Parameters(runs=str(tmp_path), batch_size=4, learning_rate=1e-2)
    return make_model("roberta-prelayernorm"), task, choices, tokens, batches, parameters


def test_choices_are_healed_from_the_same_start_with_every_seed_and_evaluated_after_every_epoch(tiny):
    model, task, choices, tokens, batches, parameters = tiny
    values, validation = frontier.heal_choices(*tiny)
    assert values.shape == (2, 2, 3, 24) and validation.shape == (2, 3)
    masks = np.stack([choice.mask for choice in choices])
    np.testing.assert_array_equal(values[:, 0, 0], evaluate(model, batches["test"], masks).values)
    np.testing.assert_array_equal(values[:, 1, 0], values[:, 0, 0])
    recipe = parameters.recipe(cache=parameters.run_dir / "alone", epochs=2, seed=1, constant_rate=True)
    student = LayerwiseAdapter(model).keep([1, 2])
    alone = training.heal(student, model, [1, 2], task, tokens["train"], tokens["validation"], recipe)
    healed = task.evaluate(alone, batches["test"])  # by the way of `compression`: the best of its epochs
    assert any(np.array_equal(healed, epoch) for epoch in values[1, 1, 1:])
    logs = [json.loads(file.read_text()) for file in frontier.cache_of(parameters).glob("*.json")]
    losses = {tuple(row["eval_loss"] for row in log if "eval_loss" in row) for log in logs}
    assert len(logs) == 4 == len(losses)  # another seed is another order, which ends elsewhere


def test_a_budget_is_what_a_healing_of_so_many_epochs_ends_with_where_the_rate_is_constant(tiny):
    model, task, _, tokens, batches, parameters = tiny

    def losses(epochs: int, constant: bool) -> list[float]:
        recipe = parameters.recipe(
            cache=parameters.run_dir / f"{epochs}{constant}", epochs=epochs, constant_rate=constant
        )
        student = LayerwiseAdapter(model).keep([0, 3])
        split = tokens["train"], tokens["validation"]
        values, metrics = training.heal_by_epoch(student, model, [0, 3], task, *split, recipe, batches["test"])
        assert values.shape == (epochs, 24) and metrics.shape == (epochs,)
        (file,) = recipe.cache.glob("*.json")
        return [row["eval_loss"] for row in json.loads(file.read_text()) if "eval_loss" in row]

    assert losses(3, constant=True)[:2] == losses(2, constant=True)
    assert losses(3, constant=False)[:2] != losses(2, constant=False)


def test_a_killed_frontier_goes_on_at_its_sub_network_seed_and_epoch(tiny, monkeypatch):
    *_, parameters = tiny
    expected = frontier.heal_choices(*tiny)
    again = parameters.model_copy(update={"runs": f"{parameters.runs}/again"})
    bars = iter([None, None, KillAt(7)])  # in the second epoch of the first seed of the second choice
    with monkeypatch.context() as patch:
        patch.setattr(training, "TerminalProgress", lambda: next(bars) or KillAt(0))
        with pytest.raises(Killed):
            frontier.heal_choices(*tiny[:-1], again)
    steps = []
    monkeypatch.setattr(
        training.TerminalProgress,
        "on_step_end",
        lambda self, args, state, control, **_: steps.append(state.global_step),
    )
    values, validation = frontier.heal_choices(*tiny[:-1], again)
    np.testing.assert_array_equal(values, expected[0])
    np.testing.assert_array_equal(validation, expected[1])
    assert steps == [*range(7, 13), *range(1, 13)]  # six steps an epoch
    assert not list(frontier.cache_of(again).glob("*/"))


def make_result(of_choice: float = 0.05, after: float = 0.0, passes: int = 2) -> schemas.FrontierResult:
    """A frontier of twelve choices that differ by this much before healing, and after it."""
    rng, reviews = np.random.default_rng(0), 400
    choices = [frontier.Choice(np.eye(12, dtype=bool)[i], [], i > 7) for i in range(12)]
    for name, place in ((schemas.BEST, 0), ("shap", 0), (schemas.WORST, 1), ("even", 2), ("first", 3)):
        choices[place].names.append(name)
    values = np.stack(
        [simulate(rng, 12, 2, reviews, spread, 0.005) for spread in (of_choice, *[after] * passes)], axis=2
    )
    values[:, 1, 0] = values[:, 0, 0]
    validation = values.mean((1, 3))
    counts = bootstrap_counts(reviews, 200, seed=0)
    return schemas.FrontierResult(
        layers=1,
        depth=12,
        subsets=12,
        seeds=2,
        reviews=300,
        whole=accuracy_interval(np.arange(reviews) % 10 > 0),
        choices=frontier.describe_choices(choices, values, counts),
        budgets=frontier.describe_budgets(choices, values, validation, values[:, 0, 0], counts, seed=0),
        provenance=PROVENANCE,
    )


def test_a_choice_that_matters_before_healing_alone_is_noise_from_the_first_pass_on():
    result = make_result(of_choice=0.06, after=0.0)
    assert [budget.choice_matters for budget in result.budgets] == [True, False, False] and result.noise_from == 1
    assert result.budgets[0].seed_spread.value == 0
    lasting = make_result(of_choice=0.06, after=0.06)
    assert lasting.noise_from is None and all(budget.choice_matters for budget in lasting.budgets)


def test_gains_are_differences_to_the_mean_of_the_random_choices_and_regrets_to_the_best_on_validation():
    result = make_result()
    random = [choice for choice in result.choices if choice.random]
    for place, budget in enumerate(result.budgets):
        values = {tuple(choice.layers): choice.accuracy[place].value for choice in result.choices}
        mean, best = np.mean([choice.accuracy[place].value for choice in random]), values[tuple(budget.best)]
        for choice in result.choices:
            assert choice.accuracy[place].value == pytest.approx(np.mean(choice.by_seed[place]))
            for name in choice.names:
                own = values[tuple(choice.layers)]
                assert budget.gains[name].value == pytest.approx(own - mean)
                assert budget.regrets[name].value == pytest.approx(best - own)
        assert budget.regrets[schemas.RANDOM].value == pytest.approx(best - mean)


def test_a_result_is_read_back_as_it_was_saved_even_where_all_choices_are_equally_good():
    choices = [frontier.Choice(mask, ["one"], True) for mask in np.eye(2, dtype=bool)]
    values, counts = np.ones((2, 2, 2, 6)), bootstrap_counts(6, 100, seed=0)
    budgets = frontier.describe_budgets(choices, values, values.mean((1, 3)), values[:, 0, 0], counts, seed=0)
    assert budgets[1].rank_correlation.value == budgets[1].choice_spread.value == 0 and not budgets[1].choice_matters
    adapter = TypeAdapter(list[schemas.FrontierBudget])
    assert adapter.validate_json(adapter.dump_json(budgets)) == budgets


def test_the_figure_has_at_most_four_choices_in_colour_with_their_names_and_every_other_in_grey():
    result = make_result()
    figure = figures.plot_frontier(result, Interval(value=0.8, low=0.7, high=0.9, n=9))
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 3]
    coloured = [line for line in lines if not isinstance(line.get_color(), str)]
    assert len(lines) == len(result.choices) + len(coloured) and len(coloured) <= 4
    names = [text.get_text() for text in figure.axes[0].texts]
    assert len(names) == len(coloured) and {"best unhealed", "worst unhealed"} <= set(names)
    plt.close(figure)


def test_the_tables_have_a_row_a_budget_and_a_row_a_choice_that_something_selects():
    result = make_result(of_choice=0.06)
    budgets = tables.frontier_table(result)
    assert list(budgets["healing"]) == ["unhealed", "1 pass", "2 passes"]
    assert budgets["choices differ more"][0] == "yes" and "yes" not in set(budgets["choices differ more"][1:])
    rows = tables.frontier_choices_table(result).set_index("selected by")
    assert list(rows.index) == ["best subset, shap", "worst subset", "even", "first", "random, mean"]
    assert rows["unhealed less random (points)"]["best subset, shap"].startswith(
        result.budgets[0].gains[schemas.BEST].points
    )
