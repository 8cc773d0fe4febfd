"""Fisher information: how far a small change of a layer's parameters moves the predicted distribution."""

import numpy as np
import torch

from layerwise.adapter import LayerwiseAdapter, inputs
from layerwise.importance.per_example import squared_gradient_norms


def fisher(adapter: LayerwiseAdapter, batches: list[dict[str, torch.Tensor]]) -> np.ndarray:
    r"""Trace of the true Fisher information of each layer, for each example.

    The trace is sum_c p(c given x) || d log p(c given x) / d theta_l ||^2, over the model's own classes, never the
    label. With the Jacobian J of the logits it is the trace of J^T (diag(p) - p p^T) J. That matrix has rank
    C - 1 for C classes, so its C - 1 eigenvectors, each scaled by the root of its eigenvalue, are all that
    has to be sent backwards: one pass for two classes, where the sum over classes takes two.

    Returns:
        Array (examples, layers), in squared nats for a unit change of the parameters.

    Source: Amari (1998); the empirical Fisher that it is often mistaken for: Kunstner et al. (2019).
    """

    def objective(logits: torch.Tensor) -> torch.Tensor:
        p = logits.detach().softmax(1).double()
        values, vectors = torch.linalg.eigh(torch.diag_embed(p) - p[:, :, None] * p[:, None, :])
        directions = vectors[:, :, 1:] * values[:, None, 1:].clamp(min=0).sqrt()  # the least eigenvalue is zero
        return torch.einsum("nc,nck->nk", logits, directions.to(logits.dtype))

    rows = []
    for batch in batches:
        rows.append(squared_gradient_norms(adapter, inputs(batch, adapter.device), objective).sum(0).cpu())
    return torch.cat(rows).double().numpy()
