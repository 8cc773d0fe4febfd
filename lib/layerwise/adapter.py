"""The layers of any Hugging Face Transformer: addressed, bypassed, and kept in a smaller model."""

import copy
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import PreTrainedModel

from layerwise.errors import InputError


class LayerwiseAdapter:
    """The stack of layers of a Hugging Face Transformer.

    The stack is the one `nn.ModuleList` that is as long as the configuration says the model is deep. Every layer maps
    hidden states (batch, tokens, hidden size) to hidden states of the same shape, so any of them can be left out.

    Args:
        model: an encoder (BERT, RoBERTa, DistilBERT, ...) or a decoder (GPT-2, Llama, ...) with any head.

    Raises:
        InputError: the model has no stack of layers, or more than one.
    """

    def __init__(self, model: PreTrainedModel):
        depth = getattr(model.config, "num_hidden_layers", None)
        stacks = [
            path
            for path, module in model.named_modules()
            if isinstance(module, nn.ModuleList) and len(module) == depth and depth
        ]
        if len(stacks) != 1 or model.config.is_encoder_decoder:
            found = "two stacks" if model.config.is_encoder_decoder else f"{len(stacks) or 'no'} stacks"
            raise InputError(f"{type(model).__name__} has {found} of {depth} layers: give a model with exactly one")
        self.model = model
        self._path = stacks[0]
        self._width = self._output_width()

    @property
    def layers(self) -> nn.ModuleList:
        """The layers, first to last."""
        return self.model.get_submodule(self._path)

    @property
    def device(self) -> torch.device:
        return self.model.device

    def __len__(self) -> int:
        return len(self.layers)

    @contextmanager
    def bypass(self, layers: Collection[int]) -> Iterator[PreTrainedModel]:
        """Within the context the model hands its hidden states past these layers, and does not compute them.

        Args:
            layers: indices from 0; may be empty, may be all.

        Raises:
            InputError: there is no such layer.
        """
        bypassed = [self.layers[i] for i in self._checked(layers)]

        def identity(hidden_states: torch.Tensor, *args, **kwargs) -> torch.Tensor | tuple:
            return hidden_states if self._width is None else (hidden_states, *[None] * (self._width - 1))

        for layer in bypassed:
            layer.forward = identity
        try:
            yield self.model
        finally:
            for layer in bypassed:
                del layer.forward  # the class's own forward shows again

    def keep(self, layers: Collection[int]) -> PreTrainedModel:
        """A new, smaller model of only these layers, in their order in the stack.

        Its configuration says how many layers there are, so `save_pretrained` and `from_pretrained` work as for any
        model, and its logits are those of this model with the other layers bypassed.

        Args:
            layers: indices from 0, at least one.

        Raises:
            InputError: there is no such layer, or none is kept.
        """
        kept = self._checked(layers)
        if not kept:
            raise InputError("no layer is kept: name at least one")
        whole, depth = self.layers, len(self)
        try:
            self.model.set_submodule(self._path, nn.ModuleList(whole[i] for i in kept))
            smaller = copy.deepcopy(self.model)  # the layers that go are never copied
        finally:
            self.model.set_submodule(self._path, whole)
        config = smaller.config
        for name, value in list(vars(config).items()):  # one entry a layer, such as layer_types
            if "layer" in name and isinstance(value, list | tuple) and len(value) == depth:
                setattr(config, name, [value[i] for i in kept])
        config.num_hidden_layers = len(kept)
        for index, layer in enumerate(smaller.get_submodule(self._path)):
            for module in layer.modules():  # key-value caches go by this index
                if hasattr(module, "layer_idx"):
                    module.layer_idx = index
        return smaller

    @torch.no_grad()
    def _output_width(self) -> int | None:
        """None where layers return their hidden states, as most do; the length where they return a tuple (MPNet)."""
        outputs = []
        hook = self.layers[0].register_forward_hook(lambda layer, inputs, output: outputs.append(output))
        training = self.model.training
        try:
            self.model.eval()(input_ids=self.model.dummy_inputs["input_ids"][:1].to(self.device))
        finally:
            self.model.train(training)
            hook.remove()
        if not outputs:
            raise InputError(f"{type(self.model).__name__} does not call its stack of layers")
        return len(outputs[0]) if isinstance(outputs[0], tuple) else None

    def _checked(self, layers: Collection[int]) -> list[int]:
        wrong = [i for i in layers if not (isinstance(i, int) and 0 <= i < len(self))]
        if wrong:
            raise InputError(f"there is no layer {wrong[0]!r}: the model has layers 0 to {len(self) - 1}")
        return sorted(set(layers))
