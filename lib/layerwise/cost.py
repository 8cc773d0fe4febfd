"""What a forward pass costs: operations and time."""

from collections.abc import Callable

import numpy as np
import torch
from datasets import Dataset
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.benchmark import Timer
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

MEASUREMENT = 0.05  # seconds that a single measurement of latency takes at least


def typical_batch(tokens: Dataset, size: int) -> dict[str, torch.Tensor]:
    """So many times the review of median length, without padding; `tokens` as `classifier.tokenize` returns them."""
    median = int(np.argsort(tokens["length"], kind="stable")[len(tokens) // 2])
    ids = tokens[median]["input_ids"]
    return {"input_ids": torch.tensor([ids] * size), "attention_mask": torch.ones(size, len(ids), dtype=torch.long)}


@torch.no_grad()
def macs(model: PreTrainedModel, batch: dict[str, torch.Tensor]) -> int:
    """Multiplications with additions of a forward pass, as far as they are matrix products."""
    batch = {name: value.to(model.device) for name, value in batch.items()}
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(**batch)
    return counter.get_total_flops() // 2


def latencies(calls: dict[str, Callable[[], object]], rounds: int = 7) -> dict[str, tuple[float, float, float]]:
    """Milliseconds a call on one thread, measured in turn: the median of the rounds, and their quartiles.

    In turn, so that whatever else the machine does meanwhile comes upon all of them.
    """
    timers = {name: Timer("call()", globals={"call": call}) for name, call in calls.items()}
    taken = {name: [] for name in calls}
    for _ in range(rounds):
        for name, timer in timers.items():
            taken[name].append(1000 * timer.blocked_autorange(min_run_time=MEASUREMENT).median)
    return {name: tuple(np.quantile(times, [0.5, 0.25, 0.75]).tolist()) for name, times in taken.items()}
