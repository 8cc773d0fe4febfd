"""Uncertainty: how much less sure the model becomes when the layer is unreliable."""

from itertools import pairwise

import numpy as np
import torch

from layerwise.adapter import LayerwiseAdapter, Unrolled

SAMPLES, RATE = 4, 0.1


@torch.no_grad()
def uncertainty(adapter: LayerwiseAdapter, batches: list[dict[str, torch.Tensor]]) -> np.ndarray:
    """Growth of the predictive entropy when dropout is on in this layer alone.

    The dropout is on the layer's update, output less input, at a rate of 10 % whatever the model was trained with:
    models are compared on one scale, and those that have no dropout, as most decoders, are measured as well. Masks are
    drawn an example at a time and are the same for all layers, so that a score does not depend on the batch.

    Returns:
        Array (examples, layers), in nats.

    Source: Gal & Ghahramani (2016); the predictive entropy of the mean of the sampled predictions.
    """
    rows, first = [], 0
    for batch in batches:
        unrolled = Unrolled(adapter, batch)
        states = unrolled.states()
        sure = unrolled.finish(states[-1]).double().softmax(1)
        sampled = torch.zeros(len(adapter), *sure.shape, dtype=torch.double, device=adapter.device)
        for sample in range(SAMPLES):
            noise = _dropout(batch["attention_mask"], states[0].shape[2], sample, first).to(adapter.device)
            for layer, (before, after) in enumerate(pairwise(states)):
                logits = unrolled.finish(before + noise * (after - before), layer + 1)
                sampled[layer] += logits.double().softmax(1) / SAMPLES
        rows.append((_entropy(sampled) - _entropy(sure)).T.cpu())
        first += len(batch["labels"])
    return torch.cat(rows).numpy()


def _entropy(p: torch.Tensor) -> torch.Tensor:
    return torch.special.entr(p).sum(-1)


def _dropout(attention_mask: torch.Tensor, width: int, sample: int, first: int) -> torch.Tensor:
    """Scaled dropout masks (examples, tokens, width), those of an example drawn by its number in the whole data."""
    noise = torch.ones(*attention_mask.shape, width)
    for row, real in enumerate(attention_mask.bool()):
        generator = torch.Generator().manual_seed(SAMPLES * (first + row) + sample)
        drawn = torch.rand(int(real.sum()), width, generator=generator)
        noise[row, real] = (drawn >= RATE).float() / (1 - RATE)
    return noise
