"""The frontier: what the choice of layers is worth at each budget of healing, and what the seed of healing is worth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel

from layerwise import grading, statistics
from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch
from layerwise.distillation import Teacher
from layerwise.errors import InputError
from layerwise.evaluation import evaluate
from layerwise.ranking import kendall_taus
from layerwise.statistics import Interval
from layerwise.study.config import Parameters
from layerwise.study.models import training
from layerwise.study.schemas import BEST, RANDOM, WORST, FrontierBudget, FrontierChoice
from layerwise.study.variance import compare_variances
from layerwise.subnetworks import SubnetworkTable, best_row


@dataclass
class Choice:
    """A sub-network of the frontier.

    Attributes:
        mask: (L,) bool, the layers that it keeps.
        names: of all that select it, such as `best_subset` and `shap`.
        random: whether it was drawn as a random one; it may be a selected one as well.
    """

    mask: np.ndarray
    names: list[str] = field(default_factory=list)
    random: bool = False

    @property
    def layers(self) -> list[int]:
        return np.flatnonzero(self.mask).tolist()


def choose_subnetworks(
    table: SubnetworkTable, scores: Mapping[str, np.ndarray], size: int, random: int | None, seed: int
) -> list[Choice]:
    """A stratified sample of the sub-networks of one size, each of them once.

    The best and the worst of the table, those that scores and baselines select, and random ones.

    Args:
        table: of sub-networks, unhealed, on examples that no score was computed from.
        scores: (L,) of each method and fusion.
        size: layers that are kept.
        random: how many are drawn without replacement from all of that size, or from the random ones of a table that is
            a sample; None takes all of them.
        seed: of the draw.

    Raises:
        InputError: no sub-network has that size, or it is the whole model.
    """
    if not 0 < size < table.layers:
        raise InputError(f"frontier_layers is {size}: of {table.layers} layers keep at least one, and not all")
    rows = np.flatnonzero(table.sizes == size)
    worst = rows[np.lexsort((table.log_p[rows].mean(1), table.mean_values[rows]))[0]]
    selected = {BEST: table.masks[best_row(table, size)], WORST: table.masks[worst]}
    by_method = grading.select_by_each_method({name: each[None] for name, each in scores.items()})
    selected |= {name: each[0, size] for name, each in by_method.items()}

    choices: dict[bytes, Choice] = {}
    for name, mask in selected.items():
        choices.setdefault(mask.tobytes(), Choice(mask)).names.append(name)
    pool = table.random_rows[size]
    draws = min(random or len(pool), len(pool))
    for mask in table.masks[np.sort(np.random.default_rng(seed).choice(pool, draws, replace=False))]:
        choices.setdefault(mask.tobytes(), Choice(mask)).random = True
    if len(choices) < 2:
        raise InputError(f"the table has one sub-network of {size} layers: sample more, with `permutations`")
    return list(choices.values())


def heal_choices(
    model: PreTrainedModel,
    task: training.Task,
    choices: Sequence[Choice],
    tokens: Mapping[str, Dataset],
    batches: Mapping[str, list[Batch]],
    parameters: Parameters,
) -> tuple[np.ndarray, np.ndarray]:
    """The value of each sub-network without healing and after every epoch of it, for each seed of the order of reviews.

    The budgets of a sub-network and a seed are checkpoints of one healing at a constant learning rate, so each is what
    a healing of so many epochs ends with. All sub-networks read the reviews in the same orders. One process heals them
    in turn, because which they are is known only after the ground truth; a killed run resumes at the sub-network, seed
    and epoch that it had reached.

    Args:
        tokens: reviews that heal, by the names train and validation, as for `training.heal`.
        batches: reviews that the sub-networks are evaluated on, by the names validation and test.

    Returns:
        values (choices, seeds, 1 + epochs, N), the metric of each prediction of the test reviews; and its mean on the
        validation reviews (choices, 1 + epochs), over the seeds. Without healing all seeds have the same.
    """
    masks, seeds, teacher = np.stack([choice.mask for choice in choices]), parameters.frontier_seeds, Teacher(model)
    unhealed = {name: evaluate(model, each, masks, task.metric).values for name, each in batches.items()}
    values = np.empty((len(choices), seeds, 1 + parameters.frontier_epochs, unhealed["test"].shape[1]))
    validation = np.empty(values.shape[:3])
    values[:, :, 0], validation[:, :, 0] = unhealed["test"][:, None], unhealed["validation"].mean(1)[:, None]
    for place, choice in enumerate(choices):
        for seed in range(seeds):
            recipe = parameters.recipe(
                cache=cache_of(parameters),
                epochs=parameters.frontier_epochs,
                seed=parameters.seed + seed,
                constant_rate=True,
            )
            student = LayerwiseAdapter(model).keep(choice.layers)
            values[place, seed, 1:], validation[place, seed, 1:] = training.heal_by_epoch(
                student, teacher, choice.layers, task, tokens["train"], tokens["validation"], recipe, batches["test"]
            )
    return values, validation.mean(1)


def describe_choices(choices: Sequence[Choice], values: np.ndarray, counts: np.ndarray) -> list[FrontierChoice]:
    """A row for each choice: its accuracy at each budget, and that of each seed.

    Args:
        values: (choices, seeds, budgets, N), of `heal_choices`.
        counts: (R, N), of `bootstrap_counts`.
    """
    means = statistics.bootstrap_means(np.moveaxis(values.mean(1), -1, 0), counts)  # (R, choices, budgets)
    return [
        FrontierChoice(
            layers=choice.layers,
            names=choice.names,
            random=choice.random,
            accuracy=[statistics.estimate(each, values.shape[-1]) for each in means[:, place].T],
            by_seed=values[place].mean(-1).T.tolist(),
        )
        for place, choice in enumerate(choices)
    ]


def describe_budgets(
    choices: Sequence[Choice],
    values: np.ndarray,
    validation: np.ndarray,
    before: np.ndarray,
    counts: np.ndarray,
    seed: int,
) -> list[FrontierBudget]:
    """What the choice of layers is worth at each budget, with intervals over the test reviews.

    Args:
        values, validation: of `heal_choices`.
        before: (choices, M), the unhealed value on the reviews of the table that they were chosen from.
        counts: (R, N), of `bootstrap_counts`.
        seed: of the resamples of these M reviews, and of `compare_variances`.
    """
    n, names = values.shape[-1], {name: place for place, each in enumerate(choices) for name in each.names}
    random = [place for place, choice in enumerate(choices) if choice.random]
    again = statistics.bootstrap_counts(before.shape[1], len(counts) - 1, seed, "selection")
    unhealed = statistics.bootstrap_means(before.T, again)
    budgets = []
    for epochs in range(values.shape[2]):
        means = statistics.bootstrap_means(values[:, :, epochs].mean(1).T, counts)  # (R, choices)
        between, within = compare_variances(values[:, :, epochs], counts, seed)
        (tau,) = kendall_taus({"before": unhealed, "after": means}).values()
        best = int(validation[:, epochs].argmax())
        own = {name: means[:, place] for name, place in names.items()}
        mean = means[:, random].mean(1)
        budgets.append(
            FrontierBudget(
                epochs=epochs,
                choice_spread=_spread(between, n),
                seed_spread=_spread(within, n),
                excess=statistics.estimate(between - within, n),
                rank_correlation=statistics.estimate(np.nan_to_num(tau), n),  # none where all are equally good
                best=choices[best].layers,
                gains={name: statistics.estimate(each - mean, n) for name, each in own.items()},
                regrets={
                    name: statistics.estimate(means[:, best] - each, n) for name, each in {**own, RANDOM: mean}.items()
                },
            )
        )
    return budgets


def cache_of(parameters: Parameters) -> Path:
    """The folder of what a killed run had healed; the stage deletes it at its end."""
    return parameters.run_dir / "frontier"


def _spread(variance: np.ndarray, n: int) -> Interval:
    """The standard deviation of a variance (R,); 0 where the estimate is negative."""
    return statistics.estimate(np.sqrt(np.maximum(variance, 0)), n)
