"""Gradient importance: how hard the loss of an example pulls at a layer."""

import numpy as np
import torch

from layerwise.adapter import LayerwiseAdapter
from layerwise.importance.per_example import of_the_loss, squared_gradient_norms


def gradient(adapter: LayerwiseAdapter, batches: list[dict[str, torch.Tensor]]) -> np.ndarray:
    """Norm of the gradient of each example's cross-entropy with respect to each layer's parameters.

    It is taken one example at a time: the gradients of a batch cancel one another, their norms do not.

    Returns:
        Array (examples, layers), in nats for a unit change of the parameters.

    Source: Molchanov et al. (2019) discuss gradient criteria; the per-example norm follows Goodfellow (2015).
    """
    return of_the_loss(squared_gradient_norms, adapter, batches).sqrt().numpy()
