"""Uncertainty: how much less certain the model becomes when dropout is on in one layer."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch, count_examples
from layerwise.forward import LayerwiseForward


@torch.no_grad()
def uncertainty(
    adapter: LayerwiseAdapter, batches: Sequence[Batch], dropout_samples: int = 4, rate: float = 0.1
) -> np.ndarray:
    """Growth of the predictive entropy when dropout is on in this layer alone.

    The entropy is that of the mean of the sampled predictions, less that of the prediction without dropout.

    The dropout is on the layer's update (output less input), at one rate whatever the model was trained with. So models
    are compared on one scale, and those without dropout, such as most decoders, are measured as well. Masks are drawn
    for each example and are the same for all layers, so a score does not depend on the batch.

    Args:
        dropout_samples: dropout masks for each example.
        rate: of the dropout.

    Returns:
        Array (examples, layers), in nats.

    Source: Gal & Ghahramani (2016).
    """
    rows, first = [], 0
    for batch in batches:
        forward = LayerwiseForward(adapter, batch)
        states = forward.all_states()
        predicted = forward.run_from(states[-1]).double().softmax(1)
        sampled = torch.zeros(len(adapter), *predicted.shape, dtype=torch.double, device=adapter.device)
        for sample in range(dropout_samples):
            seeds = [dropout_samples * (first + row) + sample for row in range(count_examples([batch]))]
            noise = _draw_dropout(batch["attention_mask"], states[0].shape[2], rate, seeds).to(states[0])
            for layer, (before, after) in enumerate(pairwise(states)):
                logits = forward.run_from(before + noise * (after - before), layer + 1)
                sampled[layer] += logits.double().softmax(1) / dropout_samples
        rows.append((_entropy(sampled) - _entropy(predicted)).T.cpu())
        first += count_examples([batch])
    return torch.cat(rows).numpy()


def _entropy(p: torch.Tensor) -> torch.Tensor:
    return torch.special.entr(p).sum(-1)


def _draw_dropout(attention_mask: torch.Tensor, width: int, rate: float, seeds: list[int]) -> torch.Tensor:
    """Scaled dropout masks (examples, tokens, width), drawn for each example from its seed; padding is not dropped."""
    noise = torch.ones(*attention_mask.shape, width)
    for row, (real, seed) in enumerate(zip(attention_mask.bool(), seeds, strict=True)):
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.rand(int(real.sum()), width, generator=generator)
        noise[row, real] = (drawn >= rate).float() / (1 - rate)
    return noise
