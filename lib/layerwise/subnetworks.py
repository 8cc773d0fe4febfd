"""Sub-networks of a model, and what a table of their values says about its layers.

A sub-network keeps some of the layers; hidden states pass the others by. It is written as a mask (L,) bool, True where
the layer is kept. A model of 12 layers has 4,096 of them, so questions that are usually argued about have exact
answers: which k layers are best, what a layer contributes (its Shapley value), and which layers replace each other.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import comb

import numpy as np

from layerwise.errors import InputError


@dataclass(frozen=True, eq=False, repr=False)
class SubnetworkTable:
    """Values of S sub-networks of a model of L layers on N examples.

    Attributes:
        masks: (S, L) bool, True where the sub-network keeps the layer; no two rows alike.
        log_p: (S, N), log-probability of the true label, in nats.
        values: (S, N), the metric of each prediction: whether it is correct, or another metric.
        orders: (P, L), the random orders of the layers that a sample was drawn along; None where the table is complete.
    """

    masks: np.ndarray
    log_p: np.ndarray
    values: np.ndarray
    orders: np.ndarray | None = None

    @property
    def layers(self) -> int:
        """Layers of the whole model, L."""
        return self.masks.shape[1]

    @property
    def examples(self) -> int:
        """Examples that the sub-networks were evaluated on, N."""
        return self.values.shape[1]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the table by name, to be saved."""
        arrays = {"masks": self.masks, "log_p": self.log_p, "values": self.values}
        return arrays if self.orders is None else arrays | {"orders": self.orders}

    @property
    def complete(self) -> bool:
        """Whether the table holds every sub-network."""
        return len(self.masks) == 2**self.layers

    @cached_property
    def sizes(self) -> np.ndarray:
        """(S,), how many layers each sub-network keeps."""
        return self.masks.sum(1)

    @cached_property
    def mean_values(self) -> np.ndarray:
        """(S,), the mean metric: the accuracy, where the metric is whether a prediction is correct."""
        return self.values.mean(1)

    @cached_property
    def row_of(self) -> dict[bytes, int]:
        """The row of each sub-network, by the bytes of its mask."""
        return {mask.tobytes(): row for row, mask in enumerate(self.masks)}

    @cached_property
    def random_rows(self) -> list[np.ndarray]:
        """The rows that stand for all choices of k layers, for k from 0 to L.

        All of them where the table is complete. In a sample only those along the random orders: other rows were added
        to be graded, and are better than chance.
        """
        random = np.ones(len(self.masks), dtype=bool)
        if self.orders is not None:
            random[:] = False
            random[self.rows(nested_masks(self.orders))] = True
        return [np.flatnonzero(random & (self.sizes == size)) for size in range(self.layers + 1)]

    def rows(self, masks: np.ndarray) -> np.ndarray:
        """Rows of these sub-networks in the table: masks (..., L) to indices (...).

        Raises:
            InputError: one of them is not in the table.
        """
        flat = np.ascontiguousarray(masks.reshape(-1, self.layers), dtype=bool)
        try:
            rows = [self.row_of[mask.tobytes()] for mask in flat]
        except KeyError:
            missing = next(np.flatnonzero(mask).tolist() for mask in flat if mask.tobytes() not in self.row_of)
            raise InputError(f"the table lacks the sub-network of the layers {missing}: evaluate it, too") from None
        return np.array(rows, dtype=int).reshape(masks.shape[:-1])

    def select(self, examples: slice) -> "SubnetworkTable":
        """The same sub-networks on some of the examples."""
        return SubnetworkTable(self.masks, self.log_p[:, examples], self.values[:, examples], self.orders)


def all_masks(layers: int) -> np.ndarray:
    """All sub-networks (2^L, L) bool; row r keeps layer l where bit l of r is set."""
    return (np.arange(2**layers)[:, None] >> np.arange(layers) & 1).astype(bool)


def passes_of_all(layers: int) -> float:
    """Forward passes of an example that evaluating all sub-networks takes: each of their prefixes is computed once."""
    return (2**layers - 1) / layers


def nested_masks(orders: np.ndarray) -> np.ndarray:
    """The first k layers of an order, for k from 0 to L: orders (..., L) of indices to (..., L + 1, L) bool."""
    place = np.argsort(orders, axis=-1)
    return place[..., None, :] < np.arange(orders.shape[-1] + 1)[:, None]


def evenly_spaced_masks(layers: int) -> np.ndarray:
    """For k from 0 to L, k layers spread evenly over the depth: (L + 1, L) bool."""
    masks = np.zeros((layers + 1, layers), dtype=bool)
    for k in range(1, layers + 1):
        masks[k, ((np.arange(k) + 0.5) * layers / k).astype(int)] = True
    return masks


def masks_without_one(mask: np.ndarray) -> np.ndarray:
    """The sub-networks (k, L) that keep all but one of the k layers that a mask (L,) keeps."""
    kept = np.flatnonzero(mask)
    masks = np.tile(mask, (len(kept), 1))
    masks[np.arange(len(kept)), kept] = False
    return masks


def best_row(table: SubnetworkTable, size: int, examples: slice = slice(None)) -> int:
    """The row of the best sub-network of this size on these examples; of equal ones, that with the highest log_p."""
    rows = np.flatnonzero(table.sizes == size)
    return int(rows[_best_place(table, rows, examples)])


