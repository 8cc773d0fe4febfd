"""Fisher scores: one backward pass a batch, beside one backward pass an example and a class.

    python benchmarks/fisher.py

Trains nothing, as the time does not depend on the weights. Both ways run in turn, on the same model and reviews.
"""

import time

import numpy as np
import torch

from layerwise.adapter import LayerwiseAdapter
from layerwise.importance.fisher import fisher
from layerwise.study.config import Parameters
from layerwise.study.data.reviews import load_reviews, prepare_reviews
from layerwise.study.models import classifier

EXAMPLES, ROUNDS = 96, 5


def an_example_and_a_class_at_a_time(adapter: LayerwiseAdapter, batches: list[dict]) -> np.ndarray:
    rows = []
    for batch in batches:
        for i in range(len(batch["labels"])):
            tokens = int(batch["attention_mask"][i].sum())
            inputs = {name: batch[name][i : i + 1, :tokens] for name in ("input_ids", "attention_mask")}
            log_p = adapter.model(**inputs).logits.log_softmax(1)[0]
            row = torch.zeros(len(adapter))
            for value in log_p:
                adapter.model.zero_grad()
                value.backward(retain_graph=True)
                row += value.exp().detach() * torch.stack(
                    [sum(p.grad.square().sum() for p in layer.parameters()) for layer in adapter.layers]
                )
            rows.append(row.numpy())
    return np.stack(rows)


def compare(hidden_size: int) -> None:
    parameters = Parameters.check({"profile": "benchmark", "hidden_size": hidden_size})
    prepare_reviews(parameters)
    tokenizer, model = classifier.build_classifier(parameters, load_reviews(parameters, "train"))
    adapter = LayerwiseAdapter(model.cpu().eval())
    test = load_reviews(parameters, "test")  # by length: every so many of them is a fair sample
    sample = test.select(range(0, len(test), len(test) // EXAMPLES)).take(EXAMPLES)
    batches = classifier.make_batches(tokenizer, classifier.tokenize(tokenizer, sample))
    scores, seconds = {}, {fisher: [], an_example_and_a_class_at_a_time: []}
    for _ in range(ROUNDS):
        for way, times in seconds.items():
            start = time.perf_counter()
            scores[way] = way(adapter, batches)
            times.append(time.perf_counter() - start)
    fast, slow = scores.values()
    print(f"{EXAMPLES} reviews, {len(adapter)} layers of width {hidden_size}, {torch.get_num_threads()} threads")
    for way, times in seconds.items():
        print(f"{way.__name__:>34}: {np.median(times):5.2f} s ({min(times):.2f} to {max(times):.2f}, {ROUNDS} rounds)")
    ratio = np.median(seconds[an_example_and_a_class_at_a_time]) / np.median(seconds[fisher])
    print(f"{'ratio':>34}: {ratio:5.1f}")
    print(f"{'largest relative difference':>34}: {np.abs(fast / slow - 1).max():.1e}\n")


if __name__ == "__main__":
    for width in (64, 128):
        compare(width)
