"""Ablation: what the model loses when a layer is left out."""

import numpy as np
import torch

from layerwise import subsets
from layerwise.adapter import LayerwiseAdapter


def ablation(adapter: LayerwiseAdapter, batches: list[dict[str, torch.Tensor]]) -> np.ndarray:
    """Drop of the true label's log-probability when the layer is bypassed. Negative: the model is better without.

    The layer hands its input on. Setting its weights to zero instead would, in a post-norm model, erase that input.

    Returns:
        Array (examples, layers), in nats.

    Source: layer dropping as in Sajjad et al. (2023), measured an example at a time.
    """
    return subsets.leave_one_out(without_each_layer(adapter, batches))


def without_each_layer(adapter: LayerwiseAdapter, batches: list[dict[str, torch.Tensor]]) -> subsets.Table:
    """The whole model and the model without each one of its layers, evaluated."""
    whole = np.ones(len(adapter), dtype=bool)
    return subsets.evaluate(adapter, batches, np.vstack([whole, subsets.without_one(whole)]))


def accuracy_drop(table: subsets.Table) -> np.ndarray:
    """What ablation does to the decisions: 1 where only the whole model is right, -1 where only the bypassed one is.

    Returns:
        Array (examples, layers); its mean over the examples is the drop of accuracy.
    """
    whole, *without = table.gain.astype(int)
    return (whole - np.stack(without)).T
