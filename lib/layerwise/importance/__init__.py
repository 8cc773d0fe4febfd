"""Importance methods of one shape: `method(adapter, batches) -> scores (examples, layers)`, larger is more important.

The registry imports a method only when it is used, so that its names can be read without PyTorch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from layerwise.errors import InputError


@dataclass(frozen=True)
class Method:
    """An importance method and its card: what to know before trusting it.

    Attributes:
        path: module in `layerwise.importance` and function.
        unit: of its scores.
        question: that it answers.
        needs: labels, gradients or nothing.
        passes: from the numbers of layers and classes to the forward passes of the whole model that an example costs,
            with default options. A backward pass counts as two, and as one where it stops at the hidden states.
        sees_identity: whether a layer that changes nothing scores zero; the tests check it.
        reference: key of the source in the bibliography.
    """

    path: str
    unit: str
    question: str
    needs: str
    passes: Callable[[int, int], float]
    sees_identity: bool
    reference: str

    @property
    def function(self) -> Callable[..., np.ndarray]:
        """The function `(adapter, batches, **options) -> scores (examples, layers)`.

        Raises:
            InputError: it needs a package that is not installed.
        """
        module, name = self.path.split(":")
        try:
            return getattr(import_module(f"{__name__}.{module}"), name)
        except ModuleNotFoundError as error:
            raise InputError(f"{name} needs the module {error.name}: pip install 'layerwise[methods]'") from error


METHODS: dict[str, Method] = {
    "fisher": Method(
        "fisher:fisher",
        unit="trace (squared nats)",
        question="How far does a small change of the layer's parameters move the predicted distribution?",
        needs="gradients",
        passes=lambda layers, classes: 1 + 2 * (classes - 1),
        sees_identity=False,
        reference="amari1998",
    ),
    "gradient": Method(
        "gradient:gradient",
        unit="norm (nats)",
        question="How large is the gradient of an example's loss with respect to the layer's parameters?",
        needs="labels and gradients",
        passes=lambda layers, classes: 3,
        sees_identity=False,
        reference="molchanov2019",
    ),
    "ablation": Method(
        "ablation:ablation",
        unit="log-probability lost (nats)",
        question="How much log-probability does the true label lose when the layer is left out?",
        needs="labels",
        passes=lambda layers, classes: 1 + (layers - 1) / 2,
        sees_identity=True,
        reference="sajjad2023",
    ),
    "mutual_information": Method(
        "mutual_information:mutual_information",
        unit="nats",
        question="How much more of the label can a linear probe read after the layer than before it?",
        needs="labels",
        passes=lambda layers, classes: 1,
        sees_identity=True,
        reference="ethayarajh2022",
    ),
    "conductance": Method(
        "conductance:conductance",
        unit="logits",
        question="How much of the decision flows through what the layer adds?",
        needs="gradients",
        passes=lambda layers, classes: 1 + 2 * 13,
        sees_identity=True,
        reference="dhamdhere2019",
    ),
    "shap": Method(
        "shap:shap",
        unit="nats",
        question="How much log-probability of the true label does the layer add, averaged over sets of other layers?",
        needs="labels",
        passes=lambda layers, classes: 2 * (2 * layers + 1) / 2,
        sees_identity=True,
        reference="lundberg2017",
    ),
    "influence": Method(
        "influence:influence",
        unit="nats",
        question="How would the loss change, to first order, without the layer's parameters?",
        needs="labels and gradients",
        passes=lambda layers, classes: 3,
        sees_identity=True,
        reference="molchanov2019",
    ),
    "block_influence": Method(
        "influence:block_influence",
        unit="1 - cosine",
        question="How much does the layer change the direction of the hidden states?",
        needs="nothing",
        passes=lambda layers, classes: 1,
        sees_identity=True,
        reference="men2024",
    ),
    "uncertainty": Method(
        "uncertainty:uncertainty",
        unit="nats",
        question="How much does predictive entropy grow when dropout is on in this layer alone?",
        needs="nothing",
        passes=lambda layers, classes: 1 + 4 * (layers - 1) / 2,
        sees_identity=True,
        reference="gal2016",
    ),
    "patching": Method(
        "patching:patching",
        unit="nats",
        question="How much does the prediction change when the layer's update is that of another example?",
        needs="nothing",
        passes=lambda layers, classes: 1 + 2 * (layers + 1) / 2,
        sees_identity=True,
        reference="vig2020",
    ),
}