def best_rows(table: SubnetworkTable, counts: np.ndarray) -> np.ndarray:
    """The row of the best sub-network of each size, as of `best_row`, in each resample: counts (R, N) to (L + 1, R)."""
    weights, rows = counts.T.astype(np.float32), []  # single precision counts exactly, so that ties stay ties
    for size in range(table.layers + 1):
        own = np.flatnonzero(table.sizes == size)
        values = table.values[own].astype(np.float32) @ weights
        log_p = table.log_p[own].astype(np.float32) @ weights
        rows.append(own[np.where(values == values.max(0), log_p, -np.inf).argmax(0)])
    return np.array(rows)


def values_of_rows(table: SubnetworkTable, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sums of the values of rows (K, R) of the table, each in its own resample of counts (R, N): (K, R)."""
    return np.array([(table.values[each] * counts).sum(1) for each in rows], dtype=float)


def held_out_best(table: SubnetworkTable, counts: np.ndarray, second_half: np.ndarray) -> np.ndarray:
    """Mean value of the best sub-network of each size on examples that did not select it: (L + 1, R).

    The best of many is partly lucky. In each resample it is selected anew on one half of the examples and measured on
    the other, and then with the halves exchanged, which uses each example once.

    Args:
        counts: (R, N), of `bootstrap_counts`.
        second_half: (N,) bool, of `split_in_halves`.
    """
    halves = counts * ~second_half, counts * second_half
    sums = [values_of_rows(table, best_rows(table, chosen), measured) for chosen, measured in (halves, halves[::-1])]
    return np.sum(sums, axis=0) / counts.sum(1)


def greedy_path(table: SubnetworkTable) -> np.ndarray:
    """The path from the whole model down, each step without the layer that costs least: (L + 1,) rows, by size."""
    path = [int(table.rows(np.ones(table.layers, dtype=bool)))]
    while table.sizes[path[-1]]:
        path.append(greedy_step(table, table.masks[path[-1]]))
    return np.array(path[::-1])


def greedy_step(table: SubnetworkTable, mask: np.ndarray) -> int:
    """The row of the best sub-network that keeps one layer less than a mask (L,)."""
    rows = table.rows(masks_without_one(mask))
    return int(rows[_best_place(table, rows)])


def leave_one_out(table: SubnetworkTable) -> np.ndarray:
    """(N, L), the log-probability of the true label that is lost when a layer alone is left out."""
    whole = np.ones(table.layers, dtype=bool)
    return (table.log_p[table.rows(whole)] - table.log_p[table.rows(masks_without_one(whole))]).T.astype(float)


def shapley_values(table: SubnetworkTable) -> np.ndarray:
    """Shapley values of the layers; the value of a coalition is the log-probability of the true label.

    From a complete table they are exact: the mean of what a layer adds to every set of other layers, each size of set
    with the same weight. From a sample: the mean over its random orders (Castro et al., 2009).

    Returns:
        Array (N, L); a row adds up to the log-probability with all layers less that with none.

    Source: Shapley (1953).
    """
    layers = table.layers
    if table.orders is not None:
        values = table.log_p[table.rows(nested_masks(table.orders))].astype(float)  # (P, L + 1, N)
        added = np.empty((len(table.orders), layers, values.shape[2]))
        np.put_along_axis(added, table.orders[:, :, None], np.diff(values, axis=1), axis=1)
        return added.mean(0).T
    columns = []
    for layer in range(layers):
        without = np.flatnonzero(~table.masks[:, layer])
        weights = 1 / (layers * np.array([comb(layers - 1, size) for size in table.sizes[without]]))
        columns.append(weights @ _added(table, without, [layer]))
    return np.stack(columns, axis=1)


def shapley_interactions(table: SubnetworkTable) -> np.ndarray:
    """Shapley interaction index of each pair of layers, from a complete table.

    What two layers add together, less what each adds alone, averaged as in the Shapley value. Below zero they replace
    each other; above zero one needs the other.

    Returns:
        Array (N, L (L - 1) / 2), pairs in the order of `itertools.combinations`.

    Source: Grabisch & Roubens (1999).
    """
    layers = table.layers
    columns = []
    for pair in combinations(range(layers), 2):
        without = np.flatnonzero(~table.masks[:, pair].any(1))
        weights = 1 / ((layers - 1) * np.array([comb(layers - 2, size) for size in table.sizes[without]]))
        alone = sum(_added(table, without, [layer]) for layer in pair)
        columns.append(weights @ (_added(table, without, list(pair)) - alone))
    return np.stack(columns, axis=1)


def _best_place(table: SubnetworkTable, rows: np.ndarray, examples: slice = slice(None)) -> int:
    """The place in `rows` of the best sub-network; of equal ones, that with the highest log-probability."""
    return int(np.lexsort((table.log_p[rows][:, examples].mean(1), table.values[rows][:, examples].mean(1)))[-1])


def _added(table: SubnetworkTable, rows: np.ndarray, layers: list[int]) -> np.ndarray:
    """What these layers add to the log-probability when they join each of these sub-networks: (rows, N)."""
    joined = table.masks[rows]
    joined[:, layers] = True
    return table.log_p[table.rows(joined)].astype(float) - table.log_p[rows]
