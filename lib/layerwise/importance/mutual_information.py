"""Usable information: how much more of the label a probe can read after the layer than before it."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from layerwise.adapter import LayerwiseAdapter, Unrolled
from layerwise.errors import InputError

FOLDS = 5
STRENGTH = 0.01  # of the probes, the inverse of their penalty on standardised features


@torch.no_grad()
def mutual_information(adapter: LayerwiseAdapter, batches: list[dict[str, torch.Tensor]]) -> np.ndarray:
    """Pointwise V-information that the layer adds: log-probability of the label after it less that before it.

    V are the logistic regressions on the mean hidden state of an example's tokens, padding left out; each example is
    predicted by a probe that did not see it.

    Returns:
        Array (examples, layers), in nats. A layer that undoes what could be read before it scores below zero.

    Raises:
        InputError: a class has fewer examples than there are folds.

    Source: Xu et al. (2020); pointwise: Ethayarajh et al. (2022).
    """
    labels = enough(batches)
    pooled = []
    for batch in batches:
        real = batch["attention_mask"].to(adapter.device)[:, :, None]
        states = Unrolled(adapter, batch).states()
        pooled.append(torch.stack([(state * real).sum(1) / real.sum(1) for state in states]).cpu())
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, tol=1e-8, max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    read = [
        cross_val_predict(probe, state, labels, cv=folds, method="predict_log_proba")
        for state in torch.cat(pooled, dim=1).double().numpy()
    ]
    places = np.searchsorted(np.unique(labels), labels)
    return np.diff([log_p[np.arange(len(labels)), places] for log_p in read], axis=0).T


def enough(batches: list[dict[str, torch.Tensor]]) -> np.ndarray:
    """The labels (examples,), if there are enough of each for the probes: to be asked before hours of other scores.

    Raises:
        InputError: a class has fewer examples than there are folds.
    """
    labels = torch.cat([batch["labels"] for batch in batches]).numpy()
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.min() < FOLDS:
        raise InputError(
            f"the probes of mutual_information need {FOLDS} examples of each of two classes or more, and were given "
            f"{len(labels)} in all: raise analysis_reviews or sanity_reviews"
        )
    return labels
