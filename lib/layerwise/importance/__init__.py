"""Importance methods of one shape: `method(adapter, batches) -> array (examples, layers)`, larger: more important."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch

from layerwise.adapter import LayerwiseAdapter
from layerwise.errors import InputError
from layerwise.importance.ablation import ablation
from layerwise.importance.fisher import fisher
from layerwise.importance.gradient import gradient


class Method(NamedTuple):
    """An importance method and its card: what a reader should know before trusting it.

    `passes` counts forward passes of the whole model an example, for L layers and C classes; a backward pass counts
    as two.
    """

    score: Callable[[LayerwiseAdapter, list[dict[str, torch.Tensor]]], np.ndarray]
    question: str
    needs: str
    passes: str
    reference: str


METHODS: dict[str, Method] = {
    "fisher": Method(
        fisher,
        "How far does a small change of the layer's parameters move the predicted distribution?",
        "gradients",
        "1 + 2 (C - 1)",
        "amari1998",
    ),
    "gradient": Method(
        gradient,
        "How hard does the loss of an example pull at the layer's parameters?",
        "labels and gradients",
        "3",
        "molchanov2019",
    ),
    "ablation": Method(
        ablation,
        "How much log-probability does the true label lose when the layer is left out?",
        "labels",
        "1 + L",
        "sajjad2023",
    ),
}


def score(name: str, adapter: LayerwiseAdapter, batches: list[dict[str, torch.Tensor]]) -> np.ndarray:
    """Scores (examples, layers) of a method of the registry, in eval mode, checked.

    Raises:
        InputError: there is no example, or the method returned another shape or a value that is no number.
    """
    examples = sum(len(batch["labels"]) for batch in batches)
    if not examples:
        raise InputError(f"{name} has no example to score: the analysis split is empty")
    training = adapter.model.training
    adapter.model.eval()
    try:
        scores = METHODS[name].score(adapter, batches)
    finally:
        adapter.model.train(training)
    if scores.shape != (examples, len(adapter)):
        raise InputError(f"{name} returned shape {scores.shape} for {examples} examples and {len(adapter)} layers")
    if not np.isfinite(scores).all():
        raise InputError(f"{name} returned {np.count_nonzero(~np.isfinite(scores))} values that are no numbers")
    return scores
