"""The forward pass of a batch, layer by layer: in any order and as often as needed, and one head for many states."""

import copy
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import nn
from torch.utils._pytree import tree_map_only
from transformers import AttentionInterface, Cache

from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch, model_inputs

# Hugging Face's names for the feed-forward part of a layer, which treats each token by itself and is most of its work,
FEED_FORWARD = {"mlp", "intermediate", "ffn"}
# and for the linear maps of its attention, before and after it mixes tokens.
QUERY, OUTPUT = {"query", "q_proj", "q_lin", "q"}, {"dense", "o_proj", "out_lin", "out_proj", "c_proj", "Wo", "o"}
SDPA = AttentionInterface()["sdpa"]
OF_READ_TOKEN = "sdpa_of_read_token"  # our attention function, beside those of transformers


class ReadTokens(NamedTuple):
    """The tokens of a batch that the head reads.

    Attributes:
        places: index into (examples, tokens): the example and the place of each, or all examples and one place.
        number: how many they are.
        inputs: of the model if each of these tokens were a text by itself.
        classes: logits of each.
    """

    places: tuple[torch.Tensor | slice, torch.Tensor | int]
    number: int
    inputs: Batch
    classes: int


class LayerwiseForward:
    """The forward pass of one batch, layer by layer, in any order and as often as needed.

    Hidden states are (examples, tokens, hidden size), logits (examples, classes). Where the head reads one token of
    each example, as most classifiers do, it is computed for that token alone, and so is the layer before it, but for
    its keys and values. Both short ways are tried out on the batch, and not taken where they give anything else.

    Args:
        adapter: of a model with a head that returns logits.
        batch: the model's inputs; other entries are ignored.
        asked: (examples, tokens) bool, for a head with logits for each token: those that `head` returns.

    Attributes:
        input_states: the hidden states that enter the first layer.
    """

    def __init__(self, adapter: LayerwiseAdapter, batch: Batch, asked: torch.Tensor | None = None):
        self._adapter = adapter
        self._inputs = model_inputs(adapter.model, batch)
        self._asked = asked
        self._arguments: list[tuple[list, dict]] = []  # of each layer, besides its hidden states
        # By layer and number of states; None where only the layer itself will do.
        self._short_layers: dict[tuple[int, int], Callable[[torch.Tensor], torch.Tensor] | None] = {}
        self._joins: dict[object, bool] = {}  # by kind of layer and arguments: whether several states can be one batch
        inputs: list[torch.Tensor] = []

        def record(layer: nn.Module, args: tuple, kwargs: dict) -> None:
            inputs.append(args[0])
            # A cache would keep the keys of every application of a layer, as if they were one long sequence.
            others = [None if isinstance(value, Cache) else value for value in args[1:]]
            kwargs = {name: None if isinstance(value, Cache) else value for name, value in kwargs.items()}
            self._arguments.append((others, kwargs))

        hooks = [layer.register_forward_pre_hook(record, with_kwargs=True) for layer in adapter.layers]
        try:
            with adapter.bypass(range(len(adapter))) as model:
                model(**self._inputs)
        finally:
            for hook in hooks:
                hook.remove()
        self.input_states = inputs[0]

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""
        return self._adapter.device

    def apply_layer(self, layer: int, hidden_states: torch.Tensor) -> torch.Tensor:
        """The output states of a layer for these input states."""
        args, kwargs = self._arguments[layer]
        return _first(self._adapter.layers[layer](hidden_states, *args, **kwargs))

    def apply_together(self, layer: int, states: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The output states of a layer for each of several input states, which are one batch if that gives the same.

        That is faster where the matrix products of a single state are small.
        """
        if len(states) > 1 and self._can_join(layer, states[:2]):
            return self._apply_joined(layer, states)
        return [self.apply_layer(layer, each) for each in states]

    def apply_last_layer(self, layer: int, states: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """What the head reads, as `select_read` selects it, when each of these states enters a layer that is the last.

        They are computed together if there is a short way, which takes less memory for a few than the layer for one.
        """
        key = layer, len(states)
        short = self._short_layers.get(key)
        if short is None:
            read = [self.select_read(self.apply_layer(layer, each)) for each in states]
            if key not in self._short_layers:
                self._short_layers[key] = self._try_short_layer(layer, states, read)
            return read
        return [*short(torch.cat([*states])).chunk(len(states))]

    def select_read(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """What the head reads of hidden states: (tokens that are read, 1, hidden size), or all of them."""
        return hidden_states if self._read is None else _select(hidden_states, self._read.places).clone()

    @property
    def heads_at_once(self) -> int:
        """For how many states `head` needs no more memory than one hidden state takes."""
        if self._read is None:
            return 1
        of_one_head = self._read.number * (self.input_states.shape[-1] + self._read.classes)
        return max(1, self.input_states.numel() // of_one_head)

    def head(self, states: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits of S states of `select_read`: (S, examples, classes), or (S, tokens that were asked for, classes)."""
        if self._read is None:
            logits = torch.stack([self._run_head(each, self._inputs) for each in states])
            return logits if self._asked is None else logits[:, self._asked]
        inputs = {name: _repeat(value, len(value), len(states)) for name, value in self._read.inputs.items()}
        logits = self._run_head(torch.cat([*states]), inputs)
        return logits.reshape(len(states), -1, logits.shape[-1])

    def run_from(self, hidden_states: torch.Tensor, layer: int | None = None) -> torch.Tensor:
        """Logits when these hidden states enter this layer; without a layer, when they enter the head."""
        if layer is None:
            return self._run_head(hidden_states, self._inputs)
        for later in range(layer, len(self._adapter) - 1):
            hidden_states = self.apply_layer(later, hidden_states)
        if layer < len(self._adapter):
            return self.head(self.apply_last_layer(len(self._adapter) - 1, [hidden_states]))[0]
        return self.head([self.select_read(hidden_states)])[0]

    def all_states(self) -> list[torch.Tensor]:
        """L + 1 hidden states: the input of the first layer, and the output of every layer of the whole model."""
        states = [self.input_states]
        for layer in range(len(self._adapter)):
            states.append(self.apply_layer(layer, states[-1]))
        return states

    def _apply_joined(self, layer: int, states: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        repeat = partial(_repeat, examples=len(self.input_states), times=len(states))
        args, kwargs = tree_map_only(torch.Tensor, repeat, self._arguments[layer])
        return [*_first(self._adapter.layers[layer](torch.cat([*states]), *args, **kwargs)).chunk(len(states))]

    def _can_join(self, layer: int, states: Sequence[torch.Tensor]) -> bool:
        """Whether a layer gives the same for two states as one batch, tried once for layers with such arguments."""
        shapes = tree_map_only(torch.Tensor, lambda value: value.shape, self._arguments[layer])
        kind = type(self._adapter.layers[layer]), str(shapes)
        if kind not in self._joins:
            try:
                found = torch.cat(self._apply_joined(layer, states))
                expected = torch.cat([self.apply_layer(layer, each) for each in states])
                self._joins[kind] = _same(found, expected)
            except (RuntimeError, ValueError, IndexError):  # an argument of another layout
                self._joins[kind] = False
        return self._joins[kind]

    def _run_head(self, hidden_states: torch.Tensor, inputs: Batch) -> torch.Tensor:
        layers = range(len(self._adapter))
        with self._adapter.replace_layers(dict.fromkeys(layers, lambda states: hidden_states)):
            return self._adapter.model(**inputs).logits

    @cached_property
    def _read(self) -> ReadTokens | None:
        """The tokens that the head reads; None where it does not read each by itself."""
        asked = self._find_read_token() if self._asked is None else self._asked
        if asked is None:
            return None
        rows, tokens = asked.nonzero(as_tuple=True)
        same_place = self._asked is None and bool((tokens == tokens[0]).all())
        places = (slice(None), int(tokens[0])) if same_place else (rows, tokens)
        inputs = {
            name: _select(value, places) if value.shape == asked.shape else value[places[0]]
            for name, value in self._inputs.items()
        }
        with torch.no_grad():
            logits = self._run_head(self.input_states, self._inputs)
            expected = logits if self._asked is None else logits[places][:, None]
            try:
                found = self._run_head(self.input_states[places][:, None], inputs)
            except (RuntimeError, ValueError, IndexError):  # not every model takes texts of one token
                return None
        return ReadTokens(places, len(rows), inputs, logits.shape[-1]) if _same(found, expected) else None

    def _find_read_token(self) -> torch.Tensor | None:
        """(examples, tokens) bool, the one token of each example that the head reads; None where it reads several."""
        with torch.enable_grad():
            states = self.input_states.detach().requires_grad_()
            logits = self.run_from(states)
            if logits.dim() > 2:  # a language model has logits for each token
                return None
            (gradient,) = torch.autograd.grad(logits[:, 0].sum(), states)
        read = gradient.ne(0).any(-1)
        return read if (read.sum(1) == 1).all() else None

    def _try_short_layer(
        self, layer: int, states: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]
    ) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """The short way from several states to what the head reads, if there is one that gives what is expected."""
        if self._asked is not None or self._read is None:
            return None
        (examples, tokens, _), places = self.input_states.shape, self._read.places
        of_one = places
        if isinstance(places[1], torch.Tensor):
            places = torch.arange(len(states) * examples, device=places[1].device), places[1].repeat(len(states))

        def repeat(value: torch.Tensor) -> torch.Tensor:
            if value.dim() == 4 and value.shape[2] == tokens > 1:  # a mask of queries and keys
                value = _select(value.expand(examples, -1, -1, -1).transpose(1, 2), of_one).transpose(1, 2)
            return _repeat(value, examples, len(states))

        short = _shorten(self._adapter.layers[layer], places)

        def call(args: list, kwargs: dict, hidden_states: torch.Tensor) -> torch.Tensor:
            output = _first(short(hidden_states, *args, **kwargs))
            return output if output.shape[1] == 1 else _select(output, places).clone()

        try:
            args, kwargs = tree_map_only(torch.Tensor, repeat, self._arguments[layer])
            way = partial(call, args, kwargs)
            with torch.no_grad():
                found = way(torch.cat([*states]))
        except (RuntimeError, ValueError, IndexError):  # as where parts side by side are added in place
            return None
        return way if _same(found, torch.cat([*expected])) else None


def _select(values: torch.Tensor, places: tuple) -> torch.Tensor:
    """Values (examples, tokens, ...) at the `places` of `ReadTokens`: (examples, 1, ...)."""
    return values[places][:, None]


def _first(output: torch.Tensor | tuple) -> torch.Tensor:
    """The hidden states that a layer returns, in some models as the first of a tuple."""
    return output[0] if isinstance(output, tuple) else output


def _repeat(value: torch.Tensor, examples: int, times: int) -> torch.Tensor:
    """An argument of a layer for `times` as many examples, if it has an entry for each."""
    return value.repeat(times, *[1] * (value.dim() - 1)) if value.shape[:1] == (examples,) else value


def _same(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether two ways to compute the same differ by no more than rounding."""
    if found.shape != expected.shape:
        return False
    tolerance = torch.finfo(expected.dtype).eps ** 0.5 * expected.abs().max()
    return bool((found - expected).abs().max() <= tolerance)


def _shorten(layer: nn.Module, places: tuple) -> nn.Module:
    """A copy of a layer that shares its weights, and whose output is right at one token of each example alone.

    Keys and values are those of all tokens. Its other parts compute what they would for that token, where they are
    known by their names; the results are broadcast to all tokens.

    Args:
        places: of `ReadTokens`.
    """
    known = {id(weight): weight for weight in (*layer.parameters(), *layer.buffers())}
    for config in {id(part.config): part.config for part in layer.modules() if hasattr(part, "config")}.values():
        known[id(config)] = own = copy.copy(config)
        if getattr(config, "_attn_implementation", None) == "sdpa":
            own._attn_implementation_internal = OF_READ_TOKEN
    short = copy.deepcopy(layer, known)

    def for_read_token(forward: Callable, states: torch.Tensor, *args, **kwargs) -> torch.Tensor:
        return forward(states if states.shape[1] == 1 else _select(states, places), *args, **kwargs)

    def for_all_tokens(forward: Callable, states: torch.Tensor) -> torch.Tensor:
        return for_read_token(forward, states).expand(-1, states.shape[1], -1)

    for name, part in short.named_modules():
        part.read_places = places
        *path, last = name.split(".")
        in_attention = any("att" in each for each in path)
        if name in FEED_FORWARD or (in_attention and last in OUTPUT):
            part.forward = partial(for_read_token, part.forward)
        elif in_attention and last in QUERY:
            part.forward = partial(for_all_tokens, part.forward)
    return short


def _attend_from_read_token(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attention from the token that is read to all tokens, broadcast to (examples, tokens, heads, width of a head)."""

    def select(values: torch.Tensor) -> torch.Tensor:
        return _select(values.transpose(1, 2), module.read_places).transpose(1, 2)

    causal, tokens = kwargs.pop("is_causal", None), query.shape[2]
    if attention_mask is None and (getattr(module, "is_causal", True) if causal is None else causal):
        earlier = torch.ones(1, 1, tokens, tokens, dtype=torch.bool, device=query.device).tril()
        attention_mask = select(earlier.expand(len(query), -1, -1, -1))
    output, weights = SDPA(module, select(query), key, value, attention_mask, is_causal=False, **kwargs)
    return output.expand(-1, tokens, -1, -1), weights


AttentionInterface.register(OF_READ_TOKEN, _attend_from_read_token)
