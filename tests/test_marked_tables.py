"""Tables of a build: what differs from build to build is a number with its interval and a mark, and no sentence."""

from dataclasses import replace
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from layerwise.budget import CompressionPlan, ModelSize
from layerwise.grading import BASELINES, Grading, grade_methods, select_by_search
from layerwise.importance import METHODS
from layerwise.ranking import is_fused
from layerwise.report import figures, tables
from layerwise.report.marks import marks_table
from layerwise.statistics import Interval, bootstrap_counts
from layerwise.study import deployment, records
from layerwise.study.schemas import (
    Candidate,
    CompressionMetrics,
    CompressionResult,
    ExpertOpinions,
    ExportedModel,
    FusionResult,
    Latency,
    RecommenderMetrics,
    RecommenderResult,
    SmallerRecommender,
    TrainingResult,
)
from layerwise.subnetworks import SubnetworkTable, all_masks

REACHED = CompressionPlan(ratio=2.0, layers=3, depth=6, trimmed=False, reached=2.1)
MISSED = CompressionPlan(ratio=4.0, layers=1, depth=6, trimmed=True, reached=2.75)
NAMES = ["2x", "2.75x (asked for 4x)"]


def interval(low: float, high: float) -> Interval:
    return Interval(value=(low + high) / 2, low=low, high=high, n=100)


def metrics(p_value: float = 0.5) -> dict:
    shares = {"accuracy": interval(0.8, 0.9), "retention": interval(0.97, 0.99), "difference": interval(-0.03, -0.01)}
    return shares | {"p_value": p_value}


@pytest.fixture
def compressed() -> CompressionResult:
    """A run that was asked for ratios of 2 and 4, and reached 2.1 and 2.75."""
    return CompressionResult.model_construct(
        choice="best_subset",
        plans=[REACHED, MISSED],
        candidates=[
            Candidate(name=name, ratio=ratio, layers=[0], healed=healed, adjusted_p=p_value, **metrics(0.001))
            for name, p_value in (("best_subset", 0.024), ("first", 0.5))
            for ratio in (2.0, 4.0)
            for healed in (False, True)
        ],
        contrasts={"2.0": {"choice_after": interval(0.01, 0.03)}, "4.0": {"choice_after": interval(-0.01, 0.02)}},
        exported=[exported(ratio) for ratio in (1.0, 2.0, 4.0)],
        timings=[
            Latency(ratio=ratio, runtime=name, batch=1, milliseconds=8 / ratio, low=1, high=9, reviews_per_second=9)
            for ratio in (1.0, 2.0, 4.0)
            for name in ("pytorch", "onnx", "onnx_int8")
        ],
    )


def exported(ratio: float, parameters: int = 100) -> ExportedModel:
    runtimes = ("pytorch", "onnx", "onnx_int8")
    return ExportedModel(
        ratio=ratio,
        folder=f"{ratio:g}x",
        layers=[0],
        parameters=parameters,
        tokens=9,
        macs=1000,
        bytes=dict.fromkeys(runtimes, 1000),
        metrics={name: CompressionMetrics(**metrics()) for name in runtimes},
        largest_difference=dict.fromkeys(runtimes, 0.1),
    )


def test_a_ratio_that_was_not_reached_is_named_by_what_was_reached_in_every_table(compressed):
    assert list(tables.ratio_names([REACHED, MISSED]).values()) == NAMES
    assert tables.name_ratio(2.0, reached=1.9999) == "2x"  # no reader can see that it is less
    plans = tables.plans_table([REACHED, MISSED])
    assert list(plans["ratio"]) == NAMES and list(plans["reached"]) == ["yes", "no"]
    assert list(plans["vocabulary"]) == ["whole", "trimmed"]
    kept = tables.kept_table(compressed.plans, compressed.candidates, compressed.choice)
    assert list(kept["ratio"]) == NAMES
    contrasts = tables.contrasts_at(compressed.plans, compressed.contrasts, {"choice_after": "healed", "linear": "no"})
    assert list(contrasts) == [f"{name}: healed" for name in NAMES]
    assert list(marks_table(contrasts)["mark"]) == ["better", "not shown"]
    rows = [
        {
            "model": "m",
            "layers": plan.layers,
            "seeds": 1,
            "name": "first",
            "healed": True,
            "kept": 1,
            "low": 1,
            "high": 1,
        }
        | {"ratio": plan.ratio, "reached": plan.reached}
        for plan in compressed.plans
    ]
    assert list(tables.retention_table(rows, healed=True)["ratio"]) == NAMES
    stages = {"training": SimpleNamespace(model=None), "compression": compressed}
    assert list(tables.contrasts_table({"mine": {("scratch", 0): stages}})["ratio"]) == NAMES


