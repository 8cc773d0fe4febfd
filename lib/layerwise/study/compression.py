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
from layerwise.study.schemas import (
    COMPRESSION_BASELINES,
    FROM_SCRATCH,
    LINEAR,
    MAJORITY,
    TRUNCATED,
    Candidate,
    CompressionMetrics,
    CompressionResult,
)
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
    best = [subnetworks.best_row(table, size) for size in range(table.layers + 1)]
    masks = {name: each[0] for name, each in by_method.items()} | {
        "greedy": table.masks[subnetworks.greedy_path(table)],
        "best_subset": table.masks[best],
        **{f"random_{i}": each for i, each in enumerate(draw_selections(table.layers, seed), start=1)},
    }
    if unknown := [name for name in heal if name not in masks]:
        raise InputError(f"there is no selection {unknown[0]!r} to heal; choose among {', '.join(masks)}")
    return masks


def draw_selections(layers: int, seed: int) -> np.ndarray:
    """Random layers: `RANDOM_SELECTIONS` selections (L + 1, L) for 0 to L layers kept.

    Those of one size are all different, or all that there are, and then the first come again.
    """
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(layers), (20 * RANDOM_SELECTIONS, 1)), axis=1)
    drawn = subnetworks.nested_masks(orders)
    for size in range(layers + 1):
        _, first = np.unique(drawn[:, size], axis=0, return_index=True)
        different = drawn[np.sort(first), size]
        drawn[:RANDOM_SELECTIONS, size] = np.resize(different[:RANDOM_SELECTIONS], (RANDOM_SELECTIONS, layers))
    return drawn[:RANDOM_SELECTIONS]


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
) -> tuple[dict[Key, np.ndarray], dict[str, int]]:
    """The predictions of models that are trained from scratch, at the compute of healing one of the same size.

    For each plan a model of as many layers is trained, and one of a single layer. The rival of a healed model is the
    one of these that has at most as many parameters, and is the most accurate on the validation split.

    Returns:
        (N,) bool, whether they are correct, by ratio, name and False; the layers of the rival by ratio.
    """
    trained = []
    for trimmed, layers in sorted({(plan.trimmed, layers) for plan in plans for layers in (1, plan.layers)}):
        variant = variants[trimmed]
        set_seed(parameters.seed)
        model = type(variant.model)(LayerwiseAdapter(variant.model).keep(range(layers)).config)
        recipe = parameters.scratch_recipe(_epochs_at_equal_compute(model, variant, parameters))
        train, validation = variant.tokens["train"], variant.tokens["validation"]
        model = training.train_from_scratch(model, variant.task, train, validation, recipe)
        batches = classifier.make_batches(variant.tokenizer, validation, parameters.evaluation_batch_size)
        accuracy = variant.task.evaluate(model, batches).mean()
        correct = variant.task.evaluate(model, variant.test)
        trained.append(_ShallowModel(trimmed, layers, model.num_parameters(), accuracy, correct))
    trained.sort(key=lambda each: each.parameters)
    rivals = {}
    for plan in plans:
        limit = next(each.parameters for each in trained if (each.trimmed, each.layers) == (plan.trimmed, plan.layers))
        rivals[plan.ratio] = max(
            (each for each in trained if each.parameters <= limit), key=lambda each: each.validation_accuracy
        )
    return (
        {(ratio, FROM_SCRATCH, False): rival.correct for ratio, rival in rivals.items()},
        {str(ratio): rival.layers for ratio, rival in rivals.items()},
    )


class _ShallowModel(NamedTuple):
    trimmed: bool
    layers: int
    parameters: int
    validation_accuracy: float
    correct: np.ndarray


def fine_tune_truncated_models(
    plans: Sequence[CompressionPlan],
    variants: dict[bool, ModelVariant],
    pretrained: PreTrainedModel,
    parameters: Parameters,
) -> dict[Key, np.ndarray]:
    """The predictions of the first layers of the pretrained model, fine-tuned on labels at the compute of healing.

    Args:
        pretrained: the model as it was before it was trained on these reviews.

    Returns:
        (N,) bool, whether they are correct, by ratio, name and False.

    Source: Sajjad, Dalvi, Durrani & Nakov (2023).
    """
    values: dict[Key, np.ndarray] = {}
    whole = variants[False]
    for plan in plans:
        variant, model = variants[plan.trimmed], pretrained
        if plan.trimmed:
            model, _ = trim_vocabulary(pretrained, whole.tokenizer, whole.tokens["train"]["input_ids"])
        model = LayerwiseAdapter(model).keep(range(plan.layers))
        recipe = parameters.recipe(epochs=_epochs_at_equal_compute(model, variant, parameters))
        train, validation = variant.tokens["train"], variant.tokens["validation"]
        model = training.train_from_scratch(model, variant.task, train, validation, recipe)
        values[plan.ratio, TRUNCATED, False] = variant.task.evaluate(model, variant.test)
    return values


