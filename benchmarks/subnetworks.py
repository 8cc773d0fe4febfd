"""All sub-networks of a 12-layer model: with shared prefixes, beside a forward pass of each one's own layers.

    python benchmarks/subnetworks.py

Trains nothing, as the time does not depend on the weights. Both ways run in turn on the same model and reviews, in the
same two halves of the batch, because half a batch is faster by itself, its states being nearer to the processor; the
separate forward passes take 32 random sub-networks and their complements, on average half of the layers as all
have, and their time is scaled up. Then where the time goes, and the peak of the memory that tensors take.
"""

import time
import weakref

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from layerwise import evaluation, subnetworks
from layerwise.adapter import LayerwiseAdapter, LayerwiseForward
from layerwise.study.config import Parameters
from layerwise.study.data.reviews import load_reviews, prepare_reviews
from layerwise.study.models import classifier

EXAMPLES, HIDDEN, LAYERS, ROUNDS, PAIRS = 40, 128, 12, 3, 32
MIB = 2**20


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


class PeakMemory(TorchDispatchMode):
    """Within the context, the bytes of the tensors made there that are alive at a time: `peak` is the most."""

    def __init__(self):
        super().__init__()
        self.alive, self.now, self.peak = set(), 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.alive:
                storage = tensor.untyped_storage()
                self.alive.add(storage._cdata)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self.forget, storage._cdata, storage.nbytes())
        return output

    def forget(self, key: int, size: int) -> None:
        self.alive.discard(key)
        self.now -= size


def main() -> None:
    parameters = Parameters.check({"profile": "benchmark", "hidden_size": HIDDEN, "layers": LAYERS})
    prepare_reviews(parameters)
    tokenizer, model = classifier.build_classifier(parameters, load_reviews(parameters, "train"))
    adapter = LayerwiseAdapter(model.cpu().eval())
    test = load_reviews(parameters, "test")  # by length: every so many of them is a fair sample
    sample = test.select(range(0, len(test), len(test) // EXAMPLES)).take(EXAMPLES)
    (batch,) = classifier.make_batches(tokenizer, classifier.tokenize(tokenizer, sample), EXAMPLES)
    halves = [{name: value[part] for name, value in batch.items()} for part in torch.arange(EXAMPLES).chunk(2)]
    masks = subnetworks.all_masks(LAYERS)
    drawn = np.random.default_rng(0).choice(len(masks), PAIRS, replace=False)
    some = np.concatenate([drawn, len(masks) - 1 - drawn])  # the complements
    print(f"{EXAMPLES} reviews of at most {batch['input_ids'].shape[1]} tokens, {LAYERS} layers of width {HIDDEN}")
    print(f"{torch.get_num_threads()} threads")

    shared, separate = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        table = evaluation.evaluate(adapter, [batch], masks)
        shared.append(time.perf_counter() - start)
        start = time.perf_counter()
        found = separately(adapter, halves, masks[some])
        separate.append((time.perf_counter() - start) * len(masks) / len(some))
    ratio = np.median(separate) / np.median(shared)
    say = lambda times: f"{np.median(times):7.1f} s ({min(times):.1f} to {max(times):.1f})"  # noqa: E731
    error = np.abs(found - table.log_p[some]).max()
    print(f"all sub-networks, shared prefixes: {say(shared)}")
    print(f"a forward pass of each, scaled up:   {say(separate)}")
    print(f"ratio:                               {ratio:7.1f}, largest difference {error:.0e} nats")

    forward = LayerwiseForward(adapter, halves[0])
    with torch.no_grad():
        ways = {
            "layer": lambda: forward.apply_layer(0, forward.input_states),
            "last": lambda: forward.apply_layer(0, forward.input_states, for_head=True),
            "head": lambda: forward.run_from(forward.input_states),
        }
        times = {name: [] for name in ways}
        ways["last"]()  # finds out which token the head reads, once for all
        for _ in range(20):
            for name, way in ways.items():
                start = time.perf_counter()
                way()
                times[name].append(time.perf_counter() - start)
    layer, last, head = (np.median(values) for values in times.values())
    print(f"for half of the batch a layer takes {1000 * layer:.1f} ms, {1000 * last:.1f} ms where none follows,")
    leaves = 2 ** (LAYERS - 1)  # half of all sub-networks end in the last layer
    shares = np.array([(leaves - 1) * layer, leaves * last, 2**LAYERS * head])
    print("and the head {:.1f} ms: {:.0%}, {:.0%} and {:.0%} of the table".format(1000 * head, *shares / shares.sum()))
    print(f"sharing alone, with heads for nothing, would give a ratio of {LAYERS * leaves / (2**LAYERS - 1):.1f}")

    with torch.no_grad(), PeakMemory() as once:
        model(**inputs_of(batch))
    with PeakMemory() as tree:
        evaluation.evaluate(adapter, [batch], masks)
    result = table.log_p.nbytes + table.values.nbytes
    print(f"peak of tensors: one forward pass {once.peak / MIB:.1f} MiB, the table {tree.peak / MIB:.1f} MiB,")
    print(f"its values {result / MIB:.1f} MiB; without those {(tree.peak - result) / once.peak:.2f} forward passes")


if __name__ == "__main__":
    main()
