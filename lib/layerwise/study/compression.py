"""Smaller models of a study: which layers they keep, how they are healed, and how they compare with the whole model."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase, set_seed

from layerwise import grading, statistics, subnetworks
from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch
from layerwise.budget import CompressionPlan
from layerwise.cost import count_macs, typical_batch
from layerwise.distillation import Teacher
from layerwise.errors import InputError
from layerwise.evaluation import evaluate
from layerwise.statistics import Interval
from layerwise.study.config import Parameters
from layerwise.study.models import classifier, training
from layerwise.study.schemas import FROM_SCRATCH, LINEAR, Candidate, CompressionMetrics, CompressionResult
from layerwise.subnetworks import SubnetworkTable
from layerwise.vocabulary import trim_vocabulary

RANDOM_SELECTIONS = 5

# Of a smaller model: ratio, by whom its layers were selected, whether it was healed.
Key = tuple[float | None, str, bool]


class ModelVariant(NamedTuple):
    """The whole model with one of its vocabularies, and the splits as its tokenizer encodes them."""

    tokenizer: PreTrainedTokenizerBase
    task: training.Task
    model: PreTrainedModel
    tokens: dict[str, Dataset]
    test: list[Batch]


def make_variants(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, splits: dict[str, Dataset], batch_size: int
) -> dict[bool, ModelVariant]:
    """The model with its whole vocabulary (False), and with that of its training reviews (True).

    Both are the same if the vocabulary cannot be trimmed, because the tokenizer is not of the `tokenizers` library.

    Args:
        splits: reviews by the names train, validation and test.
    """

    def variant(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> ModelVariant:
        tokens = {name: classifier.tokenize(tokenizer, split) for name, split in splits.items()}
        test = classifier.make_batches(tokenizer, tokens["test"], batch_size)
        return ModelVariant(tokenizer, training.classification(tokenizer), model, tokens, test)

    whole = variant(model, tokenizer)
    if not tokenizer.is_fast:
        return {False: whole, True: whole}
    return {False: whole, True: variant(*trim_vocabulary(model, tokenizer, whole.tokens["train"]["input_ids"]))}


def select_candidates(
    scores: Mapping[str, np.ndarray], table: SubnetworkTable, seed: int, heal: Sequence[str]
) -> dict[str, np.ndarray]:
    """The layers selected by every method, from the table of sub-networks, and by the baselines.

    Args:
        scores: (L,) of each method.
        table: of the sub-networks, on examples that no score was computed from.
        heal: names of the selections that are to be healed.

    Returns:
        Masks (L + 1, L) of each selection, for 0 to L layers kept.

    Raises:
        InputError: one of those to be healed is not among them.
    """
    by_method = grading.select_by_each_method({method: each[None] for method, each in scores.items()})
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(table.layers), (RANDOM_SELECTIONS, 1)), axis=1)
    best = [subnetworks.best_row(table, size) for size in range(table.layers + 1)]
    masks = {name: each[0] for name, each in by_method.items()} | {
        "greedy": table.masks[subnetworks.greedy_path(table)],
        "best_subset": table.masks[best],
        **{f"random_{i}": each for i, each in enumerate(subnetworks.nested_masks(orders), start=1)},
    }
    if unknown := [name for name in heal if name not in masks]:
        raise InputError(f"there is no selection {unknown[0]!r} to heal; choose among {', '.join(masks)}")
    return masks


def evaluate_unhealed(
    plans: Sequence[CompressionPlan], variants: dict[bool, ModelVariant], masks: Mapping[str, np.ndarray]
) -> dict[Key, np.ndarray]:
    """The metric of each prediction of the smaller models without healing: (N,) by ratio, selection and False."""
    values: dict[Key, np.ndarray] = {}
    for trimmed, variant in variants.items():
        kept: dict[Key, np.ndarray] = {
            (plan.ratio, name, False): each[plan.layers]
            for plan in plans
            for name, each in masks.items()
            if plan.trimmed == trimmed
        }
        if kept:
            different = np.unique(np.stack(list(kept.values())), axis=0)
            table = evaluate(variant.model, variant.test, different, variant.task.metric)
            values |= {key: table.values[table.rows(mask)] for key, mask in kept.items()}
    return values


def heal_candidates(
    plans: Sequence[CompressionPlan],
    variants: dict[bool, ModelVariant],
    masks: Mapping[str, np.ndarray],
    parameters: Parameters,
) -> tuple[dict[Key, np.ndarray], dict[float, PreTrainedModel]]:
    """The metric of each prediction after healing, and the healed models of the first selection.

    A model that keeps all layers needs no healing.

    Returns:
        (N,) by ratio, selection and True; the model at each ratio.
    """
    values: dict[Key, np.ndarray] = {}
    models: dict[float, PreTrainedModel] = {}
    recipe = parameters.recipe(epochs=parameters.heal_epochs)
    teachers = {trimmed: Teacher(variant.model) for trimmed, variant in variants.items()}
    for plan in plans:
        variant = variants[plan.trimmed]
        train, validation = variant.tokens["train"], variant.tokens["validation"]
        for name, each in masks.items():
            kept = np.flatnonzero(each[plan.layers]).tolist()
            student = LayerwiseAdapter(variant.model).keep(kept)
            if plan.layers < plan.depth:
                student = training.heal(student, teachers[plan.trimmed], kept, variant.task, train, validation, recipe)
            values[plan.ratio, name, True] = variant.task.evaluate(student, variant.test)
            models.setdefault(plan.ratio, student)
    return values, models


def train_shallow_models(
    plans: Sequence[CompressionPlan], variants: dict[bool, ModelVariant], parameters: Parameters
) -> dict[Key, np.ndarray]:
    """The predictions of models of the same size that are trained from scratch, at the compute of healing.

    Returns:
        (N,) bool, whether they are correct, by ratio, name and False.
    """
    values: dict[Key, np.ndarray] = {}
    reviews = {trimmed: typical_batch(variants[trimmed].tokens["train"]["input_ids"], 1) for trimmed in variants}
    for plan in plans:
        variant, review = variants[plan.trimmed], reviews[plan.trimmed]
        train, validation = variant.tokens["train"], variant.tokens["validation"]
        set_seed(parameters.seed)
        model = type(variant.model)(LayerwiseAdapter(variant.model).keep(range(plan.layers)).config)
        macs, macs_of_whole = count_macs(model, review), count_macs(variant.model, review)
        recipe = parameters.scratch_recipe(equal_epochs(parameters.heal_epochs, macs, macs_of_whole))
        model = training.train_from_scratch(model, variant.task, train, validation, recipe)
        values[plan.ratio, FROM_SCRATCH, False] = variant.task.evaluate(model, variant.test)
    return values


def equal_epochs(heal_epochs: int, student: int, teacher: int) -> int:
    """Epochs of training a model of the student's size that cost as much as healing.

    Healing takes a forward pass of the teacher, and a forward and a backward pass of the student; a backward pass takes
    twice the operations of a forward pass (Hoffmann et al., 2022).

    Args:
        student, teacher: operations of a forward pass.
    """
    return round(heal_epochs * (3 * student + teacher) / (3 * student))


def compare_with_whole(correct: np.ndarray, whole: np.ndarray, counts: np.ndarray) -> CompressionMetrics:
    """Compare a smaller model with the whole one.

    Args:
        correct, whole: (N,), whether their predictions of the same examples are correct; or the share of seeds with
            correct ones.
        counts: (R, N), of `bootstrap_counts`.
    """
    mean, full = (statistics.bootstrap_means(each.astype(float), counts) for each in (correct, whole))
    n = len(whole)
    return CompressionMetrics(
        accuracy=statistics.accuracy_interval(correct) if correct.dtype == bool else statistics.estimate(mean, n),
        retention=statistics.estimate(mean / full, n),
        difference=statistics.estimate(mean - full, n),
        p_value=statistics.noninferiority_p_value(correct, whole),
    )


def evaluate_candidates(
    values: Mapping[Key, np.ndarray],
    plans: Sequence[CompressionPlan],
    masks: Mapping[str, np.ndarray],
    whole: np.ndarray,
    counts: np.ndarray,
) -> list[Candidate]:
    """A row for each smaller model: its layers, and how it compares with the whole one.

    Args:
        values: (N,) of each model, by its key.
        masks: (L + 1, L) bool of each selection.
        whole, counts: as for `compare_with_whole`.
    """
    sizes = {plan.ratio: plan.layers for plan in plans}
    return [
        Candidate(
            name=name,
            ratio=ratio,
            layers=np.flatnonzero(masks[name][sizes[ratio]]).tolist() if name in masks and ratio else None,
            healed=healed,
            **dict(compare_with_whole(each, whole, counts)),
        )
        for (ratio, name, healed), each in values.items()
    ]


def compare_over_seeds(
    runs: Sequence[tuple[CompressionResult, dict[str, np.ndarray]]], samples: int, seed: int
) -> tuple[list[dict], dict[str, dict[str, Interval]]]:
    """Every smaller model over all seeds: a review counts with the share of seeds whose prediction is correct.

    Args:
        runs: for each seed the result of the stage compression and its arrays: `whole` (N,), `values` (candidates, N).

    Returns:
        A row for each model: retention with an interval over the reviews, the lowest and highest of the seeds, and the
        p-value of the non-inferiority test; and the `paired_contrasts`.
    """
    first = runs[0][0]
    whole = np.stack([arrays["whole"] for _, arrays in runs]).astype(float)
    of_seeds = [
        {(c.ratio, c.name, c.healed): each for c, each in zip(result.candidates, arrays["values"], strict=True)}
        for result, arrays in runs
    ]
    values = {  # an expert, for example, may have answered for some of the seeds only
        key: np.stack([each[key] for each in of_seeds]) for key in of_seeds[0] if all(key in each for each in of_seeds)
    }
    plans: dict[float | None, CompressionPlan] = {plan.ratio: plan for plan in first.plans}
    counts = statistics.bootstrap_counts(whole.shape[1], samples, seed)
    rows = []
    for (ratio, name, healed), each in values.items():
        metrics = compare_with_whole(each.mean(0), whole.mean(0), counts)
        by_seed = each.mean(1) / whole.mean(1)
        rows.append(
            {
                "seeds": len(runs),
                "ratio": ratio,
                "reached": plans[ratio].reached if ratio in plans else ratio,
                "layers": plans[ratio].layers if ratio in plans else None,
                "name": name,
                "healed": healed,
                "accuracy": metrics.accuracy.value,
                "kept": metrics.retention.value,
                "low": metrics.retention.low,
                "high": metrics.retention.high,
                "lowest": by_seed.min(),
                "highest": by_seed.max(),
                "p": metrics.p_value,
            }
        )
    names = list(dict.fromkeys(candidate.name for candidate in first.candidates if candidate.healed))
    return rows, paired_contrasts({key: each.mean(0) for key, each in values.items()}, first.plans, names, counts)


def paired_contrasts(
    values: Mapping[Key, np.ndarray], plans: Sequence[CompressionPlan], names: Sequence[str], counts: np.ndarray
) -> dict[str, dict[str, Interval]]:
    """Paired differences at each ratio: the effects of the selection of layers and of healing.

    Args:
        values: (N,) of each model, by its key: the metric of its predictions, or their mean over seeds.
        names: of the healed selections. The first is compared with the baselines among them.
        counts: (R, N), of `bootstrap_counts`.

    Returns:
        By ratio and name: `choice_before` and `choice_after` healing, the first selection less the mean of the
        baselines, where there is a choice to make; `healing`, after less before; `from_scratch`, healed less trained
        from scratch; `linear`, healed less the linear classifier.
    """
    choice, baselines = names[0], [name for name in names if grading.is_baseline(name)]
    contrasts = {}
    for plan in plans:
        ratio = plan.ratio
        before, after = (values[ratio, choice, healed] for healed in (False, True))
        pairs = {"healing": (after, before)}
        others: dict[str, Key] = {"from_scratch": (ratio, FROM_SCRATCH, False), "linear": (None, LINEAR, False)}
        pairs |= {name: (after, values[key]) for name, key in others.items() if key in values}
        if baselines and choice not in baselines and plan.layers < plan.depth:
            for name, own, healed in (("choice_before", before, False), ("choice_after", after, True)):
                pairs[name] = (own, np.mean([values[ratio, other, healed] for other in baselines], axis=0))
        contrasts[str(ratio)] = {
            name: statistics.estimate(statistics.bootstrap_means(own.astype(float) - other, counts), counts.shape[1])
            for name, (own, other) in pairs.items()
        }
    return contrasts
