"""What the recorded runs found: the quantities that pages quote, and on which their sentences depend.

Each function reads `results/` alone. A model is named as in the studies: minilm, scratch or smollm2-12. What a study
repeats of another one counts once; `study` takes the runs of one study alone.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from layerwise.budget import CompressionPlan
from layerwise.grading import is_baseline
from layerwise.importance import METHODS
from layerwise.statistics import Interval, combine_seeds
from layerwise.study import records
from layerwise.study.schemas import (
    Candidate,
    CompressionResult,
    GroundTruthResult,
    LanguageModelResult,
    RecommenderResult,
)
from layerwise.subnetworks import passes_of_all


def models() -> list[str]:
    """The models of the reference runs."""
    return list(dict.fromkeys(result.model.base_model for result in _results("training")))


def accuracies(model: str) -> list[Interval]:
    """Test accuracy of each run."""
    return [result.test.accuracy for result in _results("training", model)]


def gains(model: str) -> list[Interval]:
    """Test accuracy of each run less that of TF-IDF with logistic regression on the same reviews."""
    return [result.difference for result in _results("training", model)]


def graded(model: str | None = None) -> list[GroundTruthResult]:
    """The runs whose sub-networks were evaluated."""
    return _results("ground_truth", model)


def random_half_losses(model: str) -> list[Interval]:
    """Accuracy lost with a random half of the layers, without healing: the mean of all halves, for each run."""
    return [truth.random_half_loss for truth in graded(model)]


def best_half_losses(model: str) -> list[float]:
    """Accuracy lost with the best half, without healing, on reviews that did not select it, for each run."""
    losses = []
    for truth in graded(model):
        depth = len(truth.shapley)
        if (held_out := truth.sizes[depth // 2].best.held_out) is not None:
            losses.append(truth.sizes[depth].best.value - held_out)
    return losses


def best_halves(model: str) -> list[tuple[int, ...]]:
    """The half of the layers with the highest accuracy, without healing, for each run."""
    return [tuple(truth.sizes[len(truth.shapley) // 2].best.layers) for truth in graded(model)]


def percentiles(selected_by: str, model: str | None = None) -> list[float]:
    """Mean percentile of a selection among all of its size, for each run: 0.5 is chance."""
    return [truth.summary[selected_by].percentile.value for truth in graded(model)]


def best_methods(model: str) -> set[str]:
    """The single methods that have the highest mean percentile in a run."""
    return {max(METHODS, key=lambda name: truth.summary[name].percentile.value) for truth in graded(model)}


def always_above_chance() -> set[str]:
    """The methods, fusions and baselines whose mean percentile is above chance in every run."""
    names = set(graded()[0].summary).intersection(*(truth.summary for truth in graded()))
    return {name for name in names if min(percentiles(name)) > 0.5}


def gains_of_best_method(model: str) -> list[Interval]:
    """Accuracy of the best method's layers less that of the mean choice, over all sizes, for each run.

    In runs that were recorded before version 0.3, the best is selected on the reviews that grade it.
    """
    return [truth.summary["random"].behind_best for truth in graded(model)]


def passes(method: str, layers: int) -> float:
    """Forward passes of a review that a method takes."""
    return METHODS[method].passes(layers, 2)


def passes_of_all_subnetworks(layers: int) -> float:
    """Forward passes of a review that evaluating every sub-network takes."""
    return passes_of_all(layers)


def kept(
    model: str, layers: int, healed: bool = True, selected_by: str = "best_subset", study: str | None = None
) -> list[Interval]:
    """Test accuracy of the models of so many layers as a share of the whole model's, for each run.

    Models trained from scratch are "trained_from_scratch", and not healed.
    """
    return [
        each.retention
        for result, plan in _plans(model, layers, study)
        for each in result.candidates
        if (each.name, each.ratio, each.healed) == (selected_by, plan.ratio, healed)
    ]


def ratio(model: str, layers: int, study: str | None = None) -> float:
    """How many times fewer parameters a model of so many layers has."""
    return next(plan.reached for _, plan in _plans(model, layers, study))


def effects(when: str, study: str | None = None) -> list[Interval]:
    """Accuracy of the selected layers less that of as many random ones, "before" or "after" healing.

    One for each run and size with a healed random selection; where the two selections are the same layers, none.
    """
    differences = []
    for result, plan in _plans(study=study):
        named = result.contrasts[str(plan.ratio)]
        if f"choice_{when}" in named and not _same_layers(result.candidates, plan.ratio):
            differences.append(named[f"choice_{when}"])
    return differences


def gains_of_healed(model: str | None = None, layers: int | None = None, study: str | None = None) -> list[Interval]:
    """Test accuracy of every healed model, or of those of so many layers, less that of the linear classifier."""
    return [result.contrasts[str(plan.ratio)]["linear"] for result, plan in _plans(model, layers, study)]


def gains_over_scratch(study: str | None = None) -> list[Interval]:
    """Test accuracy of every healed model less that of the model trained from scratch at equal compute."""
    return [result.contrasts[str(plan.ratio)]["from_scratch"] for result, plan in _plans(study=study)]


def speedup(model: str, layers: int, runtime: str = "pytorch", batch: int = 32) -> list[float]:
    """How many times as fast a model of so many layers is as the whole one in the same runtime, for each run."""
    ratios = []
    for result, plan in _plans(model, layers):
        if result.timings:
            times = {(t.ratio, t.runtime, t.batch): t.milliseconds for t in result.timings}
            ratios.append(times[1.0, runtime, batch] / times[plan.ratio, runtime, batch])
    return ratios


def language_model() -> LanguageModelResult:
    """The layer ablation of the language model, on the GPU."""
    return records.load_shared_stage("language_model")["electronics"]


def pruned(layers: int) -> Any:
    """The pruned language model of so many layers with the lowest perplexity."""
    return min(
        (each for each in language_model().pruned if len(each.layers) == layers),
        key=lambda each: each.perplexity.value,
    )


def recommender(study: str) -> RecommenderResult:
    """The recommender of a study."""
    return records.load_shared_stage("recommender")[study]


def hours() -> float:
    """Hours that all stages of the reference runs took."""
    return records.total_hours(_studies(distinct=False))


def better(differences: Iterable[Interval]) -> int:
    """How many of these are above zero with their whole 95 % interval."""
    return sum(each.low > 0 for each in differences)


def worse(differences: Iterable[Interval]) -> int:
    """How many of these are below zero with their whole 95 % interval."""
    return sum(each.high < 0 for each in differences)


def lowest(values: Sequence[Interval | float]) -> float:
    """The smallest of these values."""
    return min(each.value if isinstance(each, Interval) else each for each in values)


def highest(values: Sequence[Interval | float]) -> float:
    """The largest of these values."""
    return max(each.value if isinstance(each, Interval) else each for each in values)


def mean(values: Sequence[Interval]) -> Interval:
    """The mean over the runs, with its interval over runs and reviews."""
    return combine_seeds(list(values))


def _plans(
    model: str | None = None, layers: int | None = None, study: str | None = None
) -> list[tuple[CompressionResult, CompressionPlan]]:
    """The result and plan of every smaller size that a run has, or of the one with so many layers."""
    return [
        (result, plan)
        for result in _results("compression", model, study)
        for plan in result.plans
        if layers in (None, plan.layers)
    ]


def _same_layers(candidates: list[Candidate], ratio: float) -> bool:
    """Whether the first selection and all healed baselines of a ratio keep the same layers."""
    healed = [each for each in candidates if each.ratio == ratio and each.healed]
    selected = [each.layers for each in healed if each.name == "best_subset"]
    return all(each.layers in selected for each in healed if is_baseline(each.name))


def _results(stage: str, model: str | None = None, study: str | None = None) -> list[Any]:
    """The results of a stage, one for each trained model that has it."""
    return [
        stages[stage]
        for name, runs in _studies(distinct=True).items()
        for (base_model, _), stages in runs.items()
        if study in (None, name) and model in (None, base_model) and stage in stages
    ]


@cache
def _studies(distinct: bool) -> dict[str, records.Runs]:
    studies = records.load_studies(records.REFERENCE_STUDIES)
    return records.leave_out_repeats(studies) if distinct else studies
