"""Importance methods of one shape: `method(adapter, batches) -> array (examples, layers)`, larger: more important."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from layerwise.adapter import LayerwiseAdapter
from layerwise.errors import InputError
from layerwise.importance.ablation import ablation
from layerwise.importance.conductance import PLACES, conductance
from layerwise.importance.fisher import fisher
from layerwise.importance.gradient import gradient
from layerwise.importance.influence import block_influence, influence
from layerwise.importance.mutual_information import mutual_information
from layerwise.importance.patching import DONORS, patching
from layerwise.importance.shap import PERMUTATIONS, shap
from layerwise.importance.uncertainty import SAMPLES, uncertainty


class Method(NamedTuple):
    """An importance method and its card: what a reader should know before trusting it.

    `passes` maps the number of layers and of classes to the forward passes of the whole model that an example costs; a
    backward pass counts as two, and as one where it stops at the hidden states. `sees_identity` is the claim that a
    layer which changes nothing scores zero; the tests hold every method to it.
    """

    score: Callable[[LayerwiseAdapter, list[dict[str, torch.Tensor]]], np.ndarray]
    question: str
    needs: str
    passes: Callable[[int, int], float]
    sees_identity: bool
    reference: str


METHODS: dict[str, Method] = {
    "fisher": Method(
        fisher,
        question="How far does a small change of the layer's parameters move the predicted distribution?",
        needs="gradients",
        passes=lambda layers, classes: 1 + 2 * (classes - 1),
        sees_identity=False,
        reference="amari1998",
    ),
    "gradient": Method(
        gradient,
        question="How hard does the loss of an example pull at the layer's parameters?",
        needs="labels and gradients",
        passes=lambda layers, classes: 3,
        sees_identity=False,
        reference="molchanov2019",
    ),
    "ablation": Method(
        ablation,
        question="How much log-probability does the true label lose when the layer is left out?",
        needs="labels",
        passes=lambda layers, classes: 1 + (layers - 1) / 2,
        sees_identity=True,
        reference="sajjad2023",
    ),
    "mutual_information": Method(
        mutual_information,
        question="How much more of the label can a linear probe read after the layer than before it?",
        needs="labels",
        passes=lambda layers, classes: 1,
        sees_identity=True,
        reference="ethayarajh2022",
    ),
    "conductance": Method(
        conductance,
        question="How much of the decision flows through what the layer adds?",
        needs="gradients",
        passes=lambda layers, classes: 1 + 2 * len(PLACES),
        sees_identity=True,
        reference="dhamdhere2019",
    ),
    "shap": Method(
        shap,
        question="What does the layer add to the true label's log-probability, whichever layers are there already?",
        needs="labels",
        passes=lambda layers, classes: PERMUTATIONS * (2 * layers + 1) / 2,
        sees_identity=True,
        reference="lundberg2017",
    ),
    "influence": Method(
        influence,
        question="How would the loss change, to first order, without the layer's parameters?",
        needs="labels and gradients",
        passes=lambda layers, classes: 3,
        sees_identity=True,
        reference="molchanov2019",
    ),
    "block_influence": Method(
        block_influence,
        question="How far does the layer turn the hidden states?",
        needs="nothing",
        passes=lambda layers, classes: 1,
        sees_identity=True,
        reference="men2024",
    ),
    "uncertainty": Method(
        uncertainty,
        question="How much less sure is the model when the layer is unreliable?",
        needs="nothing",
        passes=lambda layers, classes: 1 + SAMPLES * (layers - 1) / 2,
        sees_identity=True,
        reference="gal2016",
    ),
    "patching": Method(
        patching,
        question="How far does the prediction move when the layer says what it said about another example?",
        needs="nothing",
        passes=lambda layers, classes: 1 + DONORS * (layers + 1) / 2,
        sees_identity=True,
        reference="vig2020",
    ),
}


def cards(names: Collection[str], layers: int, classes: int) -> pd.DataFrame:
    """What a reader should know of these methods, a row each; the cost for a model of that size."""
    return pd.DataFrame(
        {
            name: {
                "asks": METHODS[name].question,
                "needs": METHODS[name].needs,
                "passes": METHODS[name].passes(layers, classes),
            }
            for name in names
        }
    ).T


def score(name: str, adapter: LayerwiseAdapter, batches: list[dict[str, torch.Tensor]]) -> np.ndarray:
    """Scores (examples, layers) of a method of the registry, in eval mode, checked.

    Raises:
        InputError: there is no example, or the method returned another shape or a value that is no number.
    """
    examples = sum(len(batch["labels"]) for batch in batches)
    if not examples:
        raise InputError(f"{name} has no example to score: the analysis split is empty")
    with adapter.evaluating():
        scores = METHODS[name].score(adapter, batches)
    if scores.shape != (examples, len(adapter)):
        raise InputError(f"{name} returned shape {scores.shape} for {examples} examples and {len(adapter)} layers")
    if not np.isfinite(scores).all():
        raise InputError(f"{name} returned {np.count_nonzero(~np.isfinite(scores))} values that are no numbers")
    return scores
