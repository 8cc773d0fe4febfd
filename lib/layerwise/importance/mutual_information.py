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
    labels = torch.cat([batch["labels"] for batch in batches]).numpy()
    rarest = int(np.bincount(labels)[np.unique(labels)].min())
    if len(np.unique(labels)) < 2 or rarest < FOLDS:
        raise InputError(f"the probes of mutual_information need {FOLDS} examples of each of two classes or more")
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