def _epochs_at_equal_compute(model: PreTrainedModel, variant: ModelVariant, parameters: Parameters) -> int:
    review = typical_batch(variant.tokens["train"]["input_ids"], 1)
    return equal_epochs(parameters.heal_epochs, count_macs(model, review), count_macs(variant.model, review))


def equal_epochs(heal_epochs: int, student: int, teacher: int) -> int:
    """Epochs of training a model of the student's size that cost as much as healing.

    Healing takes a forward pass of the teacher, and a forward and a backward pass of the student; a backward pass takes
    twice the operations of a forward pass (Hoffmann et al., 2022).

    Args:
        student, teacher: operations of a forward pass.
    """
    return round(heal_epochs * (3 * student + teacher) / (3 * student))


def compare_with_whole(
    correct: np.ndarray, whole: np.ndarray, counts: np.ndarray, seeds: np.ndarray | None = None
) -> CompressionMetrics:
    """Compare a smaller model with the whole one.

    Args:
        correct, whole: (N,), whether their predictions of the same examples are correct, or another metric; (S, N) of S
            seeds.
        counts: (R, N), of `bootstrap_counts`.
        seeds: (R, S), of `bootstrap_seeds`, where there are several.
    """
    mean, full = (statistics.bootstrap_means(each.astype(float), counts, seeds) for each in (correct, whole))
    n = counts.shape[1]
    return CompressionMetrics(
        accuracy=statistics.estimate(mean, n),
        retention=statistics.estimate(mean / full, n),
        difference=statistics.estimate(mean - full, n),
        p_value=statistics.noninferiority_p_value(correct, whole) if whole.dtype == bool else None,
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
    metrics = {key: compare_with_whole(correct, whole, counts) for key, correct in values.items()}
    adjusted = adjust_for_all(metrics)
    return [
        Candidate(
            name=name,
            ratio=ratio,
            layers=np.flatnonzero(masks[name][sizes[ratio]]).tolist() if name in masks and ratio else None,
            healed=healed,
            adjusted_p=adjusted.get((ratio, name, healed)),
            **vars(each),
        )
        for (ratio, name, healed), each in metrics.items()
    ]


def adjust_for_all(metrics: Mapping[Key, CompressionMetrics]) -> dict[Key, float]:
    """P-values of the tests that a run reports, those of its healed models and baselines, adjusted for all of them."""
    tested = {
        key: each.p_value
        for key, each in metrics.items()
        if each.p_value is not None and (key[2] or key[1] in COMPRESSION_BASELINES)
    }
    return dict(zip(tested, statistics.adjust_p_values(list(tested.values())), strict=True))


def compare_over_seeds(
    runs: Sequence[tuple[CompressionResult, dict[str, np.ndarray]]], samples: int, seed: int
) -> tuple[list[dict], dict[str, dict[str, Interval]]]:
    """Compare smaller models with the whole one over several seeds, which are drawn anew as well as the reviews.

    Args:
        runs: for each seed its result, and its arrays `whole` (N,), `values` (candidates, N) and `clusters` (N,).
        samples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        A row for each model: retention with its interval, the lowest and highest of the seeds, and the p-value of the
        non-inferiority test, adjusted for all; and the `paired_contrasts`.
    """
    first, arrays_of_first = runs[0]
    whole = np.stack([arrays["whole"] for _, arrays in runs])
    of_seeds = [
        {(c.ratio, c.name, c.healed): each for c, each in zip(result.candidates, arrays["values"], strict=True)}
        for result, arrays in runs
    ]
    values = {  # an expert, for example, may have answered for some of the seeds only
        key: np.stack([each[key] for each in of_seeds]) for key in of_seeds[0] if all(key in each for each in of_seeds)
    }
    plans: dict[float | None, CompressionPlan] = {plan.ratio: plan for plan in first.plans}
    counts = statistics.bootstrap_counts(whole.shape[1], samples, seed, "test", arrays_of_first["clusters"])
    seeds = statistics.bootstrap_seeds(len(runs), samples, seed)
    metrics = {key: compare_with_whole(each, whole, counts, seeds) for key, each in values.items()}
    adjusted = adjust_for_all(metrics)
    rows = []
    for (ratio, name, healed), each in values.items():
        found, by_seed = metrics[ratio, name, healed], each.mean(1) / whole.mean(1)
        rows.append(
            {
                "seeds": len(runs),
                "ratio": ratio,
                "reached": plans[ratio].reached if ratio in plans else ratio,
                "layers": plans[ratio].layers if ratio in plans else None,
                "name": name,
                "healed": healed,
                "accuracy": found.accuracy.value,
                "kept": found.retention.value,
                "low": found.retention.low,
                "high": found.retention.high,
                "lowest": by_seed.min(),
                "highest": by_seed.max(),
                "p": adjusted.get((ratio, name, healed)),
            }
        )
    compared = [(result.candidates, each) for (result, _), each in zip(runs, of_seeds, strict=True)]
    return rows, paired_contrasts(compared, first.plans, counts, seed)


def paired_contrasts(
    runs: Sequence[tuple[Sequence[Candidate], Mapping[Key, np.ndarray]]],
    plans: Sequence[CompressionPlan],
    counts: np.ndarray,
    seed: int,
) -> dict[str, dict[str, Interval]]:
    """Paired differences at each ratio: the effects of the selection of layers and of healing.

    Of several seeds, they are drawn anew as well as the reviews. Of one seed, so are the baselines, whose luck would
    otherwise be in no interval. Baselines that keep the same layers count once.

    Args:
        runs: for each seed its candidates, of which the first healed selection is compared with the healed baselines;
            and the metric of their predictions (N,), by their key.
        counts: (R, N), of `bootstrap_counts`.
        seed: of the draws of seeds or baselines.

    Returns:
        By ratio and name: `choice_before` and `choice_after` healing, the first selection less the mean of the
        baselines, where there is a choice to make; `healing`, after less before; `from_scratch`, healed less trained
        from scratch; `truncated`, healed less the first layers of the pretrained model; `linear`, healed less the
        linear classifier; `majority`, trained from scratch less the most frequent label.
    """
    healed = list(dict.fromkeys(candidate.name for candidate in runs[0][0] if candidate.healed))
    baselines = [name for name in healed if grading.is_baseline(name)]
    contrasts = {}
    for plan in plans:
        after, before = ((plan.ratio, healed[0], moment) for moment in (True, False))
        scratch, linear = (plan.ratio, FROM_SCRATCH, False), (None, LINEAR, False)
        pairs: dict[str, tuple[Key, Key]] = {
            "healing": (after, before),
            "from_scratch": (after, scratch),
            "truncated": (after, (plan.ratio, TRUNCATED, False)),
            "linear": (after, linear),
            "majority": (scratch, (None, MAJORITY, False)),
        }
        differences = {
            name: np.stack([values[own].astype(float) - values[other] for _, values in runs])
            for name, (own, other) in pairs.items()
            if all({own, other} <= values.keys() for _, values in runs)
        }
        if baselines and healed[0] not in baselines and plan.layers < plan.depth:
            for name, own in (("choice_before", before), ("choice_after", after)):
                luck = [_less_baselines(own, baselines, *run) for run in runs]
                differences[name] = luck[0] if len(runs) == 1 else np.stack([each.mean(0) for each in luck])
        contrasts[str(plan.ratio)] = {
            name: statistics.estimate(
                statistics.bootstrap_means(each, counts, statistics.bootstrap_seeds(len(each), len(counts) - 1, seed)),
                counts.shape[1],
            )
            for name, each in differences.items()
        }
    return contrasts


def _less_baselines(
    own: Key, baselines: Sequence[str], candidates: Sequence[Candidate], values: Mapping[Key, np.ndarray]
) -> np.ndarray:
    """The metric of a selection less that of the baselines, once for those that keep the same layers: (D, N)."""
    ratio, _, healed = own
    layers = {c.name: c.layers for c in candidates if c.ratio == ratio and c.name in baselines}
    different = {tuple(layers[name] or name): values[ratio, name, healed] for name in reversed(baselines)}
    return values[own].astype(float) - np.stack([*different.values()])
