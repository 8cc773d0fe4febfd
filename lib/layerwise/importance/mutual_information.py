"""Usable information: how much more of the label a probe can read after the layer than before it."""

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch
from layerwise.errors import InputError
from layerwise.forward import LayerwiseForward


@torch.no_grad()
def mutual_information(
    adapter: LayerwiseAdapter, batches: Sequence[Batch], folds: int = 5, inverse_penalty: float = 0.01
) -> np.ndarray:
    """Pointwise V-information that the layer adds: log-probability of the label after it less that before it.

    V are the logistic regressions on the mean hidden state of an example's tokens, without padding. Each example is
    predicted by a probe that was not trained on it.

    Args:
        folds: of cross-validation.
        inverse_penalty: of the probes, on standardised features.

    Returns:
        Array (examples, layers), in nats. A layer that removes what could be read before it scores below zero.

    Raises:
        InputError: a class has fewer examples than there are folds.

    Source: Xu et al. (2020); pointwise: Ethayarajh et al. (2022).
    """
    labels = check_class_counts(batches, folds)
    pooled = []
    for batch in batches:
        real = batch["attention_mask"].to(adapter.device)[:, :, None]
        states = LayerwiseForward(adapter, batch).all_states()
        pooled.append(torch.stack([(state * real).sum(1) / real.sum(1) for state in states]).cpu())
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=inverse_penalty, tol=1e-8, max_iter=1000))
    splits = StratifiedKFold(folds, shuffle=True, random_state=0)
    predictions = [
        cross_val_predict(probe, state, labels, cv=splits, method="predict_log_proba")
        for state in torch.cat(pooled, dim=1).double().numpy()
    ]
    columns = np.searchsorted(np.unique(labels), labels)
    return np.diff([log_p[np.arange(len(labels)), columns] for log_p in predictions], axis=0).T


def check_class_counts(batches: Sequence[Batch], folds: int = 5) -> np.ndarray:
    """The labels (examples,), if each class has enough examples for the probes.

    Call it first: other scores may take hours.

    Raises:
        InputError: a class has fewer examples than there are folds.
    """
    labels = torch.cat([batch["labels"] for batch in batches]).numpy()
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < 2 or counts.min() < folds:
        raise InputError(
            f"the probes of mutual_information need {folds} examples of each of two classes or more, and there are "
            f"{dict(zip(classes.tolist(), counts.tolist(), strict=True))}: give more"
        )
    return labels
