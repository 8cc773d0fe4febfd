"""Patching: what happens to a prediction when the layer's update is that of another example."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch, count_examples, model_inputs
from layerwise.errors import InputError
from layerwise.forward import LayerwiseForward


@torch.no_grad()
def patching(adapter: LayerwiseAdapter, batches: Sequence[Batch], donors: int = 2) -> np.ndarray:
    """Kullback-Leibler divergence of the prediction when the layer's update is replaced by that of another example.

    The donors of an example are those that follow it in the data. Tokens are matched by their place in the text: the
    first takes the update of the first, the last that of the last, and those between in proportion.

    Args:
        donors: examples whose updates are tried.

    Returns:
        Array (examples, layers), in nats, the mean over the donors.

    Raises:
        InputError: there is no second example.

    Source: activation patching between examples, Vig et al. (2020) and Zhang & Nanda (2024).
    """
    examples = [_without_padding(adapter, batch, row) for batch in batches for row in range(count_examples([batch]))]
    if len(examples) < 2:
        raise InputError("patching takes a layer's update from another example, and there is only one: give more")
    donors = min(donors, len(examples) - 1)
    rows, first = [], 0
    for batch in batches:
        forward, size = LayerwiseForward(adapter, batch), count_examples([batch])
        states = forward.all_states()
        log_p = forward.run_from(states[-1]).double().log_softmax(1)
        divergence = torch.zeros(size, len(adapter), dtype=torch.double, device=adapter.device)
        for shift in range(1, donors + 1):
            others = _pad([examples[(first + row + shift) % len(examples)] for row in range(size)])
            places = _match_tokens(batch["attention_mask"], others["attention_mask"]).to(adapter.device)
            for layer, (before, after) in enumerate(pairwise(LayerwiseForward(adapter, others).all_states())):
                update = torch.take_along_dim(after - before, places[:, :, None], dim=1)
                patched = forward.run_from(states[layer] + update, layer + 1).double().log_softmax(1)
                divergence[:, layer] += (log_p.exp() * (log_p - patched)).sum(1) / donors
        rows.append(divergence.cpu())
        first += size
    return torch.cat(rows).numpy()


def _without_padding(adapter: LayerwiseAdapter, batch: Batch, row: int) -> Batch:
    real = batch["attention_mask"][row].bool()
    return {name: batch[name][row, real] for name in model_inputs(adapter.model, batch)}


def _pad(examples: list[Batch]) -> Batch:
    """One batch, padded on the right with zeros, which the attention mask hides."""
    return {name: pad_sequence([e[name] for e in examples], batch_first=True) for name in examples[0]}


def _match_tokens(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """For each token of the own attention masks (examples, tokens), the place of its match in the other text."""
    places = torch.zeros_like(own)
    for row, (mine, theirs) in enumerate(zip(own.bool(), other.bool(), strict=True)):
        real = theirs.nonzero()[:, 0]
        places[row, mine] = real[torch.linspace(0, len(real) - 1, int(mine.sum())).round().long()]
    return places
