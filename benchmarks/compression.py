"""A compressed model beside the whole one: how long one review and a batch of 32 take, in PyTorch, ONNX and 8 bits.

    python benchmarks/compression.py

Trains nothing, as the time does not depend on the weights. A model from scratch of 12 layers of width 128 and what is
left of it at 2.5 times fewer parameters are exported, and a review of median length is classified by all in turn, on
one thread of the CPU.
"""

import tempfile
from pathlib import Path

from layerwise import budget, classifier, export, results
from layerwise.adapter import LayerwiseAdapter
from layerwise.parameters import Parameters
from layerwise.reviews import load, prepare

RATIO, ROUNDS = 2.5, 20

parameters = Parameters(hidden_size=128, vocabulary_size=3500, max_length=256)
prepare(parameters)
train = load(parameters, "train")
tokenizer, model = classifier.build(parameters, train)
adapter = LayerwiseAdapter(model)
whole = results.describe(model, "scratch", adapter.layers)
plan = budget.plan(whole, whole, RATIO)

with tempfile.TemporaryDirectory() as folder:
    folders = {ratio: Path(folder) / f"{ratio:g}x" for ratio in (1.0, RATIO)}
    export.export(tokenizer, model, folders[1.0])
    export.export(tokenizer, adapter.keep(range(plan.layers)), folders[RATIO])
    tokens = classifier.tokenize(tokenizer, load(parameters, "test"))
    timings = export.timings({ratio: (folder, tokens) for ratio, folder in folders.items()}, ROUNDS)

print(f"{whole.parameters:,} parameters; {plan.layers} of {whole.layers} layers are {plan.reached:.2f} times fewer")
taken = {(timing.runtime, timing.batch, timing.ratio): timing for timing in timings}
for runtime, size in dict.fromkeys((timing.runtime, timing.batch) for timing in timings):
    full, smaller = (taken[runtime, size, ratio] for ratio in (1.0, RATIO))
    print(
        f"{runtime:10} batch of {size:2}: {full.milliseconds:7.2f} ms ({full.low:.2f} to {full.high:.2f}) whole, "
        f"{smaller.milliseconds:7.2f} ms ({smaller.low:.2f} to {smaller.high:.2f}) at {RATIO:g}x: "
        f"{full.milliseconds / smaller.milliseconds:.1f} times as fast"
    )