def test_a_point_of_the_figure_of_latency_is_labelled_with_the_ratio_that_was_reached(compressed):
    figure = figures.plot_latency(compressed)
    assert {text.get_text() for text in figure.axes[0].texts} == {"1x", "2x", "2.75x"}
    plt.close(figure)


def test_the_model_card_names_the_ratio_that_was_reached_and_says_after_which_one_its_folder_is_named():
    size = ModelSize("mine", "Bert", 6, 8, 1000, 275, [20] * 6)
    report = SimpleNamespace(languages={"English": 1}, rows=9, source="reviews", sha256="0")
    trained = TrainingResult.model_construct(data=report, model=size)
    variant = SimpleNamespace(
        model=SimpleNamespace(config=SimpleNamespace(vocab_size=1000)),
        tokens={"train": []},
        tokenizer=SimpleNamespace(model_max_length=64),
    )
    card = str(deployment.make_model_card(exported(4.0), "first", interval(0.8, 0.9), trained, variant))
    assert "# mine, 2.75 times smaller\n" in card
    assert "4x was asked for and cannot be reached; the folder `4x` is named by it." in card
    reached = deployment.make_model_card(exported(2.0), "first", interval(0.8, 0.9), trained, variant)
    assert "asked for" not in str(reached)


def test_a_smaller_recommender_is_named_by_what_was_reached_and_needs_no_test_of_non_inferiority():
    value = interval(0.01, 0.03)
    ndcg = RecommenderMetrics(hit_rate_10=value, ndcg_10=value, mrr=value)
    smaller = [
        SmallerRecommender(
            name="first", ratio=4.0, layers=[0], healed=h, ndcg_10=value, retention=value, difference=value
        )
        for h in (False, True)
    ]
    result = RecommenderResult.model_construct(
        metrics=dict.fromkeys(("item_neighbours", "transformer", "transformer_4x"), ndcg),
        plans=[MISSED],
        candidates=smaller,
        data=SimpleNamespace(source="films"),
    )
    assert list(tables.name_recommenders(result).values()) == [
        "item neighbours",
        "transformer",
        "transformer, 2.75x (asked for 4x)",
    ]
    shown = tables.recommenders_table({"mine": result})
    assert list(shown.index) == list(tables.name_recommenders(result).values())
    (row,) = tables.kept_table(result.plans, result.candidates, "first").to_dict("records")
    assert row == {
        "ratio": "2.75x (asked for 4x)",
        "layers": "1 of 6",
        "kept, unhealed": "2.0% [1.0%, 3.0%]",
        "kept, healed": "2.0% [1.0%, 3.0%]",
    }


def test_only_a_rejected_loss_of_a_point_is_called_less_than_a_point(compressed):
    for choice, expected in (("best_subset", "yes"), ("first", "not shown")):
        shown = tables.kept_table(compressed.plans, compressed.candidates, choice)
        assert set(shown["healed loses less than one point"]) == {expected}


def test_the_table_of_speed_compares_in_the_same_runtime_and_with_the_whole_model_in_pytorch(compressed):
    pytorch, onnx, _ = tables.speed_table(compressed, 4.0).to_dict("records")
    assert onnx == pytorch | {"runtime": "onnx"}
    compressed.timings[1] = compressed.timings[1].model_copy(update={"milliseconds": 4})  # the whole model in ONNX
    pytorch, onnx, _ = tables.speed_table(compressed, 4.0).to_dict("records")
    assert (pytorch["times as fast"], pytorch["than PyTorch whole"]) == ("4.0", "4.0")
    assert (onnx["times as fast"], onnx["than PyTorch whole"]) == ("2.0", "4.0")
    compressed.timings.clear()
    assert tables.speed_table(compressed, 4.0).empty


