"""All sub-networks of a 12-layer model, in three ways that run in turn on the same model and reviews.

    python benchmarks/subnetworks.py [HIDDEN_SIZE MAX_LENGTH ...]

By default at width 64 with 24 tokens, as for sentences, and at width 128 with 100 tokens, as for reviews.

- *shared*: the engine of the library, with shared prefixes, and one token alone where the head reads one.
- *before*: the engine until version 0.2, with shared prefixes too. It computed the head of one sub-network at a
  time, by a pass of the whole model without layers, and of a last layer the feed-forward part alone for one token.
- *separately*: a forward pass of each sub-network's own layers; 32 random ones and their complements, on average half
  of the layers as all have, and their time is scaled up.

All take the same two halves of the batch, because half a batch is faster by itself. Trains nothing, as the time does
not depend on the weights. Then where the time goes, and the peak of the memory that tensors take.
"""

import sys
import time

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile
from transformers import PreTrainedModel

from layerwise import evaluation, subnetworks
from layerwise.adapter import LayerwiseAdapter
from layerwise.forward import FEED_FORWARD, LayerwiseForward
from layerwise.study.config import Parameters
from layerwise.study.data.reviews import load_reviews, prepare_reviews
from layerwise.study.models import classifier

SETTINGS = (64, 24), (128, 100)
EXAMPLES, LAYERS, ROUNDS, PAIRS = 32, 12, 3, 32
MIB = 2**20


