"""Influence: cheap estimates of what leaving a layer out would do, from gradients and from hidden states."""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import cosine_similarity

from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch
from layerwise.forward import LayerwiseForward
from layerwise.importance.per_example import measure_loss_gradients, parameters_times_gradients


def influence(adapter: LayerwiseAdapter, batches: Sequence[Batch]) -> np.ndarray:
    """Absolute sum of parameter x gradient over the layer: the loss's change, to first order, without its parameters.

    Returns:
        Array (examples, layers), in nats.

    Source: Molchanov et al. (2019), the first-order criterion of a group of parameters, for each example.
    """
    return measure_loss_gradients(parameters_times_gradients, adapter, batches).abs().numpy()


@torch.no_grad()
def block_influence(adapter: LayerwiseAdapter, batches: Sequence[Batch]) -> np.ndarray:
    """1 - cosine of the hidden states before and after the layer, the mean over an example's tokens without padding.

    Returns:
        Array (examples, layers), from 0 (the direction stays) to 2.

    Source: Men et al. (2024), "ShortGPT".
    """
    rows = []
    for batch in batches:
        real = batch["attention_mask"].to(adapter.device)
        states = torch.stack(LayerwiseForward(adapter, batch).all_states()).double()
        change = 1 - cosine_similarity(states[:-1], states[1:], dim=3)  # (layers, examples, tokens)
        rows.append(((change * real).sum(2) / real.sum(1)).T.cpu())
    return torch.cat(rows).numpy()
