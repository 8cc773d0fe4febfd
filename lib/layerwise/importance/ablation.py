"""Ablation: what the model loses when a layer is left out."""

from collections.abc import Callable

import numpy as np
import torch

from layerwise.adapter import LayerwiseAdapter


def ablation(adapter: LayerwiseAdapter, batches: list[dict[str, torch.Tensor]]) -> np.ndarray:
    """Drop of the true label's log-probability when the layer is bypassed. Negative: the model is better without.

    The layer hands its input on. Setting its weights to zero instead would, in a post-norm model, erase that input.

    Returns:
        Array (examples, layers), in nats.

    Source: layer dropping as in Sajjad et al. (2023), measured an example at a time.
    """
    return _drops(adapter, batches, lambda found, labels: found.gather(1, labels[:, None])[:, 0])


def accuracy_drop(adapter: LayerwiseAdapter, batches: list[dict[str, torch.Tensor]]) -> np.ndarray:
    """What ablation does to the decisions: 1 where only the whole model is right, -1 where only the bypassed one is.

    Returns:
        Array (examples, layers); its mean over the examples is the drop of accuracy.
    """
    return _drops(adapter, batches, lambda found, labels: (found.argmax(1) == labels).double())


@torch.no_grad()
def log_probabilities(
    adapter: LayerwiseAdapter, batches: list[dict[str, torch.Tensor]], bypassed: set[int]
) -> torch.Tensor:
    """Log-probabilities (examples, classes) of the model with some layers bypassed."""
    with adapter.bypass(bypassed) as model:
        rows = [
            model(**{name: value.to(adapter.device) for name, value in batch.items() if name != "labels"}).logits
            for batch in batches
        ]
    return torch.cat(rows).double().log_softmax(1).cpu()


def _drops(
    adapter: LayerwiseAdapter,
    batches: list[dict[str, torch.Tensor]],
    measure: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> np.ndarray:
    labels = torch.cat([batch["labels"] for batch in batches])
    whole = measure(log_probabilities(adapter, batches, set()), labels)
    without = [measure(log_probabilities(adapter, batches, {layer}), labels) for layer in range(len(adapter))]
    return torch.stack([whole - part for part in without], dim=1).numpy()