class ForwardBefore(LayerwiseForward):
    """The engine until version 0.2."""

    heads_at_once = 1

    def select_read(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return hidden_states

    def apply_last_layer(self, layer: int, states: list[torch.Tensor]) -> list[torch.Tensor]:
        parts = self._adapter.layers[layer].named_children()
        hooks = [part.register_forward_pre_hook(self._select) for name, part in parts if name in FEED_FORWARD]
        try:
            return [self.apply_layer(layer, each) for each in states]
        finally:
            for hook in hooks:
                hook.remove()

    def head(self, states: list[torch.Tensor]) -> torch.Tensor:
        return self.run_from(states[0])[None]

    def _select(self, part: torch.nn.Module, args: tuple) -> tuple:
        hidden_states, *others = args
        return hidden_states[:, :1], *others  # the classifier of this benchmark reads the first token


def before(adapter: LayerwiseAdapter, halves: list[dict], masks: np.ndarray) -> np.ndarray:
    now = evaluation.LayerwiseForward, evaluation.LAST_AT_ONCE
    evaluation.LayerwiseForward, evaluation.LAST_AT_ONCE = ForwardBefore, 1
    try:
        return evaluation.evaluate(adapter, halves, masks).log_p
    finally:
        evaluation.LayerwiseForward, evaluation.LAST_AT_ONCE = now


@torch.no_grad()
def separately(adapter: LayerwiseAdapter, batches: list[dict], masks: np.ndarray) -> np.ndarray:
    rows = np.empty((len(masks), sum(len(batch["labels"]) for batch in batches)))
    for found, row in zip(rows, masks, strict=True):
        with adapter.bypass(set(np.flatnonzero(~row).tolist())) as model:
            logits = torch.cat([model(**inputs_of(batch)).logits for batch in batches])
        labels = torch.cat([batch["labels"] for batch in batches])
        found[:] = logits.double().log_softmax(1).gather(1, labels[:, None])[:, 0].numpy()
    return rows


def inputs_of(batch: dict) -> dict:
    return {name: value for name, value in batch.items() if name != "labels"}


def peak_of(function, *arguments) -> float:
    """The most MiB of tensors that are allocated at a time while a function runs."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function(*arguments)
    events = profiler.profiler.kineto_results.events()
    changes = sorted((each.start_ns(), each.nbytes()) for each in events if each.name() == "[memory]")
    return np.cumsum([change for _, change in changes]).max() / MIB


def build(hidden_size: int, max_length: int, examples: int) -> tuple[PreTrainedModel, dict]:
    """An untrained model of twelve layers, and a batch of texts, a quarter of them half as long."""
    parameters = Parameters.check(
        {"profile": "benchmark", "hidden_size": hidden_size, "layers": LAYERS, "max_length": max_length}
    )
    prepare_reviews(parameters)
    train, test = (load_reviews(parameters, split) for split in ("train", "test"))
    tokenizer, model = classifier.build_classifier(parameters, train)
    # Sentences are shorter than reviews: several of them are joined, until all examples have so many tokens.
    texts = [" ".join(test["text"][i:]) for i in range(examples)]
    encoded = tokenizer(texts, truncation=True, max_length=max_length, return_tensors="pt", padding=True)
    batch = {**encoded, "labels": torch.arange(examples) % 2}
    batch["attention_mask"][::4, max_length // 2 :] = 0
    return model.eval(), batch


def measure(hidden_size: int, max_length: int) -> None:
    model, batch = build(hidden_size, max_length, EXAMPLES)
    adapter = LayerwiseAdapter(model.cpu())
    masks = subnetworks.all_masks(LAYERS)
    drawn = np.random.default_rng(0).choice(len(masks), PAIRS, replace=False)
    some = np.concatenate([drawn, len(masks) - 1 - drawn])  # the complements
    halves = [{name: value[rows] for name, value in batch.items()} for rows in torch.arange(EXAMPLES).chunk(2)]
    print(f"\n{EXAMPLES} texts of at most {batch['input_ids'].shape[1]} tokens, {LAYERS} layers of width {hidden_size}")

    times: dict[str, list[float]] = {"shared": [], "before": [], "separately": []}
    for _ in range(ROUNDS):
        start = time.perf_counter()
        table = evaluation.evaluate(adapter, [batch], masks)
        times["shared"].append(time.perf_counter() - start)
        start = time.perf_counter()
        log_p_before = before(adapter, [batch], masks)
        times["before"].append(time.perf_counter() - start)
        start = time.perf_counter()
        log_p_separately = separately(adapter, halves, masks[some])
        times["separately"].append((time.perf_counter() - start) * len(masks) / len(some))
    shared = np.median(times["shared"])
    differences = {
        "shared": 0.0,
        "before": np.abs(log_p_before - table.log_p).max(),
        "separately": np.abs(log_p_separately - table.log_p[some]).max(),
    }
    for name, each in times.items():
        print(
            f"{name:10s} {np.median(each):7.1f} s ({min(each):.1f} to {max(each):.1f}), "
            f"{np.median(each) / shared:5.2f} times as long, largest difference {differences[name]:.0e} nats"
        )

    forward = LayerwiseForward(adapter, halves[0])
    with torch.no_grad():
        last, at_once = LAYERS - 1, evaluation.LAST_AT_ONCE
        (read,) = forward.apply_last_layer(last, [forward.input_states])
        ways = {
            "layer": (lambda: forward.apply_layer(0, forward.input_states), 1),
            "last layer": (lambda: forward.apply_last_layer(last, [forward.input_states] * at_once), at_once),
            "head": (lambda: forward.head([read] * forward.heads_at_once), forward.heads_at_once),
        }
        for name, (way, count) in ways.items():
            found = []
            for _ in range(20):
                start = time.perf_counter()
                way()
                found.append((time.perf_counter() - start) / count)
            print(f"{name}: {1000 * np.median(found):.2f} ms for half of the batch")

    with torch.no_grad():
        once = peak_of(lambda: model(**inputs_of(batch)))
    result = (table.log_p.nbytes + table.values.nbytes) / MIB
    some_rows = masks[:1024]  # of ten layers: the profiler keeps every allocation
    tree, tree_before = (peak_of(way, adapter, [batch], some_rows) for way in (evaluation.evaluate, before))
    print(f"peak of tensors: one forward pass {once:.1f} MiB, shared {tree:.1f}, before {tree_before:.1f};", end=" ")
    print(f"the values of the table are {result:.1f} MiB")


def main() -> None:
    words = [int(word) for word in sys.argv[1:]]
    print(f"{torch.get_num_threads()} threads")
    for setting in list(zip(words[::2], words[1::2], strict=True)) or SETTINGS:
        measure(*setting)


if __name__ == "__main__":
    main()
