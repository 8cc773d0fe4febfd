"""Every sub-network of a model: what each is worth, and what follows from that for its layers.

A sub-network keeps some of the layers and hands the hidden states past the others. With 12 layers there are 4,096 of
them, so that questions that are otherwise argued about have exact answers: which layers are the best k, what a layer
contributes (its Shapley value), which layers replace each other, and what a choice made blindly would be worth.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import combinations
from math import comb
from pathlib import Path

import joblib
import numpy as np
import torch

from layerwise.adapter import LayerwiseAdapter, Unrolled
from layerwise.errors import InputError
from layerwise.resuming import fingerprint, weights_sha256
from layerwise.terminal import progress

Gain = Callable[[torch.Tensor, dict[str, torch.Tensor]], torch.Tensor]


@dataclass(frozen=True)
class Table:
    """The worth of S sub-networks of a model of L layers to each of N examples.

    Attributes:
        kept: (S, L), True where the sub-network keeps the layer; no two rows alike.
        log_p: (S, N), log-probability of the true label, in nats.
        gain: (S, N), what the prediction gains: whether it is right, or what else it is measured by.
    """

    kept: np.ndarray
    log_p: np.ndarray
    gain: np.ndarray

    @property
    def layers(self) -> int:
        return self.kept.shape[1]

    @property
    def complete(self) -> bool:
        """Whether it holds every sub-network."""
        return len(self.kept) == 2**self.layers

    @cached_property
    def sizes(self) -> np.ndarray:
        """(S,), how many layers each sub-network keeps."""
        return self.kept.sum(1)

    @cached_property
    def mean_gain(self) -> np.ndarray:
        """(S,), the accuracy where the gain is to be right."""
        return self.gain.mean(1)

    @cached_property
    def places(self) -> dict[bytes, int]:
        """The row of each sub-network, by the bytes of its row of `kept`."""
        return {row.tobytes(): index for index, row in enumerate(self.kept)}

    def rows(self, kept: np.ndarray) -> np.ndarray:
        """Where the table holds these sub-networks: kept (..., L) to indices (...).

        Raises:
            KeyError: one of them is not in the table.
        """
        flat = np.ascontiguousarray(kept.reshape(-1, self.layers), dtype=bool)
        return np.array([self.places[row.tobytes()] for row in flat], dtype=int).reshape(kept.shape[:-1])


def right(logits: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Whether the class of the largest logit is the label: (examples,) bool."""
    return logits.argmax(1) == batch["labels"].to(logits.device)


def evaluate(
    adapter: LayerwiseAdapter,
    batches: list[dict[str, torch.Tensor]],
    kept: np.ndarray,
    gain: Gain = right,
    part: Path | None = None,
) -> Table:
    """The worth of these sub-networks, each layer applied once to each state that several of them share.

    Two sub-networks that agree on the first layers share the hidden states up to there. All 2^L of them take 2^L - 1
    applications of a layer instead of L 2^(L-1): 4,095 instead of 24,576 for 12 layers. Half of them end in the last
    layer, whose feed-forward part, most of its work, is needed only for the token that the head reads.

    At most L / 2 + 1 hidden states are held at a time (see `logits`), and each batch goes through in two halves: that
    takes about the memory of one ordinary forward pass of the whole batch.

    Args:
        kept: (S, L) bool, no two rows alike.
        gain: of the logits (examples, classes) for a batch: (examples,).
        part: a folder that remembers each half for a run that goes on after a kill; the caller's to remove at the end.

    Raises:
        InputError: there is no example.
    """
    if not sum(len(batch["labels"]) for batch in batches):
        raise InputError("there is no example to evaluate sub-networks on: the selection split is empty")
    halves = [
        {name: value[rows] for name, value in batch.items()}
        for batch in batches
        for rows in np.array_split(np.arange(len(batch["labels"])), min(2, len(batch["labels"])))
    ]
    worth = joblib.Memory(part, verbose=0).cache(_worth, ignore=["adapter", "batch"])
    config = adapter.model.config.to_json_string()
    model = fingerprint(weights_sha256(adapter.model), config, adapter.device) if part else None
    with adapter.evaluating():
        found = [
            worth(adapter, half, kept, gain, joblib.hash([model, *(value.numpy() for value in half.values())]))
            for half in progress(halves, "sub-networks")
        ]
    log_p, gains = (np.concatenate(each, 1) for each in zip(*found, strict=True))
    return Table(np.asarray(kept, dtype=bool), log_p, gains)


