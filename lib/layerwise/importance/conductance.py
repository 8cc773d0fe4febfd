"""Conductance: how much of the decision flows through the layer's update."""

from collections.abc import Sequence

import numpy as np
import torch

from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch
from layerwise.forward import LayerwiseForward


def conductance(adapter: LayerwiseAdapter, batches: Sequence[Batch], steps: int = 12) -> np.ndarray:
    """Conductance of the layer's update (output less input) for the margin of the predicted class.

    Along the straight path from the mean word embedding to the example's own embeddings, it sums the gradient of the
    margin with respect to the update, times the change of the update. (For the whole output of a layer, the sum would
    be the same for every layer, because all of the margin flows through each output.)

    Args:
        steps: of the path.

    Returns:
        Array (examples, layers), in logits. Below zero: the update speaks against the decision.

    Source: Dhamdhere et al. (2019).
    """
    return np.concatenate([conductance_along_path(adapter, batch, path_points(steps))[0] for batch in batches])


def path_points(steps: int) -> np.ndarray:
    """Points of the path (steps + 1,) from 0 to 1; closer together near the mean embedding, where it bends most."""
    return np.linspace(0, 1, steps + 1) ** 2


def conductance_along_path(
    adapter: LayerwiseAdapter, batch: Batch, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Conductance of all layers from one forward and one backward pass a point, and the error of the sum.

    The gradients at both ends of a step are averaged: the mean of Captum's sum along the path and along its reverse.

    Args:
        points: shares of the way from the mean embedding, ascending from 0 to 1.

    Returns:
        Scores (examples, layers); the change of the margin along the path (examples,); and the convergence delta
        (examples,): the conductance of the last layer's whole output, less that change; zero with enough points.
    """
    with torch.no_grad():
        forward = LayerwiseForward(adapter, batch)
        classes = forward.run_from(forward.all_states()[-1]).topk(2).indices
    before: tuple[torch.Tensor, torch.Tensor] | None = None
    scores, through_output, margins = torch.zeros(()), torch.zeros(()), []
    for share in points:
        states, margin = _states_and_margin(adapter, batch, classes, float(share))
        gradients = torch.stack(torch.autograd.grad(margin.sum(), states[1:]))  # (layers, examples, tokens, width)
        stacked = torch.stack(states).detach()
        if before:
            slope, change = (gradients + before[0]) / 2, stacked - before[1]
            scores = scores + (slope * change.diff(dim=0)).sum((2, 3))
            through_output = through_output + (slope[-1] * change[-1]).sum((1, 2))
        before = gradients, stacked
        margins.append(margin.detach())
    change = margins[-1] - margins[0]
    scores, change, delta = (each.double().cpu().numpy() for each in (scores.T, change, through_output - change))
    return scores, change, delta


@torch.enable_grad()
def _states_and_margin(
    adapter: LayerwiseAdapter, batch: Batch, classes: torch.Tensor, share: float
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Hidden states, and the margin between two classes (examples,), at a point of the path."""
    embedding = adapter.model.get_input_embeddings()
    mean = embedding.weight.detach().mean(0)

    def interpolate(module: torch.nn.Module, args: tuple, words: torch.Tensor) -> torch.Tensor:
        return torch.lerp(mean.expand_as(words), words.detach(), share).requires_grad_()

    hook = embedding.register_forward_hook(interpolate)
    try:
        forward = LayerwiseForward(adapter, batch)
    finally:
        hook.remove()
    states = forward.all_states()
    logits = forward.run_from(states[-1]).gather(1, classes)
    return states, logits[:, 0] - logits[:, 1]
