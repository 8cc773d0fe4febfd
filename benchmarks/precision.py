"""The table of sub-networks in each precision, in turn on the same model and reviews.

    python benchmarks/precision.py [HIDDEN_SIZE MAX_LENGTH EXAMPLES]

By default the model of 44 million parameters with reviews of 256 tokens on a GPU, and a small one on a CPU. Trains
nothing: the time does not depend on the weights. What a lower precision changes does, and is measured for a trained
model by the stage ground_truth: see its parameter `precision`.
"""

import sys
import time

import numpy as np
import torch
from subnetworks import build

from layerwise.evaluation import evaluate
from layerwise.study.models.device import lower_precision, reproducible_device

ROUNDS = 3


def main() -> None:
    on_gpu = reproducible_device().type == "cuda"
    sizes = [int(word) for word in sys.argv[1:]] or ((512, 256, 128) if on_gpu else (128, 64, 32))
    model, batch = build(*sizes)
    precisions = ["float32", "tf32", "bfloat16"] if on_gpu else ["float32", "bfloat16"]
    times: dict[str, list[float]] = {name: [] for name in precisions}
    tables = {}
    for _ in range(ROUNDS):
        for name in precisions:
            with lower_precision(model, name) as computed:
                start = time.perf_counter()
                tables[name] = evaluate(computed, [batch])
                times[name].append(time.perf_counter() - start)
    examples, tokens = batch["input_ids"].shape
    print(f"{model.device}, {torch.get_num_threads()} threads, width {sizes[0]}, {examples} texts of {tokens} tokens")
    for name, each in times.items():
        differing = (tables[name].values != tables["float32"].values).mean()
        print(
            f"{name:9s} {np.median(each):7.1f} s ({min(each):.1f} to {max(each):.1f}), "
            f"{np.median(times['float32']) / np.median(each):5.2f} times as fast, {differing:.3%} of predictions differ"
        )


if __name__ == "__main__":
    main()
