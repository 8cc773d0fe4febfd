"""The greedy search of a language model, beside the search until version 0.2.

    python benchmarks/greedy.py [MIN_LAYERS REVIEWS]

SmolLM2 and the reviews of the profile quick, by default down to 20 of its 30 layers. Until version 0.2 each step began
anew, all reviews were one batch, and the logits of all tokens were computed, padding included. Both ways run in turn
and find the same path.
"""

import sys
import time
from functools import partial

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from layerwise import evaluation
from layerwise.adapter import LayerwiseAdapter
from layerwise.forward import LayerwiseForward
from layerwise.study.data.reviews import load_reviews, prepare_reviews
from layerwise.study.models import language_model
from layerwise.study.profiles import load_profile
from layerwise.subnetworks import masks_without_one

ROUNDS = 2


@torch.no_grad()
def search_before(adapter: LayerwiseAdapter, questions: language_model.Questions, min_layers: int) -> np.ndarray:
    path = [np.ones(len(adapter), dtype=bool)]
    while path[-1].sum() > min_layers:
        candidates = masks_without_one(path[-1])
        nats = np.zeros(len(candidates))
        for batch in questions.batches:
            inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
            ids, lengths = batch["input_ids"], batch["attention_mask"].sum(1)
            in_review = torch.arange(1, ids.shape[1]) < (lengths - questions.length)[:, None]
            for (row,), (logits,) in evaluation.subnetwork_logits(LayerwiseForward(adapter, inputs), candidates):
                nats[row] += cross_entropy(logits[:, :-1][in_review].float(), ids[:, 1:][in_review], reduction="sum")
        path.append(candidates[nats.argmin()])
    return np.stack(path)


def main() -> None:
    min_layers, reviews = [int(word) for word in sys.argv[1:]] or (20, 8)
    parameters, _ = load_profile("quick")
    prepare_reviews(parameters)
    tokenizer, model = language_model.load_language_model("smollm2", parameters.max_length)
    adapter = LayerwiseAdapter(model.cpu())
    analysis = load_reviews(parameters, "analysis")
    sample = analysis.select(np.linspace(0, len(analysis) - 1, reviews).astype(int))
    ways = {
        name: partial(way, adapter, language_model.tokenize_questions(tokenizer, sample, size))
        for name, way, size in (("before", search_before, 32), ("now", language_model.prune_greedily, 1))
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        paths = {}
        for name, way in ways.items():
            start = time.perf_counter()
            paths[name] = way(min_layers)
            times[name].append(time.perf_counter() - start)
    print(f"{len(adapter)} layers to {min_layers}, {reviews} reviews, {model.dtype}, {torch.get_num_threads()} threads")
    for name, each in times.items():
        print(f"{name:7s} {np.median(each):6.1f} s ({min(each):.1f} to {max(each):.1f})")
    print(f"ratio   {np.median(times['before']) / np.median(times['now']):6.1f}")
    print("the same path:", np.array_equal(*paths.values()))


if __name__ == "__main__":
    main()
