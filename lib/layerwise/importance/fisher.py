"""Fisher information: how far a small change of a layer's parameters moves the predicted distribution."""

from collections.abc import Sequence

import numpy as np
import torch

from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch, model_inputs
from layerwise.importance.per_example import squared_gradient_norms


def fisher(adapter: LayerwiseAdapter, batches: Sequence[Batch]) -> np.ndarray:
    r"""Trace of the true Fisher information of each layer, for each example.

    The trace is sum_c p(c given x) || d log p(c given x) / d theta_l ||^2 over the model's own classes; labels are not
    used. With the Jacobian J of the logits it is the trace of J^T (diag(p) - p p^T) J. The matrix diag(p) - p p^T has
    rank C - 1 for C classes, so C - 1 backward passes suffice instead of C: one for each eigenvector, scaled by the
    root of its eigenvalue.

    Returns:
        Array (examples, layers), in squared nats for a unit change of the parameters.

    Source: Amari (1998); the empirical Fisher, which it is often confused with: Kunstner et al. (2019).
    """

    def objective(logits: torch.Tensor) -> torch.Tensor:
        p = logits.detach().softmax(1).double()
        values, vectors = torch.linalg.eigh(torch.diag_embed(p) - p[:, :, None] * p[:, None, :])
        directions = vectors[:, :, 1:] * values[:, None, 1:].clamp(min=0).sqrt()  # the smallest eigenvalue is zero
        return torch.einsum("nc,nck->nk", logits, directions.to(logits.dtype))

    rows = []
    for batch in batches:
        inputs = model_inputs(adapter.model, batch)
        rows.append(squared_gradient_norms(adapter, inputs, objective).sum(0).cpu())
    return torch.cat(rows).double().numpy()
