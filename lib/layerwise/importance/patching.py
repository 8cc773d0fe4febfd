"""Patching: what happens to a prediction when the layer says what it said about another example."""

from itertools import pairwise

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from layerwise.adapter import LayerwiseAdapter, Unrolled, inputs
from layerwise.errors import InputError

DONORS = 2


@torch.no_grad()
def patching(adapter: LayerwiseAdapter, batches: list[dict[str, torch.Tensor]]) -> np.ndarray:
    """Kullback-Leibler divergence of the prediction when the layer's update is replaced by that of another example.

    The donors of an example are the two that follow it in the data. Tokens are matched by their place in the text:
    the first takes the update of the first, the last that of the last, and those between in proportion.

    Returns:
        Array (examples, layers), in nats, the mean over the donors.

    Raises:
        InputError: there is no second example.

    Source: activation patching between examples, Vig et al. (2020) and Zhang & Nanda (2024).
    """
    examples = [_unpadded(batch, row) for batch in batches for row in range(len(batch["labels"]))]
    if len(examples) < 2:
        raise InputError("patching takes a layer's update from another example, and there is only one")
    donors = min(DONORS, len(examples) - 1)
    rows, first = [], 0
    for batch in batches:
        unrolled, size = Unrolled(adapter, batch), len(batch["labels"])
        states = unrolled.states()
        log_p = unrolled.finish(states[-1]).double().log_softmax(1)
        found = torch.zeros(size, len(adapter), dtype=torch.double, device=adapter.device)
        for shift in range(1, donors + 1):
            others = _padded([examples[(first + row + shift) % len(examples)] for row in range(size)])
            places = _matched(batch["attention_mask"], others["attention_mask"]).to(adapter.device)
            for layer, (before, after) in enumerate(pairwise(Unrolled(adapter, others).states())):
                update = torch.take_along_dim(after - before, places[:, :, None], dim=1)
                patched = unrolled.finish(states[layer] + update, layer + 1).double().log_softmax(1)
                found[:, layer] += (log_p.exp() * (log_p - patched)).sum(1) / donors
        rows.append(found.cpu())
        first += size
    return torch.cat(rows).numpy()


def _unpadded(batch: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    real = batch["attention_mask"][row].bool()
    return {name: value[row, real] for name, value in inputs(batch).items()}


def _padded(examples: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """One batch, padded on the right with whatever: the attention mask hides it."""
    return {name: pad_sequence([e[name] for e in examples], batch_first=True) for name in examples[0]}


def _matched(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """For each token of the own masks (examples, tokens), the place of the one in the other text that stands for it."""
    places = torch.zeros_like(own)
    for row, (mine, theirs) in enumerate(zip(own.bool(), other.bool(), strict=True)):
        real = theirs.nonzero()[:, 0]
        places[row, mine] = real[torch.linspace(0, len(real) - 1, int(mine.sum())).round().long()]
    return places