@pytest.fixture(scope="module")
def truth():
    return records.load_studies()["electronics"]["scratch", 0]["ground_truth"]


@pytest.mark.parametrize(("low", "high", "verdict"), [(0.02, 0.04, "yes"), (0, 0.008, "no"), (0, 0.02, "not shown")])
def test_half_of_the_layers_lose_more_than_a_point_only_where_the_whole_interval_does(truth, low, high, verdict):
    shown = tables.half_table(replace(truth, random_half_loss=interval(low, high), best_half_loss=interval(-0.01, 0)))
    assert list(shown["more than one point"]) == [verdict, "no"]


@pytest.fixture(scope="module")
def graded() -> Grading:
    """Six layers that are worth less and less, graded with a search on other examples."""
    draw, masks = np.random.default_rng(0), all_masks(6)
    tables = []
    for _ in range(2):
        correct = draw.random((64, 400)) < 0.5 + (masks @ [0.2, 0.1, 0.05, 0.02, 0.01, 0])[:, None]
        tables.append(SubnetworkTable(masks, correct.astype(float), correct))
    counts, other = (bootstrap_counts(400, 200, 0, split) for split in ("selection", "analysis"))
    orders = {"shap": [5, 4, 3, 2, 1, 0], "fisher": [0, 1, 2, 3, 4, 5], "borda": [5, 4, 3, 2, 0, 1]}
    scores = {name: np.tile(np.array(order, dtype=float), (201, 1)) for name, order in orders.items()}
    return grade_methods(tables[0], scores, counts, searched=select_by_search(tables[1], other))


def test_a_score_is_better_than_the_mean_choice_only_where_the_whole_interval_of_the_difference_is(graded):
    shown = tables.selection_marks(graded).set_index("selected by")
    assert set(shown.index) == {"shap", "fisher", "borda", "exhaustive search"} and shown.index[-1] == "fisher"
    assert shown.loc["shap", "against the mean choice"] == "better" == shown.loc["shap", "against the reversed ranking"]
    assert shown.loc["fisher", "against the mean choice"] == "worse" == shown.loc["fisher", "against the best score"]
    assert shown.loc["fisher", "against the best baseline"] == "worse"  # that of the first layers
    assert shown.loc["shap", "gain over the mean choice (points)"] == graded.summary["shap"].gain.points
    assert shown.loc["exhaustive search", "against the reversed ranking"] == ""
    unsure = replace(graded.summary["shap"], gain=interval(-0.01, 0.02), gain_over_baseline=interval(-0.02, 0.01))
    row = tables.selection_marks(replace(graded, summary=graded.summary | {"shap": unsure})).set_index("selected by")
    assert row.loc["shap", ["against the mean choice", "against the best baseline"]].tolist() == ["not shown"] * 2


def test_an_exhaustive_search_costs_all_sub_networks_and_stands_beside_the_scores(graded):
    shown = tables.trust_table(graded, {name: METHODS[name] for name in ("shap", "fisher")}, 6, 2)
    assert shown.loc["exhaustive_search", ["needs", "passes"]].tolist() == ["labels", 63 / 6]
    assert shown.loc["shap", "passes"] > 63 / 6 and shown.loc["first", "passes"] == 0
    values = [sum(grade.value for grade in graded.grades[name].values()) for name in shown.index]
    assert values == sorted(values, reverse=True)
    assert "exhaustive search" not in set(tables.fused_regret_table(graded)["selected by"])


def test_regret_is_shown_for_the_fused_rankings_and_for_the_best_and_the_median_score(truth):
    shown = tables.fused_regret_table(truth)
    fused = [name.replace("_", " ") for name in truth.summary if is_fused(name)]
    assert list(shown["selected by"][: len(fused)]) == fused and set(shown["kind"][: len(fused)]) == {"fusion"}
    single = sorted(
        each.regret.value for name, each in truth.summary.items() if name not in BASELINES and not is_fused(name)
    )
    values = [float(cell.split()[0]) for cell in shown["mean regret (points)"]]
    assert values[-1] == pytest.approx(100 * single[0], abs=0.06)
    assert single[0] <= values[-2] / 100 + 0.001 <= single[-1] + 0.002


