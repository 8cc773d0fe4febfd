import dataclasses

import numpy as np
import pytest
import torch
from conftest import make_batch, make_model

from layerwise.evaluation import evaluate
from layerwise.report.text import describe_precision
from layerwise.study.cache import cached_evaluation
from layerwise.study.models.device import lower_precision
from layerwise.study.precision import COMPARED, compare_with_float32


def test_a_table_in_bfloat16_is_near_that_in_float32_and_the_model_is_as_before():
    model, batch = make_model("roberta-prelayernorm", layers=7), make_batch(examples=40)
    exact = evaluate(model, [batch])
    with lower_precision(model, "bfloat16") as computed:
        rounded = evaluate(computed, [batch])
    assert next(model.parameters()).dtype == torch.float32
    assert 0 < np.abs(rounded.log_p - exact.log_p).max() < 0.2
    check = compare_with_float32(rounded, model, [batch], "bfloat16", seed=0)
    assert (check.subnetworks, check.examples) == (COMPARED, 40)
    every = np.abs(rounded.mean_values - exact.mean_values)
    assert check.largest_difference <= every.max() and check.differing < 0.05
    np.testing.assert_array_equal(evaluate(model, [batch]).log_p, exact.log_p)


@pytest.mark.parametrize("precision", ["float32", "tf32"])
def test_the_precision_of_matrix_products_is_set_within_the_context_alone(precision, tmp_path):
    model, batch = make_model("bert"), make_batch()
    with lower_precision(model, precision) as computed:
        assert computed is model
        assert torch.get_float32_matmul_precision() == {"float32": "highest", "tf32": "high"}[precision]
        evaluate(model, [batch], batch_evaluation=cached_evaluation(tmp_path, model))
    assert torch.get_float32_matmul_precision() == "highest"
    kept = len([*tmp_path.rglob("output.pkl")])
    evaluate(model, [batch], batch_evaluation=cached_evaluation(tmp_path, model))
    computed_again = len([*tmp_path.rglob("output.pkl")]) > kept
    assert computed_again == (precision == "tf32")  # a table of another precision is not taken from the cache


def test_predictions_that_differ_are_counted_over_the_sub_networks_that_were_compared():
    model, batch = make_model("bert"), make_batch(examples=10)
    table = evaluate(model, [batch])
    values = table.values.copy()
    values[:, :3] = ~values[:, :3]  # three of ten predictions of every sub-network
    planted = dataclasses.replace(table, values=values)
    check = compare_with_float32(planted, model, [batch], "tf32", seed=0)
    assert check.differing == 0.3 and check.subnetworks == 16
    differences = np.abs(planted.mean_values - table.mean_values)
    assert (check.mean_difference, check.largest_difference) == (differences.mean(), differences.max())
    assert "30.00% of the predictions differ" in describe_precision(check)
    assert compare_with_float32(table, model, [batch], "tf32", seed=0).differing == 0