def explore(
    adapter: LayerwiseAdapter,
    batches: list[dict[str, torch.Tensor]],
    choices: list[np.ndarray],
    exhaustive_layers: int,
    permutations: int,
    seed: int,
    gain: Gain = right,
    part: Path | None = None,
) -> tuple[Table, np.ndarray | None]:
    """Every sub-network of a model of up to so many layers; of a deeper one a sample.

    The sample is made of random orders of the layers, from none to all: their first k layers are a random choice of
    k, and what each layer adds in its turn is an unbiased estimate of its Shapley value (Castro et al., 2009). To it
    come the model without each single layer, the greedy path, and the choices that are to be graded.

    Args:
        choices: each (..., L) bool, sub-networks that the sample must hold.
        gain, part: as for `evaluate`.

    Returns:
        The table, and the random orders (permutations, L), or None where the table is complete.

    Raises:
        InputError: there is no example, or only one layer.
    """
    layers = len(adapter)
    if layers < 2:
        raise InputError("the model has one layer, so there is nothing to choose: give a deeper one")
    if layers <= exhaustive_layers:
        return evaluate(adapter, batches, every(layers), gain, part), None
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(layers), (permutations, 1)), axis=1)
    asked = [nested(orders), ~np.eye(layers, dtype=bool), *choices]
    asked = np.concatenate([kept.reshape(-1, layers) for kept in asked])
    table = evaluate(adapter, batches, np.unique(asked, axis=0), gain, part)
    path = np.ones(layers, dtype=bool)
    while path.any():
        options = without_one(path)
        new = np.array([option.tobytes() not in table.places for option in options])
        if new.any():
            more = evaluate(adapter, batches, options[new], gain, part)
            table = Table(*(np.concatenate([getattr(t, f.name) for t in (table, more)]) for f in fields(Table)))
        path = options[_best(table, table.rows(options))]
    return table, orders


def logits(unrolled: Unrolled, kept: np.ndarray) -> Iterator[tuple[int, torch.Tensor]]:
    """The row in `kept` (S, L) of each sub-network and its logits, depth first through the tree of their beginnings.

    Each layer is applied once to each state that several sub-networks share. A state is held until the last of those
    that begin with it has been entered. The one with the most to follow, which goes on with the nearest layer, is
    entered last, so that no more than L / 2 + 1 are held.
    """
    wanted = {tuple(np.flatnonzero(layers).tolist()): row for row, layers in enumerate(kept)}
    following: dict[tuple[int, ...], set[int]] = {}
    for layers in wanted:
        for i, layer in enumerate(layers):
            following.setdefault(layers[:i], set()).add(layer)
    waiting = [((), unrolled.entering)]
    while waiting:
        layers, hidden_states = waiting.pop()
        if layers:
            hidden_states = unrolled.apply(layers[-1], hidden_states, for_head=layers not in following)
        if layers in wanted:
            yield wanted[layers], unrolled.finish(hidden_states)
        waiting += [((*layers, layer), hidden_states) for layer in sorted(following.get(layers, ()))]


def every(layers: int) -> np.ndarray:
    """All sub-networks (2^L, L) bool; row r keeps layer l where bit l of r is set."""
    return (np.arange(2**layers)[:, None] >> np.arange(layers) & 1).astype(bool)


def nested(orders: np.ndarray) -> np.ndarray:
    """The first k layers of an order, for k from 0 to L: orders (..., L) of indices to (..., L + 1, L) bool."""
    place = np.argsort(orders, axis=-1)
    return place[..., None, :] < np.arange(orders.shape[-1] + 1)[:, None]


def evenly_spaced(layers: int) -> np.ndarray:
    """For k from 0 to L, k layers spread evenly over the depth: (L + 1, L) bool."""
    kept = np.zeros((layers + 1, layers), dtype=bool)
    for k in range(1, layers + 1):
        kept[k, ((np.arange(k) + 0.5) * layers / k).astype(int)] = True
    return kept


def without_one(kept: np.ndarray) -> np.ndarray:
    """The sub-networks (k, L) that keep all but one of the k layers that `kept` (L,) keeps."""
    present = np.flatnonzero(kept)
    options = np.tile(kept, (len(present), 1))
    options[np.arange(len(present)), present] = False
    return options


def best(table: Table, size: int, examples: slice = slice(None)) -> int:
    """The row of the sub-network of this size that gains most, the likelier one where several do; on these examples."""
    rows = np.flatnonzero(table.sizes == size)
    return int(rows[_best(table, rows, examples)])