def test_pairs_of_layers_are_counted_by_the_side_of_zero_on_which_their_interval_lies(truth):
    pairs = {"0-1": interval(-0.3, -0.1), "0-2": interval(-0.9, -0.5), "1-2": interval(-0.1, 0.1)}
    rows = tables.interactions_table(replace(truth, interactions=pairs)).to_dict("records")
    assert [(row["two layers"], row["pairs"], row["strongest"]) for row in rows] == [
        ("replace each other", 2, "0 and 2"),
        ("need each other", 0, ""),
        ("not shown", 1, ""),
    ]
    assert tables.interactions_table(replace(truth, interactions=None)).empty


@pytest.mark.parametrize(
    ("early", "middle", "late", "highest", "lowest"),
    [
        ((0.7, 0.8), (0.4, 0.5), (0.4, 0.6), "early", "not shown"),
        ((0.5, 0.6), (0.1, 0.2), (0.5, 0.6), "not shown", "middle"),
        ((0.7, 0.8), (0.4, 0.5), (0.1, 0.2), "early", "late"),
    ],
)
def test_a_third_is_highest_or_lowest_only_where_its_interval_is_separate(early, middle, late, highest, lowest):
    thirds = [interval(*pair) for pair in (early, middle, late)]
    (row,) = tables.thirds_table({"mine": thirds}).to_dict("records")
    assert (row["highest"], row["lowest"]) == (highest, lowest)


@pytest.fixture
def fused() -> FusionResult:
    return FusionResult.model_construct(
        kept={"borda": {"1.5": [0, 1], "9.0": []}, "kemeny": {"1.5": [0, 2], "9.0": []}},
        layers_left={"1.5": 2, "9.0": 0},
        ranked=["fisher", "shap", "gradient"],
        agreement=[[1, 0.2, 0.9], [0.2, 1, -0.1], [0.9, -0.1, 1]],
        agreement_low=[[1, 0.1, 0.8], [0.1, 1, -0.3], [0.8, -0.3, 1]],
        agreement_high=[[1, 0.3, 1.0], [0.3, 1, 0.1], [1.0, 0.1, 1]],
    )


def test_rules_of_fusion_keep_the_same_layers_only_where_all_of_them_do(fused):
    shown = tables.fused_layers_table(fused)
    assert list(shown) == ["1.5x: 2 layers", "9x: not reached"]
    assert shown["1.5x: 2 layers"].to_dict() == {"borda": "0, 1", "kemeny": "0, 2", "all the same": "no"}
    assert set(shown["9x: not reached"]) == {""}
    fused.kept["kemeny"] = fused.kept["borda"]
    assert tables.fused_layers_table(fused).loc["all the same", "1.5x: 2 layers"] == "yes"


def test_the_pairs_that_agree_most_and_least_are_shown_with_their_intervals(fused):
    shown = tables.pairs_table(fused, fused.ranked)
    assert shown.loc["agree most"].tolist() == ["fisher and gradient", "0.90 [0.80, 1.00]"]
    assert shown.loc["agree least"].tolist() == ["shap and gradient", "-0.10 [-0.30, 0.10]"]


def test_the_answers_of_an_expert_are_compared_with_each_other_only_if_there_are_several():
    opinion = ExpertOpinions(
        answered_by="a model", asked="2026-11-24T01:00", ranks=[[1, 2], [2, 1]], confidence=[[1, 1]], reasons=[["", ""]]
    )
    (row,) = tables.expert_summary(opinion).to_dict("records")
    assert row == {"answered by": "a model", "asked": "2026-11-24", "opinions": 2, "Kendall's tau between two": "-1.00"}
    once = opinion.model_copy(update={"ranks": [[1, 2]]})
    assert tables.expert_summary(once)["Kendall's tau between two"][0] == ""
