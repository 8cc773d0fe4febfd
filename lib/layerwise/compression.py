"""Smaller models of the layers that matter: how many layers a ratio of compression leaves."""

from layerwise.results import Model


def layers_left(model: Model, ratio: float) -> int:
    """The most layers that a model may keep so that it has at most 1 / ratio of its parameters.

    Layers count with their mean size; embeddings and head stay whole. Zero where they alone are too large.
    """
    stack = sum(model.parameters_per_layer)
    rest = model.parameters - stack
    return max(0, int((model.parameters / ratio - rest) / (stack / model.layers) + 1e-9))