def held_out_best(table: Table, size: int) -> float:
    """Mean gain of the best choice of this size on examples that it was not chosen on.

    The best of many is partly lucky. Here it is chosen on every other example and measured on those between, then the
    other way round; both together use each example once.
    """
    parts = slice(0, None, 2), slice(1, None, 2)
    right = sum(table.gain[best(table, size, chosen), measured].sum() for chosen, measured in (parts, parts[::-1]))
    return float(right / table.gain.shape[1])


def greedy(table: Table) -> np.ndarray:
    """The path from the whole model down, each time without the layer that costs least: (L + 1,) rows, by size."""
    path = [int(table.rows(np.ones(table.layers, dtype=bool)))]
    while table.sizes[path[-1]]:
        rows = table.rows(without_one(table.kept[path[-1]]))
        path.append(int(rows[_best(table, rows)]))
    return np.array(path[::-1])


def leave_one_out(table: Table) -> np.ndarray:
    """(N, L): what the true label's log-probability loses when the layer alone is left out."""
    whole = np.ones(table.layers, dtype=bool)
    return (table.log_p[table.rows(whole)] - table.log_p[table.rows(without_one(whole))]).T.astype(float)


def shapley(table: Table, orders: np.ndarray | None = None) -> np.ndarray:
    """Shapley values of the layers, the game's value being the true label's log-probability.

    Exact from a complete table: the mean of what a layer adds to every choice of the others, each size of choice
    weighing the same. From a sample: the mean over random orders (Castro et al., 2009).

    Args:
        orders: (P, L), the random orders that the table was sampled along; None where it is complete.

    Returns:
        Array (N, L); a row adds up to the log-probability with all layers less that with none.

    Source: Shapley (1953).
    """
    layers = table.layers
    if orders is not None:
        values = table.log_p[table.rows(nested(orders))].astype(float)  # (P, L + 1, N)
        added = np.empty((len(orders), layers, values.shape[2]))
        np.put_along_axis(added, orders[:, :, None], np.diff(values, axis=1), axis=1)
        return added.mean(0).T
    found = []
    for layer in range(layers):
        without = np.flatnonzero(~table.kept[:, layer])
        weights = 1 / (layers * np.array([comb(layers - 1, size) for size in table.sizes[without]]))
        found.append(weights @ _added(table, without, [layer]))
    return np.stack(found, axis=1)


def interactions(table: Table) -> np.ndarray:
    """Shapley interaction index of each pair of layers, from a complete table.

    What two layers add together, less what each adds alone, averaged as in the Shapley value. Below zero they stand in
    for each other; above zero one needs the other.

    Returns:
        Array (N, L (L - 1) / 2), the pairs in the order of `itertools.combinations`.

    Source: Grabisch & Roubens (1999).
    """
    layers = table.layers
    found = []
    for pair in combinations(range(layers), 2):
        without = np.flatnonzero(~table.kept[:, pair].any(1))
        weights = 1 / ((layers - 1) * np.array([comb(layers - 2, size) for size in table.sizes[without]]))
        alone = sum(_added(table, without, [layer]) for layer in pair)
        found.append(weights @ (_added(table, without, list(pair)) - alone))
    return np.stack(found, axis=1)


@torch.no_grad()
def _worth(
    adapter: LayerwiseAdapter, batch: dict[str, torch.Tensor], kept: np.ndarray, gain: Gain, known_by: str
) -> tuple[np.ndarray, np.ndarray]:
    """`log_p` and `gain` (S, examples) of a batch, which is remembered by `known_by`: what hashes it and the model."""
    labels = batch["labels"].to(adapter.device)
    log_p = torch.empty(len(kept), len(labels), device=adapter.device)
    gained = [None] * len(kept)
    for row, predicted in logits(Unrolled(adapter, batch), kept):
        log_p[row] = predicted.double().log_softmax(1).gather(1, labels[:, None])[:, 0]
        gained[row] = gain(predicted, batch)
    return log_p.cpu().numpy(), torch.stack(gained).cpu().numpy()


def _best(table: Table, rows: np.ndarray, examples: slice = slice(None)) -> int:
    """The place in `rows` of the sub-network that gains most, the likelier one where several do."""
    return int(np.lexsort((table.log_p[rows][:, examples].mean(1), table.gain[rows][:, examples].mean(1)))[-1])


def _added(table: Table, rows: np.ndarray, layers: list[int]) -> np.ndarray:
    """What these layers add to the log-probability when they join each of these sub-networks: (rows, N)."""
    joined = table.kept[rows]
    joined[:, layers] = True
    return table.log_p[table.rows(joined)].astype(float) - table.log_p[rows]
