"""A compressed model beside the whole one: how long one review and a batch of 32 take, in PyTorch, ONNX and 8 bits.

    python benchmarks/compression.py

Trains nothing, as the time does not depend on the weights. A model from scratch of 12 layers of width 128 and what is
left of it at 2.5 times fewer parameters are exported, and a review of median length is classified by all in turn, on
one thread of the CPU.
"""

import tempfile
from pathlib import Path

from layerwise.adapter import LayerwiseAdapter
from layerwise.budget import describe_model, plan_compression
from layerwise.export import export_model
from layerwise.study import deployment
from layerwise.study.config import Parameters
from layerwise.study.data.reviews import load_reviews, prepare_reviews
from layerwise.study.models import classifier

RATIO, ROUNDS = 2.5, 20

parameters = Parameters(hidden_size=128, vocabulary_size=3500, max_length=256)
prepare_reviews(parameters)
train = load_reviews(parameters, "train")
tokenizer, model = classifier.build_classifier(parameters, train)
adapter = LayerwiseAdapter(model)
whole = describe_model(model, "scratch", adapter.layers)
plan = plan_compression(whole, whole, RATIO)

with tempfile.TemporaryDirectory() as folder:
    folders = {ratio: Path(folder) / f"{ratio:g}x" for ratio in (1.0, RATIO)}
    export_model(model, tokenizer, folders[1.0])
    export_model(adapter.keep(range(plan.layers)), tokenizer, folders[RATIO])
    token_ids = classifier.tokenize(tokenizer, load_reviews(parameters, "test"))["input_ids"]
    timings = deployment.time_runtimes({ratio: (folder, token_ids) for ratio, folder in folders.items()}, ROUNDS)

print(f"{whole.parameters:,} parameters; {plan.layers} of {whole.layers} layers are {plan.reached:.2f} times fewer")
taken = {(timing.runtime, timing.batch, timing.ratio): timing for timing in timings}
for runtime, size in dict.fromkeys((timing.runtime, timing.batch) for timing in timings):
    full, smaller = (taken[runtime, size, ratio] for ratio in (1.0, RATIO))
    print(
        f"{runtime:10} batch of {size:2}: {full.milliseconds:7.2f} ms ({full.low:.2f} to {full.high:.2f}) whole, "
        f"{smaller.milliseconds:7.2f} ms ({smaller.low:.2f} to {smaller.high:.2f}) at {RATIO:g}x: "
        f"{full.milliseconds / smaller.milliseconds:.1f} times as fast"
    )
