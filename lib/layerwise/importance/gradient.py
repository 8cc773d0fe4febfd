"""Gradient importance: how large the gradient of an example's loss is in a layer."""

from collections.abc import Sequence

import numpy as np

from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch
from layerwise.importance.per_example import measure_loss_gradients, squared_gradient_norms


def gradient(adapter: LayerwiseAdapter, batches: Sequence[Batch]) -> np.ndarray:
    """Norm of the gradient of each example's cross-entropy with respect to each layer's parameters.

    It is computed for each example: gradients in a batch cancel one another, their norms do not.

    Returns:
        Array (examples, layers), in nats for a unit change of the parameters.

    Source: Molchanov et al. (2019) discuss gradient criteria; the per-example norm follows Goodfellow (2015).
    """
    return measure_loss_gradients(squared_gradient_norms, adapter, batches).sqrt().numpy()
