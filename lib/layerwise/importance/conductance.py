"""Conductance: how much of the decision flows through what the layer adds."""

import numpy as np
import torch

from layerwise.adapter import LayerwiseAdapter, Unrolled

# Closer together near the mean embedding, where normalisation bends the path of the hidden states most.
PLACES = np.linspace(0, 1, 13) ** 2


def conductance(adapter: LayerwiseAdapter, batches: list[dict[str, torch.Tensor]]) -> np.ndarray:
    """Conductance of the layer's update, output less input, for the margin of the predicted class.

    Along the straight path from the mean word embedding to the example's own, it sums the gradient of the margin with
    respect to the update times the change of the update. (Of a layer's whole output the sum would be the same for
    every layer: all of the margin flows through the output of each.)

    Returns:
        Array (examples, layers), in logits. Below zero: the update speaks against the decision.

    Source: Dhamdhere et al. (2019).
    """
    return np.concatenate([along_path(adapter, batch)[0] for batch in batches])


def along_path(
    adapter: LayerwiseAdapter, batch: dict[str, torch.Tensor], places: np.ndarray = PLACES
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Conductance of all layers in one pass forward and one backward a place, and how exact the sum along the path is.

    The gradients at both ends of a step are averaged: the mean of Captum's sum along the path and along its reverse.

    Args:
        places: shares of the way from the mean embedding, ascending from 0 to 1.

    Returns:
        Scores (examples, layers); the change of the margin along the path (examples,); and the convergence delta
        (examples,): the conductance of the last layer's whole output, less that change. With steps ever shorter it
        goes to zero.
    """
    with torch.no_grad():
        unrolled = Unrolled(adapter, batch)
        classes = unrolled.finish(unrolled.states()[-1]).topk(2).indices
    earlier, scores, through_output, margins = None, 0, 0, []
    for share in places:
        states, margin = _at(adapter, batch, classes, float(share))
        gradients = torch.stack(torch.autograd.grad(margin.sum(), states[1:]))  # (layers, examples, tokens, width)
        states = torch.stack(states).detach()
        if earlier:
            slope, change = (gradients + earlier[0]) / 2, states - earlier[1]
            scores = scores + (slope * change.diff(dim=0)).sum((2, 3))
            through_output = through_output + (slope[-1] * change[-1]).sum((1, 2))
        earlier = gradients, states
        margins.append(margin.detach())
    change = margins[-1] - margins[0]
    return tuple(found.double().cpu().numpy() for found in (scores.T, change, through_output - change))


@torch.enable_grad()
def _at(
    adapter: LayerwiseAdapter, batch: dict[str, torch.Tensor], classes: torch.Tensor, share: float
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Hidden states, and the margin between two classes an example, at a place of the path."""
    embedding = adapter.model.get_input_embeddings()
    mean = embedding.weight.detach().mean(0)

    def towards(module: torch.nn.Module, args: tuple, words: torch.Tensor) -> torch.Tensor:
        return torch.lerp(mean.expand_as(words), words.detach(), share).requires_grad_()

    hook = embedding.register_forward_hook(towards)
    try:
        unrolled = Unrolled(adapter, batch)
    finally:
        hook.remove()
    states = unrolled.states()
    logits = unrolled.finish(states[-1]).gather(1, classes)
    return states, logits[:, 0] - logits[:, 1]
