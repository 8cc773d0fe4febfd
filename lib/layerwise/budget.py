"""How many layers a budget of parameters leaves."""

from layerwise.results import Model, Plan


def layers_left(model: Model, ratio: float, whole: int | None = None) -> int:
    """The most layers that a model may keep so that it has at most 1 / ratio of so many parameters.

    Layers count with their mean size; embeddings and head stay. Zero where they alone are too large.

    Args:
        whole: parameters that are to be reduced; by default, those of this very model.
    """
    whole = whole or model.parameters
    stack = sum(model.parameters_per_layer)
    rest = model.parameters - stack
    return max(0, int((whole / ratio - rest) / (stack / model.layers) + 1e-9))


def plan(model: Model, trimmed: Model, ratio: float) -> Plan:
    """How a ratio is reached: by leaving out layers, else with a trimmed vocabulary too, else as nearly as that allows.

    Args:
        model, trimmed: the same model with its whole vocabulary, and with only the tokens that its training saw; twice
            the whole one where its vocabulary cannot be trimmed.
    """
    alone = layers_left(model, ratio)
    layers = alone or min(max(1, layers_left(trimmed, ratio, model.parameters)), model.layers)
    of = model if alone else trimmed
    stack = sum(of.parameters_per_layer)
    left = of.parameters - stack + layers * stack / of.layers
    return Plan(
        ratio=ratio,
        layers=layers,
        depth=model.layers,
        trimmed=of.parameters < model.parameters,
        reached=model.parameters / left,
    )
