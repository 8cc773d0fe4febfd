"""The layers of any Hugging Face Transformer: addressed, bypassed, and kept in a smaller model."""

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from numbers import Integral

import torch
from torch import nn
from transformers import PreTrainedModel

from layerwise.errors import InputError


class LayerwiseAdapter:
    """The stack of layers of a Hugging Face Transformer.

    The stack is the only `nn.ModuleList` whose length is `config.num_hidden_layers`. Every layer maps
    hidden states (batch, tokens, hidden size) to hidden states of the same shape, so any of them can be left out.

    Args:
        model: an encoder (BERT, RoBERTa, DistilBERT, ...) or a decoder (GPT-2, Llama, ...) with any head.

    Raises:
        InputError: the model has no stack of layers, or more than one.

    >>> from layerwise.examples import tiny_classifier
    >>> model, tokenizer, texts, labels = tiny_classifier()
    >>> adapter = LayerwiseAdapter(model)
    >>> with adapter.bypass({1, 2}):
    ...     bypassed = model(**tokenizer(texts[0], return_tensors="pt")).logits
    >>> smaller = adapter.keep([0, 3])
    >>> bool(torch.allclose(smaller(**tokenizer(texts[0], return_tensors="pt")).logits, bypassed, atol=1e-6))
    True
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
        self._tuple_length = self._output_tuple_length()

    @classmethod
    def of(cls, model: "PreTrainedModel | LayerwiseAdapter") -> "LayerwiseAdapter":
        """The adapter of a model; an adapter is returned as it is."""
        return model if isinstance(model, cls) else cls(model)

    @property
    def layers(self) -> nn.ModuleList:
        """The layers, first to last."""
        return self.model.get_submodule(self._path)

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""
        return self.model.device

    def __len__(self) -> int:
        return len(self.layers)

    @contextmanager
    def bypass(self, layers: Collection[int]) -> Iterator[PreTrainedModel]:
        """Within the context, hidden states skip these layers, which are not computed.

        Args:
            layers: indices from 0; none or all of them are allowed.

        Raises:
            InputError: there is no such layer.
        """
        with self.replace_layers({i: lambda hidden_states: hidden_states for i in self._check(layers)}):
            yield self.model

    def keep(self, layers: Collection[int]) -> PreTrainedModel:
        """A new, smaller model of only these layers, in their order in the stack.

        `save_pretrained` and `from_pretrained` work as for any model, because its configuration has the new number of
        layers. Its logits are those of this model with the other layers bypassed.

        Args:
            layers: indices from 0, at least one.

        Raises:
            InputError: there is no such layer, or none is kept.
        """
        kept = self._check(layers)
        if not kept:
            raise InputError("no layer is kept: name at least one")
        return self.restack([self.layers[i] for i in kept], kept)

    def restack(self, layers: Sequence[nn.Module], origins: Sequence[int]) -> PreTrainedModel:
        """A copy of the model with another stack.

        Args:
            layers: the new stack; no module twice.
            origins: for each new layer, the index of the old layer whose entries in the configuration it takes.
        """
        whole, depth = self.layers, len(self)
        try:
            self.model.set_submodule(self._path, nn.ModuleList(layers))
            model = copy.deepcopy(self.model)  # layers that are left out are never copied
        finally:
            self.model.set_submodule(self._path, whole)
        for name, value in list(vars(model.config).items()):  # one entry a layer, such as layer_types
            if "layer" in name and isinstance(value, list | tuple) and len(value) == depth:
                setattr(model.config, name, [value[i] for i in origins])
        model.config.num_hidden_layers = len(layers)
        for index, layer in enumerate(model.get_submodule(self._path)):
            for module in layer.modules():  # key-value caches use this index
                if hasattr(module, "layer_idx"):
                    module.layer_idx = index
        return model

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within the context the model is in eval mode; afterwards in the mode that it was in."""
        training = self.model.training
        self.model.eval()
        try:
            yield
        finally:
            self.model.train(training)

    @contextmanager
    def replace_layers(self, functions: dict[int, Callable[[torch.Tensor], torch.Tensor]]) -> Iterator[None]:
        """Within the context, these layers compute these functions of their hidden states."""

        def forward(function: Callable, hidden_states: torch.Tensor, *args, **kwargs) -> torch.Tensor | tuple:
            output = function(hidden_states)
            return output if self._tuple_length is None else (output, *[None] * (self._tuple_length - 1))

        outer = {index: vars(self.layers[index]).get("forward") for index in functions}
        for index, function in functions.items():
            self.layers[index].forward = partial(forward, function)
        try:
            yield
        finally:
            for index, before in outer.items():
                if before is None:
                    del self.layers[index].forward  # the class's own forward shows again
                else:  # within another context
                    self.layers[index].forward = before

    @torch.no_grad()
    def _output_tuple_length(self) -> int | None:
        """None where layers return their hidden states, as most do; the length where they return a tuple (MPNet)."""
        outputs: list[torch.Tensor | tuple] = []
        hook = self.layers[0].register_forward_hook(lambda layer, inputs, output: outputs.append(output))
        try:
            with self.evaluating():
                self.model(input_ids=self.model.dummy_inputs["input_ids"][:1].to(self.device))
        finally:
            hook.remove()
        if not outputs:
            raise InputError(f"{type(self.model).__name__} does not call its stack of layers")
        return len(outputs[0]) if isinstance(outputs[0], tuple) else None

    def _check(self, layers: Collection[int]) -> list[int]:
        wrong = [i for i in layers if not (isinstance(i, Integral) and not isinstance(i, bool) and 0 <= i < len(self))]
        if wrong:
            raise InputError(f"there is no layer {wrong[0]!r}: the model has layers 0 to {len(self) - 1}")
        return sorted({int(i) for i in layers})
