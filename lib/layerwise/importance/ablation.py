"""Ablation: the loss when a layer is left out."""

from collections.abc import Sequence

import numpy as np

from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch
from layerwise.evaluation import evaluate
from layerwise.subnetworks import SubnetworkTable, leave_one_out, masks_without_one


def ablation(adapter: LayerwiseAdapter, batches: Sequence[Batch]) -> np.ndarray:
    """Drop of the true label's log-probability when the layer is bypassed; negative if the model is better without.

    A bypassed layer passes its input on. Setting its weights to zero would erase that input in a post-norm model.

    Returns:
        Array (examples, layers), in nats.

    Source: layer dropping as in Sajjad et al. (2023), measured for each example.
    """
    return leave_one_out(evaluate_without_each_layer(adapter, batches))


def evaluate_without_each_layer(adapter: LayerwiseAdapter, batches: Sequence[Batch]) -> SubnetworkTable:
    """Evaluate the whole model, and the model without each one of its layers."""
    whole = np.ones(len(adapter), dtype=bool)
    return evaluate(adapter, batches, np.vstack([whole, masks_without_one(whole)]))


def accuracy_drop(table: SubnetworkTable) -> np.ndarray:
    """Change of each prediction: 1 where only the whole model is correct, -1 where only the bypassed one is.

    Args:
        table: of `evaluate_without_each_layer`.

    Returns:
        Array (examples, layers); its mean over the examples is the drop of accuracy.
    """
    whole, *without = table.values.astype(int)
    return (whole - np.stack(without)).T
