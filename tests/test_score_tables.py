"""Tables of what scores and rankings showed: their marks claim what the intervals show, and no more."""

from types import SimpleNamespace

import pytest

from layerwise.importance import METHODS
from layerwise.report import tables
from layerwise.report.exercises import check_answer
from layerwise.statistics import Interval
from layerwise.study.schemas import PrunedModel, SanityCheck


def interval(low: float, high: float) -> Interval:
    return Interval(value=(low + high) / 2, low=low, high=high, n=100)


def test_without_a_layer_a_model_is_worse_or_better_only_where_the_interval_of_the_loss_excludes_zero():
    result = SimpleNamespace(
        examples=10,
        scores={"ablation": [0.2, 0.0, -0.2]},
        intervals={"ablation": [(0.1, 0.3), (-0.1, 0.1), (-0.3, -0.1)]},
        accuracy_drop=[0.05, 0.0, -0.01],
        accuracy_drop_intervals=[(0.01, 0.09), (0, 0), (-0.03, 0.01)],
    )
    table = tables.ablation_table(result)
    assert [*table["without layer"]] == [0, 1, 2]
    assert [*table["by log-probability"]] == ["worse", "not shown", "better"]
    assert [*table["by accuracy"]] == ["worse", "not shown", "not shown"]
    assert table["log-probability lost (nats)"][0] == "+0.200 [+0.100, +0.300]"
    assert table["accuracy lost (points)"][0] == "+5.0 [+1.0, +9.0]"


def test_a_method_misses_planted_layers_only_if_it_should_detect_them():
    def check(zero, last):
        return SanityCheck(scores=[0, 1], zero=zero, last=last, untrained_tau=0.5)

    sanity = {"ablation": check(True, True), "shap": check(True, False), "patching": check(False, False)}
    sanity |= {"fisher": check(False, True)}
    table = tables.sanity_table(SimpleNamespace(sanity=sanity), METHODS)
    assert [*table["mark"]] == ["detected", "missed", "missed", "asks another question"]
    assert [*table["planted layers score zero"]] == ["yes", "yes", "no", "no"]


@pytest.mark.parametrize(
    ("early", "middle", "late", "highest", "lowest"),
    [
        ((0.7, 0.8), (0.4, 0.5), (0.4, 0.6), "early", "not shown"),
        ((0.5, 0.6), (0.1, 0.2), (0.5, 0.6), "not shown", "middle"),
        ((0.7, 0.8), (0.4, 0.5), (0.1, 0.2), "early", "late"),
        ((0.4, 0.6), (0.5, 0.7), (0.3, 0.5), "not shown", "not shown"),
    ],
)
def test_a_third_is_highest_or_lowest_only_where_its_interval_is_apart_from_both_others(
    early, middle, late, highest, lowest
):
    (row,) = tables.thirds_table({"shap": [interval(*pair) for pair in (early, middle, late)]}).to_dict("records")
    assert (row["ranked by"], row["highest"], row["lowest"]) == ("shap", highest, lowest)
    assert row["late third"] == f"{interval(*late):.2f}"


def test_a_model_with_too_few_layers_for_thirds_has_none_that_is_highest():
    (row,) = tables.thirds_table({"shap": []}).to_dict("records")
    assert row == {"ranked by": "shap", "highest": "not shown", "lowest": "not shown"}


def test_pruned_models_are_marked_beside_the_lowest_perplexity_and_the_majority_and_unreached_ratios_are_named():
    def around(value):
        return Interval(value=value, low=0.9 * value, high=1.1 * value, n=9)

    pruned = [
        PrunedModel(method=method, ratio=2.0, layers=layers, perplexity=around(perplexity), accuracy=around(accuracy))
        for method, layers, perplexity, accuracy in (
            ("greedy", [0, 1], 30, 0.9),
            ("first", [0, 1], 30, 0.6),
            ("best block", [0, 3], 33, 0.6),
            ("block influence", [2, 3], 90, 0.3),
        )
    ]
    result = SimpleNamespace(pruned=pruned, majority_accuracy=0.6, evaluated=9, layers_left={"2.0": 2, "9.0": 0})
    table = tables.pruning_table(result)
    assert [*table["beside the lowest"]] == ["lowest", "lowest", "not shown", "worse", ""]
    assert [*table["beside the majority"]] == ["better", "not shown", "not shown", "worse", ""]
    assert [*table["kept"]] == ["2x: 2 layers"] * 4 + ["9x"]
    assert table["selected by"][4] == "not reached by leaving out layers"


def test_a_reader_s_answer_is_right_only_if_shape_and_values_are_and_a_known_mistake_is_named():
    right = [[0.1, 0.2], [0.3, 0.4]]
    mistakes = {"the sign is reversed": [[-0.1, -0.2], [-0.3, -0.4]]}
    assert check_answer(right, right, mistakes).startswith("Right: ")
    assert check_answer([0.1, 0.2], right, mistakes) == "Not yet: the shape is (2,), and should be (2, 2)."
    assert check_answer(mistakes["the sign is reversed"], right, mistakes) == "Not yet: the sign is reversed."
    assert check_answer([[0.1, 0.2], [0.3, 0.9]], right, mistakes).endswith("from the library's values is 0.5.")
    assert check_answer([[float("nan"), 0.2], [0.3, 0.4]], right).startswith("Not yet: ")
