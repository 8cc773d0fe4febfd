"""Influence: two cheap guesses at what leaving a layer out would do, one from gradients and one from hidden states."""

import numpy as np
import torch
from torch.nn.functional import cosine_similarity

from layerwise.adapter import LayerwiseAdapter, Unrolled
from layerwise.importance.per_example import of_the_loss, parameters_times_gradients


def influence(adapter: LayerwiseAdapter, batches: list[dict[str, torch.Tensor]]) -> np.ndarray:
    """|sum of parameter x gradient| over the layer: how the loss would change, to first order, without its parameters.

    Returns:
        Array (examples, layers), in nats.

    Source: Molchanov et al. (2019), the first-order criterion of a group of parameters, an example at a time.
    """
    return of_the_loss(parameters_times_gradients, adapter, batches).abs().numpy()


@torch.no_grad()
def block_influence(adapter: LayerwiseAdapter, batches: list[dict[str, torch.Tensor]]) -> np.ndarray:
    """1 - cosine of the hidden states before and after the layer, the mean over an example's tokens, padding left out.

    Returns:
        Array (examples, layers), from 0 (the direction stays) to 2.

    Source: Men et al. (2024), "ShortGPT".
    """
    rows = []
    for batch in batches:
        real = batch["attention_mask"].to(adapter.device)
        states = torch.stack(Unrolled(adapter, batch).states()).double()
        turned = 1 - cosine_similarity(states[:-1], states[1:], dim=3)  # (layers, examples, tokens)
        rows.append(((turned * real).sum(2) / real.sum(1)).T.cpu())
    return torch.cat(rows).numpy()
