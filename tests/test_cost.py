"""Operations and time of a forward pass."""

from collections import defaultdict

import torch
from conftest import SIZES, make_model

from layerwise import cost


def test_the_operations_are_those_that_are_counted_by_hand():
    tokens, width, inner = 9, SIZES["hidden_size"], SIZES["intermediate_size"]
    batch = {"input_ids": torch.full((1, tokens), 5), "attention_mask": torch.ones(1, tokens, dtype=torch.long)}
    layer = 4 * tokens * width**2 + 2 * tokens**2 * width + 2 * tokens * width * inner
    head = width**2 + 2 * width  # of the first token
    assert cost.count_macs(make_model("roberta-prelayernorm"), batch) == 4 * layer + head


def test_what_is_compared_is_measured_in_turn():
    order, calls = [], defaultdict(int)

    def call(name):
        calls[name] += 1
        if not order or order[-1] != name:
            order.append(name)

    found = cost.measure_latencies({"a": lambda: call("a"), "b": lambda: call("b")}, rounds=3)
    assert order == ["a", "b"] * 3 and set(found) == {"a", "b"}
    for median, low, high in found.values():
        assert 0 < low <= median <= high


def test_a_typical_batch_is_of_the_review_of_median_length():
    batch = cost.typical_batch([[1] * n for n in (9, 3, 5)], 4)
    assert batch["input_ids"].shape == batch["attention_mask"].shape == (4, 5)
