"""Sanity checks of a method, on models whose correct answer is known."""

import copy

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import nn

from layerwise.adapter import LayerwiseAdapter

ZERO = 1e-6  # of the largest score: rounding


def plant_identities(adapter: LayerwiseAdapter, after: tuple[int, ...]) -> tuple[LayerwiseAdapter, list[int]]:
    """A copy of the model with extra layers that change nothing, although they have weights.

    Each is a copy of the layer before it whose update (output less input) is multiplied by a gate of zero (ReZero,
    Bachlechner et al., 2021). So the model computes the same as before, in pre-norm and in post-norm models.

    Args:
        after: indices of the layers that a planted one follows.

    Returns:
        The adapter of the copy, and the indices of the planted layers in its stack.
    """
    layers, origins, planted = [], [], []
    for index, layer in enumerate(adapter.layers):
        layers.append(layer)
        origins.append(index)
        if index in after:
            planted.append(len(layers))
            layers.append(Gated(copy.deepcopy(layer)))
            origins.append(index)
    model = adapter.restack(layers, origins)
    return LayerwiseAdapter(model.to(adapter.device)), planted


def randomise_weights(adapter: LayerwiseAdapter, seed: int) -> LayerwiseAdapter:
    """The same architecture with random weights. A method that ranks its layers the same way ignores the training.

    Args:
        seed: of the weights.

    Source: the model randomisation test of Adebayo et al. (2018).
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = type(adapter.model)(copy.deepcopy(adapter.model.config))
    return LayerwiseAdapter(model.to(adapter.device).eval())


def sanity_check(
    scores: np.ndarray, planted_scores: np.ndarray, planted: list[int], untrained_scores: np.ndarray
) -> dict:
    """Check a method by its mean scores of the model, of its copy with planted layers, and of the untrained model.

    Args:
        scores: (L,) of the model.
        planted_scores: (L + planted,) of the copy with planted layers.
        planted: indices of the planted layers.
        untrained_scores: (L,) of the model with random weights.

    Returns:
        `zero`: the planted layers score zero; `last`: no other score is nearer to zero; `untrained_tau`: Kendall's tau
        of the rankings with and without training.
    """
    size = np.abs(planted_scores)
    others = np.delete(size, planted)
    return {
        "zero": bool(size[planted].max() <= ZERO * size.max()),
        "last": bool(size[planted].max() < others.min()),
        "untrained_tau": float(kendalltau(scores, untrained_scores).statistic),
    }


class Gated(nn.Module):
    """A layer whose update is scaled by a weight that starts at zero."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer, self.gate = layer, Gate()

    def forward(self, hidden_states: torch.Tensor, *args, **kwargs) -> torch.Tensor | tuple:
        output = self.layer(hidden_states, *args, **kwargs)
        first, *others = output if isinstance(output, tuple) else (output,)
        first = hidden_states + self.gate(first - hidden_states)
        return (first, *others) if isinstance(output, tuple) else first


class Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, update: torch.Tensor) -> torch.Tensor:
        return self.scale * update
