"""Cost of a forward pass: operations and time."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from layerwise.batches import Batch

MIN_SECONDS = 0.05  # that a single measurement of latency takes

Name = TypeVar("Name")


def typical_batch(token_ids: Sequence[Sequence[int]], size: int) -> Batch:
    """A batch of `size` copies of the text of median length, without padding."""
    lengths = [len(ids) for ids in token_ids]
    ids = token_ids[int(np.argsort(lengths, kind="stable")[len(lengths) // 2])]
    return {"input_ids": torch.tensor([ids] * size), "attention_mask": torch.ones(size, len(ids), dtype=torch.long)}


@torch.no_grad()
def count_macs(model: PreTrainedModel, batch: Batch) -> int:
    """Multiply-accumulate operations of a forward pass, in its matrix products."""
    batch = {name: value.to(model.device) for name, value in batch.items()}
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(**batch)
    return counter.get_total_flops() // 2


def measure_latencies(
    calls: Mapping[Name, Callable[[], object]], rounds: int = 7
) -> dict[Name, tuple[float, float, float]]:
    """Milliseconds of each call on one thread: median and quartiles of the rounds.

    All calls are measured in turn in each round, so that other load on the machine affects all of them.
    """
    timers = {name: Timer("call()", globals={"call": call}) for name, call in calls.items()}
    times: dict[Name, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, timer in timers.items():
            times[name].append(1000 * timer.blocked_autorange(min_run_time=MIN_SECONDS).median)
    return {name: tuple(np.quantile(values, [0.5, 0.25, 0.75]).tolist()) for name, values in times.items()}
