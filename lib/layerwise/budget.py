"""The size of a model, and how many layers a budget of parameters leaves."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelSize:
    """The size of a model; `parameters_per_layer` holds one number for each layer of its stack."""

    base_model: str
    architecture: str
    layers: int
    hidden_size: int
    vocabulary_size: int
    parameters: int
    parameters_per_layer: list[int]


@dataclass(frozen=True)
class CompressionPlan:
    """How a ratio of parameters is reached.

    Attributes:
        ratio: asked for: parameters of the whole model to those of the smaller one.
        layers: kept, of `depth`.
        trimmed: whether the vocabulary is trimmed, too.
        reached: the ratio that results.
    """

    ratio: float
    layers: int
    depth: int
    trimmed: bool
    reached: float

    @property
    def at(self) -> str:
        """The ratio as text: the one asked for or, where that cannot be reached, the nearest."""
        return f"{min(self.ratio, self.reached):.3g}x"


def describe_model(model, base_model: str, layers) -> ModelSize:
    """The size of a model.

    Args:
        model: of transformers.
        base_model: its name, id or path; only the last part is kept.
        layers: the modules of its stack.
    """
    sizes = [sum(weight.numel() for weight in layer.parameters()) for layer in layers]
    return ModelSize(
        base_model=base_model.rstrip("/").rsplit("/", 1)[-1],
        architecture=type(model).__name__,
        layers=len(sizes),
        hidden_size=model.config.hidden_size,
        vocabulary_size=model.config.vocab_size,
        parameters=model.num_parameters(),
        parameters_per_layer=sizes,
    )


def layers_left(model: ModelSize, ratio: float, parameters: int | None = None) -> int:
    """The most layers that a model can keep within a budget of 1 / ratio of the parameters.

    Layers count with their mean size; embeddings and head stay. Zero if those alone exceed the budget.

    Args:
        parameters: that the ratio refers to; by default those of this model.
    """
    stack = sum(model.parameters_per_layer)
    rest = model.parameters - stack
    return max(0, int(((parameters or model.parameters) / ratio - rest) / (stack / model.layers) + 1e-9))


def plan_compression(model: ModelSize, trimmed: ModelSize, ratio: float) -> CompressionPlan:
    """Plan how to reach a ratio: with fewer layers alone, else with a trimmed vocabulary too, else as near as possible.

    Args:
        model: with its whole vocabulary.
        trimmed: the same model with a trimmed vocabulary; the whole model again where it cannot be trimmed.
    """
    alone = layers_left(model, ratio)
    layers = alone or min(max(1, layers_left(trimmed, ratio, model.parameters)), model.layers)
    base = model if alone else trimmed
    stack = sum(base.parameters_per_layer)
    left = base.parameters - stack + layers * stack / base.layers
    return CompressionPlan(
        ratio=ratio,
        layers=layers,
        depth=model.layers,
        trimmed=base.parameters < model.parameters,
        reached=model.parameters / left,
    )
