"""SHAP: layers as players, the log-probability of the true label as what they win together."""

from collections.abc import Sequence

import numpy as np
import shap as shap_library

from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch
from layerwise.evaluation import evaluate


def shap(adapter: LayerwiseAdapter, batches: Sequence[Batch], permutations: int = 2) -> np.ndarray:
    """Shapley values of the layers, estimated by `shap` from random orders, each followed forwards and backwards.

    A layer that does not play is bypassed: the background is the one row in which no layer plays. All examples are
    explained together, each as an output of its own, along the same orders.

    Args:
        permutations: random orders.

    Returns:
        Array (examples, layers), in nats; a row adds up to the gain of the whole model over no layers.

    Source: Lundberg & Lee (2017), `shap.PermutationExplainer`.
    """
    layers = len(adapter)

    def value(playing: np.ndarray) -> np.ndarray:
        masks, inverse = np.unique(playing.astype(bool), axis=0, return_inverse=True)
        return evaluate(adapter, batches, masks).log_p[inverse]

    masker = shap_library.maskers.Independent(np.zeros((1, layers)), max_samples=1)
    explainer = shap_library.PermutationExplainer(value, masker, seed=0)
    explained = explainer(
        np.ones((1, layers)), max_evals=permutations * (2 * layers + 1), batch_size="auto", silent=True
    )
    return explained.values[0].T
