"""SHAP: the layers as players, the true label's log-probability as what they win together."""

import numpy as np
import torch

from layerwise import subsets
from layerwise.adapter import LayerwiseAdapter

PERMUTATIONS = 2


def shap(adapter: LayerwiseAdapter, batches: list[dict[str, torch.Tensor]]) -> np.ndarray:
    """Shapley values of the layers, estimated by `shap` from random orders, each gone through forwards and backwards.

    A layer that does not play hands its input on: the background is the one row in which no layer plays. All examples
    are explained at once, each as an output of its own, along the same orders.

    Returns:
        Array (examples, layers), in nats; a row adds up to what the model gains from all its layers.

    Source: Lundberg & Lee (2017), `shap.PermutationExplainer`.
    """
    import shap as library  # here, as each chapter reads this module, and only two of them need what takes seconds

    layers = len(adapter)

    def value(playing: np.ndarray) -> np.ndarray:
        kept, again = np.unique(playing.astype(bool), axis=0, return_inverse=True)
        return subsets.evaluate(adapter, batches, kept).log_p[again]

    masker = library.maskers.Independent(np.zeros((1, layers)), max_samples=1)
    explainer = library.PermutationExplainer(value, masker, seed=0)
    explained = explainer(
        np.ones((1, layers)), max_evals=PERMUTATIONS * (2 * layers + 1), batch_size="auto", silent=True
    )
    return explained.values[0].T
