"""The layers of any Hugging Face Transformer: addressed, bypassed, and kept in a smaller model."""

import copy
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property, partial

import torch
from torch import nn
from transformers import Cache, PreTrainedModel

from layerwise.errors import InputError

torch.use_deterministic_algorithms(torch.cuda.is_available())  # a GPU's fastest ones add in another order each time

# What Hugging Face calls the part of a layer, most of its work, that treats each token by itself.
FEED_FORWARD = {"mlp", "intermediate", "ffn"}


def inputs(batch: dict[str, torch.Tensor], device: torch.device | None = None) -> dict[str, torch.Tensor]:
    """What a model takes of a batch: all but the `labels` and the products `seen`, which its output is judged by."""
    return {name: value.to(device) for name, value in batch.items() if name not in ("labels", "seen")}


def device() -> torch.device:
    """Where models run: on the GPU, if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Unrolled:
    """The forward pass of one batch, to be gone through layer by layer, in any order and as often as one likes.

    Hidden states are (batch, tokens, hidden size), logits (batch, classes).

    Args:
        adapter: of a model with a head that returns logits.
        batch: the model's `inputs`, and what else there is.

    Attributes:
        entering: the hidden states that enter the stack.
    """

    def __init__(self, adapter: "LayerwiseAdapter", batch: dict[str, torch.Tensor]):
        self._adapter = adapter
        self._inputs = inputs(batch, adapter.device)
        self._others = []  # what else than hidden states each layer is called with
        entering = []

        def note(layer: nn.Module, args: tuple, kwargs: dict) -> None:
            entering.append(args[0])
            # A cache would remember the keys of every application of a layer, as if they were one long sequence.
            args = [None if isinstance(value, Cache) else value for value in args[1:]]
            kwargs = {name: None if isinstance(value, Cache) else value for name, value in kwargs.items()}
            self._others.append((args, kwargs))

        hooks = [layer.register_forward_pre_hook(note, with_kwargs=True) for layer in adapter.layers]
        try:
            with adapter.bypass(range(len(adapter))) as model:
                model(**self._inputs)
        finally:
            for hook in hooks:
                hook.remove()
        self.entering = entering[0]

    def apply(self, layer: int, hidden_states: torch.Tensor, for_head: bool = False) -> torch.Tensor:
        """The hidden states that leave a layer when these enter it.

        Args:
            for_head: only the head reads them, so that they need to be right just where it does.
        """
        args, kwargs = self._others[layer]
        with ExitStack() as hooks:
            if for_head and self._read is not None:
                for name, part in self._adapter.layers[layer].named_children():
                    if name in FEED_FORWARD:
                        hooks.enter_context(part.register_forward_pre_hook(self._narrow))
            output = self._adapter.layers[layer](hidden_states, *args, **kwargs)
        return output[0] if isinstance(output, tuple) else output

    def finish(self, hidden_states: torch.Tensor, layer: int | None = None) -> torch.Tensor:
        """Logits, when these hidden states enter this layer; by default, when they leave the last one."""
        depth = len(self._adapter)
        for later in range(depth if layer is None else layer, depth):
            hidden_states = self.apply(later, hidden_states)
        with self._adapter._replaced(dict.fromkeys(range(depth), lambda entering: hidden_states)):
            return self._adapter.model(**self._inputs).logits

    @cached_property
    def _read(self) -> torch.Tensor | None:
        """(batch, 1, 1), the one token of each example that logits depend on; None where a head reads several."""
        with torch.enable_grad():
            states = self.entering.detach().requires_grad_()
            logits = self.finish(states, len(self._adapter))
            if logits.dim() > 2:  # a language model's: each token has its own
                return None
            (gradient,) = torch.autograd.grad(logits[:, 0].sum(), states)
        read = gradient.ne(0).any(-1, keepdim=True)
        return read.int().argmax(1, keepdim=True) if (read.sum(1) == 1).all() else None

    def _narrow(self, part: nn.Module, args: tuple) -> tuple:
        """Before a feed-forward part: of all tokens, the one that is read. What it adds to is as wide as before."""
        hidden_states, *others = args
        return hidden_states.gather(1, self._read.expand(-1, -1, hidden_states.shape[-1])), *others

    def states(self) -> list[torch.Tensor]:
        """The hidden states that enter the stack, and those that leave each layer of the whole model: L + 1."""
        states = [self.entering]
        for layer in range(len(self._adapter)):
            states.append(self.apply(layer, states[-1]))
        return states


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
        with self._replaced({i: lambda hidden_states: hidden_states for i in self._checked(layers)}):
            yield self.model

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
        return self.restack([self.layers[i] for i in kept], kept)

    def restack(self, layers: list[nn.Module], origins: list[int]) -> PreTrainedModel:
        """A copy of the model with another stack.

        Args:
            layers: of the new stack, no module twice.
            origins: for each of them the index in this model's stack of the layer whose configuration it has.
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
            for module in layer.modules():  # key-value caches go by this index
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
    def _replaced(self, functions: dict[int, Callable[[torch.Tensor], torch.Tensor]]) -> Iterator[None]:
        """Within the context some layers compute these functions of their hidden states."""

        def forward(function: Callable, hidden_states: torch.Tensor, *args, **kwargs) -> torch.Tensor | tuple:
            output = function(hidden_states)
            return output if self._width is None else (output, *[None] * (self._width - 1))

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
    def _output_width(self) -> int | None:
        """None where layers return their hidden states, as most do; the length where they return a tuple (MPNet)."""
        outputs = []
        hook = self.layers[0].register_forward_hook(lambda layer, inputs, output: outputs.append(output))
        try:
            with self.evaluating():
                self.model(input_ids=self.model.dummy_inputs["input_ids"][:1].to(self.device))
        finally:
            hook.remove()
        if not outputs:
            raise InputError(f"{type(self.model).__name__} does not call its stack of layers")
        return len(outputs[0]) if isinstance(outputs[0], tuple) else None

    def _checked(self, layers: Collection[int]) -> list[int]:
        wrong = [i for i in layers if not (isinstance(i, int) and 0 <= i < len(self))]
        if wrong:
            raise InputError(f"there is no layer {wrong[0]!r}: the model has layers 0 to {len(self) - 1}")
        return sorted(set(layers))
