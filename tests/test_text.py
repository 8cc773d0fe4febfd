"""Sentences of the pages: they claim what the intervals show, and no more."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from layerwise.budget import CompressionPlan
from layerwise.grading import BASELINES
from layerwise.report import figures
from layerwise.report.text import (
    describe_ablation,
    describe_best_method,
    describe_compression_baselines,
    describe_depth_need,
    describe_difference,
    describe_from_scratch,
    describe_language_model,
    describe_plans,
    describe_pruning,
    describe_recommenders,
    describe_retention,
    describe_run,
    describe_selection_effect,
    describe_smaller_recommenders,
    describe_speed,
    describe_thirds,
)
from layerwise.statistics import Interval, Stability
from layerwise.study import records
from layerwise.study.schemas import (
    FROM_SCRATCH,
    Candidate,
    CompressionResult,
    CoreImportanceResult,
    ExportedModel,
    Latency,
    Provenance,
    PrunedModel,
    RecommenderMetrics,
    RecommenderResult,
    SmallerRecommender,
)


def interval(low: float, high: float) -> Interval:
    return Interval(value=(low + high) / 2, low=low, high=high, n=100)


@pytest.mark.parametrize(
    ("low", "high", "claim"),
    [(0.01, 0.03, "A beats B by 2.0 points"), (-0.05, -0.01, "A loses to B by 3.0 points"), (-0.01, 0.02, "no winner")],
)
def test_a_difference_claims_no_more_than_its_interval(low, high, claim):
    assert claim in describe_difference(interval(low, high), "A", "B")


def test_the_text_on_ablation_names_the_layers_whose_intervals_exclude_zero():
    provenance = Provenance(
        commit="", parameters={}, reviews_sha256="", device="", threads=1, versions={}, finished="", seconds=0
    )
    result = CoreImportanceResult(
        examples=10,
        scores={"ablation": [0.2, 0.0, -0.2]},
        intervals={"ablation": [(0.1, 0.3), (-0.1, 0.1), (-0.3, -0.1)]},
        stability={"ablation": Stability(ranks=[1, 2, 3], rank_intervals=[(1, 1), (2, 2), (3, 3)], kendall_tau=1)},
        fisher_per_parameter=[1, 1, 1],
        accuracy_drop=[0.05, 0.0, -0.01],
        accuracy_drop_intervals=[(0.01, 0.09), (0, 0), (-0.03, 0.01)],
        provenance=provenance,
    )
    text = describe_ablation(result)
    assert "one of the 3 layers" in text and "lower for 1 layer (0) and higher for 1 layer (2); for 1 the int" in text
    assert "at layer 0, is 5.0 points (95 % interval +1.0 to +9.0)" in text


@pytest.mark.parametrize(
    ("early", "middle", "late", "claim"),
    [
        ((0.7, 0.8), (0.4, 0.5), (0.4, 0.6), "the early layers rank highest, with separate intervals."),
        ((0.5, 0.6), (0.1, 0.2), (0.5, 0.6), "the middle layers rank lowest, with separate intervals."),
        ((0.7, 0.8), (0.4, 0.5), (0.1, 0.2), "the early layers rank highest and the late layers rank lowest,"),
        ((0.4, 0.6), (0.5, 0.7), (0.3, 0.5), "no third ranks apart from the others."),
    ],
)
def test_a_third_is_called_highest_or_lowest_only_where_its_interval_is_separate(early, middle, late, claim):
    assert describe_thirds([interval(*pair) for pair in (early, middle, late)]).startswith(claim)


def test_a_method_whose_interval_reaches_chance_is_listed_apart_from_those_whose_interval_does_not():
    truth = records.load_studies()["electronics"]["scratch", 0]["ground_truth"]
    below = [name for name, each in truth.summary.items() if each.percentile.low <= 0.5 and name not in BASELINES]
    top = max((name for name in truth.summary), key=lambda name: truth.summary[name].percentile.value)
    assert top == "ablation" and below == ["ablation", "mutual_information"]
    assert describe_best_method(truth).startswith("Over all sizes ablation has the highest mean percentile")
    assert describe_best_method(truth).endswith(
        "Not shown to select better than chance: ablation and mutual information."
    )
    none = replace(truth, summary={name: truth.summary[name] for name in (*below, *BASELINES)})
    assert describe_best_method(none).startswith(
        "No score is shown to select better than chance. The highest mean percentile"
    )


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(0.02, 0.04, "needs"), (0, 0.008, "hardly"), (0, 0.02, "within the noise")]
)
def test_a_model_needs_its_depth_where_a_random_half_loses_more_than_a_point_with_its_whole_interval(
    low, high, verdict
):
    truth = records.load_studies()["electronics"]["scratch", 0]["ground_truth"]
    text = describe_depth_need(replace(truth, random_half_loss=interval(low, high), best_half_loss=interval(-0.01, 0)))
    assert verdict in text.split(". ")[0]
    assert f"{50 * (low + high):.1f} [{100 * low:.1f}, {100 * high:.1f}] with a random half" in text
    assert "-0.5 [-1.0, 0.0] with the best half" in text


def test_the_text_on_pruning_names_every_method_that_keeps_the_best_layers_and_those_with_higher_perplexity():
    def around(value):
        return Interval(value=value, low=0.9 * value, high=1.1 * value, n=9)

    pruned = [
        PrunedModel(method=method, ratio=2.0, layers=layers, perplexity=around(perplexity), accuracy=around(accuracy))
        for method, layers, perplexity, accuracy in (
            ("greedy", [0, 1], 30, 0.9),
            ("first", [0, 1], 30, 0.9),
            ("best block", [0, 3], 90, 0.5),
        )
    ]
    result = SimpleNamespace(
        pruned=pruned,
        perplexity_unpruned=around(10),
        accuracy_unpruned=around(0.65),
        majority_accuracy=0.6,
        scored=20,
        evaluated=9,
        thirds={by: [around(0.9), around(0.5), around(0.1)] for by in ("block influence", "left out alone")},
        provenance=SimpleNamespace(parameters={"max_length": 64}),
        model=SimpleNamespace(layers=4),
        layers_left={"2.0": 2, "9.0": 0},
    )
    assert describe_pruning(result) == (
        "At 2x the model keeps 2 of 4 layers. The lowest perplexity is that of greedy and first, 3 times that of the "
        "whole model; higher with separate intervals: best block. Accuracy shown to be above the majority accuracy: "
        "greedy and first. Leaving out layers alone does not reach 9.0x."
    )
    text = describe_language_model(result)
    assert text.startswith("On 9 reviews, truncated to 64 tokens, its perplexity is 10 [9, 11]. ")
    assert "65.0% [58.5%, 71.5%], not shown to be above the majority accuracy of 60.0%." in text
    assert text.count("the early layers rank highest") == 2 and text.endswith(describe_pruning(result))


def test_the_text_on_ratios_names_those_that_need_a_trimmed_vocabulary_and_those_that_cannot_be_reached():
    plans = [
        CompressionPlan(ratio=1.5, layers=3, depth=6, trimmed=False, reached=1.6),
        CompressionPlan(ratio=9.0, layers=1, depth=6, trimmed=True, reached=5.25),
    ]
    assert describe_plans(plans[:1]) == "Layers left, of 6: 3 at 1.5x."
    assert describe_plans(plans).endswith(
        "does not reach 9x: there the vocabulary is trimmed too, which leaves room for more layers. "
        "9x cannot be reached; the nearest is 5.25x."
    )


def test_the_text_on_the_selection_names_the_ratios_where_it_is_shown_to_help_and_to_harm():
    contrasts = {
        "1.5": {"choice_before": interval(0.01, 0.03), "choice_after": interval(-0.01, 0.01)},
        "3.0": {"choice_before": interval(0.02, 0.04), "choice_after": interval(-0.03, -0.01)},
        "4.0": {"healing": interval(0, 1)},  # all layers are kept, so none are selected
    }
    assert describe_selection_effect("best_subset", contrasts) == (
        "The selection of layers is shown to help at 1.5x and 3x before healing, and at none (and to harm at 3x) after "
        "healing. The accuracy of best subset less that of the healed baselines, in points, with intervals that do not "
        "cover the luck of these few baselines. "
        "At 1.5x: +2.0 [+1.0, +3.0] before, +0.0 [-1.0, +1.0] after healing. "
        "At 3x: +3.0 [+2.0, +4.0] before, -2.0 [-3.0, -1.0] after healing."
    )
    contrasts["3.0"]["choice_before"] = interval(0, 0)
    assert describe_selection_effect("best_subset", contrasts).endswith("At 3x there is no difference before healing.")
    assert describe_selection_effect("best_subset", {"4.0": contrasts["4.0"]}).startswith("No baseline was healed")


def test_the_texts_on_smaller_models_claim_no_more_than_intervals_and_tests_show():
    def candidate(ratio: float, p_value: float, name: str = "best_subset") -> Candidate:
        shares = {
            "accuracy": interval(0.8, 0.9),
            "retention": interval(0.97, 0.99),
            "difference": interval(-0.03, -0.01),
        }
        return Candidate(name=name, ratio=ratio, layers=[0], healed=True, p_value=p_value, **shares)

    result = CompressionResult.model_construct(
        choice="best_subset",
        plans=[CompressionPlan(ratio=ratio, layers=1, depth=6, trimmed=False, reached=ratio) for ratio in (2.0, 3.0)],
        candidates=[candidate(2.0, 0.024), candidate(3.0, 0.026), candidate(3.0, 0.001, "first")],
        contrasts={
            "2.0": {"from_scratch": interval(0.01, 0.03), "linear": interval(-0.02, 0.02)},
            "3.0": {"from_scratch": interval(-0.01, 0.03), "linear": interval(-0.04, -0.02)},
        },
        timings=[
            Latency(ratio=r, runtime=name, batch=1, milliseconds=ms, low=ms, high=ms, reviews_per_second=1000 / ms)
            for r, name, ms in (
                (1, "pytorch", 8),
                (1, "onnx", 4),
                (3, "pytorch", 2),
                (3, "onnx", 2),
                (3, "onnx_int8", 1),
            )
        ],
        exported=[ExportedModel.model_construct(ratio=r, parameters=60 // r, macs=90 // r**2) for r in (1, 3)],
    )
    kept = describe_retention(result)
    assert "98.0% [97.0%, 99.0%] at 2x" in kept and kept.endswith("lose less than one point, p below 0.025: 2x.")
    scratch, linear = describe_compression_baselines(result).split(" Healed model less the linear classifier")
    assert scratch.startswith(
        "Healed model less an equally deep model trained from scratch at equal compute, in points: "
    )
    assert "+2.0 [+1.0, +3.0] at 2x" in scratch and scratch.endswith("Shown to be better at 2x, worse at none.")
    assert linear.endswith("better at none, worse at 3x.")
    result.candidates.append(candidate(2.0, 1.0, FROM_SCRATCH).model_copy(update={"accuracy": interval(0.45, 0.53)}))
    assert describe_compression_baselines(result).endswith("is not shown to be above chance: 49.0% at 2x.")
    result.plans[0] = replace(result.plans[0], reached=1.79)
    assert "98.0% [97.0%, 99.0%] at 1.79x" in describe_retention(result)
    speed = describe_speed(result, 3.0)
    assert speed.endswith("3.0 times fewer parameters, and 9.0 times fewer multiplications.")
    assert speed.startswith(
        "At a batch of 1, the model at 3x is 4.0 times as fast in PyTorch and 2.0 times in onnxruntime as the whole"
    )
    assert "takes 8.0 times as long" in speed
    result.timings.clear()
    assert describe_speed(result, 3.0) == "This run exported no model, so nothing was timed."
    assert figures.plot_latency(result).axes[0].texts[0].get_text() == "no model was exported"


def test_the_texts_on_recommenders_name_a_winner_only_where_the_interval_does():
    def metrics(value: float) -> RecommenderMetrics:
        return RecommenderMetrics(
            **dict.fromkeys(RecommenderMetrics.model_fields, interval(value - 0.01, value + 0.01))
        )

    def smaller(ratio: float, healed: bool) -> SmallerRecommender:
        kept = interval(0.96, 1.0) if healed else interval(0.5, 0.7)
        values = {"ndcg_10": interval(0.03, 0.05), "retention": kept, "difference": interval(-0.01, 0.0)}
        return SmallerRecommender(name="best_subset", ratio=ratio, layers=[0], healed=healed, **values)

    values = {"transformer": 0.05, "popularity": 0.02, "als": 0.05, "item_neighbours": 0.08}
    result = RecommenderResult.model_construct(
        choice="best_subset",
        metrics={name: metrics(value) for name, value in values.items()},
        differences={
            "popularity": interval(0.02, 0.04),
            "als": interval(-0.01, 0.01),
            "item_neighbours": interval(-0.05, -0.01),
        },
        plans=[CompressionPlan(ratio=ratio, layers=1, depth=6, trimmed=False, reached=ratio) for ratio in (2.0, 4.0)],
        candidates=[smaller(ratio, healed) for ratio in (2.0, 4.0) for healed in (False, True)],
        contrasts={"2.0": {"healing": interval(0, 1)}, "4.0": {"from_scratch": interval(-0.03, -0.01)}},
    )
    text = describe_recommenders(result)
    assert text.startswith("NDCG@10 of the Transformer is 0.0500 (95 % interval 0.0400 to 0.0600).")
    assert "beats popularity (0.0200) by 150% (+0.0300, interval +0.0200 to +0.0400)" in text
    assert "No difference from als is shown (0.0500" in text and "It loses to item neighbours (0.0800) by 38%" in text
    kept = describe_smaller_recommenders(result)
    assert "At 2x: 60% [50%, 70%] unhealed, 98% [96%, 100%] healed. At 4x: 60%" in kept
    assert kept.endswith("98% [96%, 100%] healed.")
    assert describe_from_scratch(result).endswith(
        "in hundredths: -2.0 [-3.0, -1.0] at 4x. Shown to be better at none, worse at 4x."
    )


def test_the_foot_of_a_page_names_models_and_seeds_in_words():
    result = records.load_studies(["electronics"])["electronics"]["minilm", 1]["training"]
    assert ", model minilm, seed 1, reviews.parquet, commit " in describe_run(result.provenance, "reviews.parquet")
    parameters = {"profile": "quick", "models": ["scratch", "minilm"], "seeds": [0, 1]}
    compared = result.provenance.model_copy(update={"parameters": parameters})
    assert describe_run(compared, "reviews").startswith("profile quick, model scratch, minilm, seed 0, 1, reviews, ")
