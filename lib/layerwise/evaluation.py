"""Evaluate sub-networks of a model: every layer is applied once to each state that several of them share."""

from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch, Data, as_batches, check_labels
from layerwise.errors import InputError
from layerwise.forward import LayerwiseForward
from layerwise.progress import progress
from layerwise.subnetworks import SubnetworkTable, all_masks, greedy_step, masks_without_one, nested_masks

MAX_EXHAUSTIVE_LAYERS = 20  # a table of a million sub-networks
LAST_AT_ONCE = 2  # sub-networks whose last layer is computed together: more take more memory than a layer for one

Metric = Callable[[torch.Tensor, Batch], torch.Tensor]  # of logits (examples, classes) and their batch: (examples,)
BatchEvaluation = Callable[[LayerwiseAdapter, Batch, np.ndarray, Metric], tuple[np.ndarray, np.ndarray]]


def is_correct(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Whether the class with the largest logit is the label: (examples,) bool."""
    return logits.argmax(1) == batch["labels"].to(logits.device)


@torch.no_grad()
def evaluate_batch(
    adapter: LayerwiseAdapter, batch: Batch, masks: np.ndarray, metric: Metric
) -> tuple[np.ndarray, np.ndarray]:
    """`log_p` and `values` (S, examples) of sub-networks (S, L) on one batch, in the mode that the model is in."""
    labels = batch["labels"].to(adapter.device)
    log_p = torch.empty(len(masks), len(labels), device=adapter.device)
    values: list[torch.Tensor] = [labels] * len(masks)
    for rows, logits in subnetwork_logits(LayerwiseForward(adapter, batch), masks):
        if logits.dim() != 3:
            raise InputError(f"{type(adapter.model).__name__} is no sequence classifier: its logits have another shape")
        log_p[rows] = logits.double().log_softmax(2)[:, range(len(labels)), labels].to(log_p.dtype)
        for row, each in zip(rows, logits, strict=True):
            values[row] = metric(each, batch)
    return log_p.cpu().numpy(), torch.stack(values).cpu().numpy()


def evaluate(
    model: PreTrainedModel | LayerwiseAdapter,
    data: Data,
    masks: np.ndarray | None = None,
    metric: Metric = is_correct,
    batch_evaluation: BatchEvaluation = evaluate_batch,
) -> SubnetworkTable:
    """Evaluate sub-networks of a classifier on labelled examples.

    Sub-networks with the same first layers share the hidden states up to there. All 2^L of them take 2^L - 1
    applications of a layer instead of L 2^(L-1): 4,095 instead of 24,576 for 12 layers. Half of them end in the last
    layer, of which only keys and values are needed for more than the token that the head reads.

    At most L / 2 + 1 hidden states are held at a time (see `subnetwork_logits`), and each batch is evaluated in two
    halves: that takes about the memory of one ordinary forward pass of the whole batch.

    Args:
        model: a classifier, or its adapter.
        data: batches with labels, or (tokenizer, texts, labels).
        masks: (S, L) bool, no two rows alike; by default all 2^L sub-networks.
        metric: of the logits (examples, classes) for a batch: (examples,).
        batch_evaluation: called for each half of a batch; another one than `evaluate_batch` may cache its results.

    Raises:
        InputError: there is no example, labels are missing or wrong, the masks are not of this model or not all
            different, or the model is too deep for all of its sub-networks.

    >>> from layerwise.examples import tiny_classifier
    >>> model, tokenizer, texts, labels = tiny_classifier()
    >>> table = evaluate(model, (tokenizer, texts, labels))
    >>> table.values.shape  # 2^4 sub-networks, 40 examples
    (16, 40)
    """
    adapter, batches = LayerwiseAdapter.of(model), as_batches(data)
    check_labels(adapter.model, batches, "the evaluation of sub-networks")
    if masks is None:
        masks = all_masks(_exhaustible(len(adapter)))
    _check_masks(masks, len(adapter))
    halves = [
        {name: value[rows] for name, value in batch.items()}
        for batch in batches
        for rows in np.array_split(np.arange(len(batch["labels"])), min(2, len(batch["labels"])))
    ]
    with adapter.evaluating():
        results = [batch_evaluation(adapter, half, masks, metric) for half in progress(halves, "sub-networks")]
    log_p, values = (np.concatenate(parts, 1) for parts in zip(*results, strict=True))
    return SubnetworkTable(np.asarray(masks, dtype=bool), log_p, values)


def evaluate_or_sample(
    model: PreTrainedModel | LayerwiseAdapter,
    data: Data,
    selections: Sequence[np.ndarray] = (),
    exhaustive_layers: int = 16,
    permutations: int = 100,
    seed: int = 0,
    metric: Metric = is_correct,
    batch_evaluation: BatchEvaluation = evaluate_batch,
) -> SubnetworkTable:
    """Evaluate all sub-networks if the model has at most `exhaustive_layers` layers, else a sample.

    The sample consists of random orders of the layers, from none to all: their first k layers are a random choice of k,
    and what each layer adds in its turn is an unbiased estimate of its Shapley value (Castro et al., 2009). It also
    holds the model without each single layer, the greedy path, and the selections that are to be graded.

    Args:
        selections: each (..., L) bool, sub-networks that the sample must hold, such as `grading.selections_to_grade`.
        exhaustive_layers: depth up to which all sub-networks are evaluated.
        permutations: random orders of the layers of a deeper model.
        model, data, metric, batch_evaluation: as for `evaluate`.

    Raises:
        InputError: there is no example, or only one layer.
    """
    adapter, batches = LayerwiseAdapter.of(model), as_batches(data)
    layers = len(adapter)
    if layers < 2:
        raise InputError("the model has one layer, so there is nothing to choose: give a deeper one")
    if layers <= exhaustive_layers:
        return evaluate(adapter, batches, all_masks(layers), metric, batch_evaluation)
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(layers), (permutations, 1)), axis=1)
    wanted = [nested_masks(orders), ~np.eye(layers, dtype=bool), *selections]
    masks = np.unique(np.concatenate([each.reshape(-1, layers) for each in wanted]), axis=0)
    table = evaluate(adapter, batches, masks, metric, batch_evaluation)
    path = np.ones(layers, dtype=bool)
    while path.any():
        options = masks_without_one(path)
        new = np.array([option.tobytes() not in table.row_of for option in options])
        if new.any():
            more = evaluate(adapter, batches, options[new], metric, batch_evaluation)
            table = SubnetworkTable(
                np.concatenate([table.masks, more.masks]),
                np.concatenate([table.log_p, more.log_p]),
                np.concatenate([table.values, more.values]),
            )
        path = table.masks[greedy_step(table, path)]
    return SubnetworkTable(table.masks, table.log_p, table.values, orders)


def _exhaustible(layers: int) -> int:
    if layers > MAX_EXHAUSTIVE_LAYERS:
        raise InputError(
            f"{layers} layers have 2^{layers} sub-networks: give masks, or take a sample with evaluate_or_sample"
        )
    return layers


def _check_masks(masks: np.ndarray, layers: int) -> None:
    if masks.ndim != 2 or masks.shape[1] != layers or masks.dtype != bool:
        raise InputError(f"masks have the shape {masks.shape} and type {masks.dtype}: give (S, {layers}) of bool")
    if len(np.unique(masks, axis=0)) < len(masks):
        raise InputError("two masks are the same: give each sub-network once")


def subnetwork_logits(forward: LayerwiseForward, masks: np.ndarray) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Rows in `masks` (S, L) of some sub-networks, and the logits that `forward.head` gives for them.

    Each layer is applied once to each state that several sub-networks share. The head is computed for as many
    sub-networks at a time as `forward` says.
    """
    wanted = {tuple(np.flatnonzero(mask).tolist()): row for row, mask in enumerate(masks)}
    rows: list[int] = []
    read: list[torch.Tensor] = []
    for layers, state in _walk(forward, wanted.keys()):
        rows.append(wanted[layers])
        read.append(state)
        if len(rows) == forward.heads_at_once:
            yield rows, forward.head(read)
            rows, read = [], []
    if rows:
        yield rows, forward.head(read)


def _walk(
    forward: LayerwiseForward, wanted: Collection[tuple[int, ...]]
) -> Iterator[tuple[tuple[int, ...], torch.Tensor]]:
    """What the head reads of each sub-network that is wanted, depth first through the tree of shared prefixes.

    A state is freed when its last continuation starts. The longest continuation, with the nearest layer, starts last,
    so no more than L / 2 + 1 states are held, and a few that wait for the same last layer to be computed together.
    """
    following: dict[tuple[int, ...], set[int]] = {}
    for layers in wanted:
        for i, layer in enumerate(layers):
            following.setdefault(layers[:i], set()).add(layer)
    waiting: list[tuple[tuple[int, ...], torch.Tensor]] = [((), forward.input_states)]
    ending: list[tuple[tuple[int, ...], torch.Tensor]] = []
    while waiting:
        layers, state = waiting.pop()
        if layers and layers not in following:
            if ending and ending[0][0][-1] != layers[-1]:
                yield from _finish(forward, ending)
            ending.append((layers, state))
            if len(ending) == LAST_AT_ONCE:
                yield from _finish(forward, ending)
            continue
        if layers:
            state = forward.apply_layer(layers[-1], state)
        if layers in wanted:
            yield layers, forward.select_read(state)
        waiting += [((*layers, layer), state) for layer in sorted(following.get(layers, ()))]
    yield from _finish(forward, ending)


def _finish(
    forward: LayerwiseForward, ending: list[tuple[tuple[int, ...], torch.Tensor]]
) -> Iterator[tuple[tuple[int, ...], torch.Tensor]]:
    """What the head reads of sub-networks that wait for the same last layer; then none waits."""
    if ending:
        layers, states = zip(*ending, strict=True)
        ending.clear()
        yield from zip(layers, forward.apply_last_layer(layers[0][-1], states), strict=True)
