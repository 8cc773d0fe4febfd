"""Exported models of a study: their accuracy and size in each runtime, their latency, and their model card."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from huggingface_hub import ModelCard, ModelCardData

from layerwise import cost
from layerwise.export import FILES, load_runtimes
from layerwise.statistics import Interval
from layerwise.study.compression import ModelVariant, compare_with_whole
from layerwise.study.models import classifier
from layerwise.study.schemas import ExportedModel, Latency, TrainingResult

BATCH_SIZES = (1, 32)  # reviews in a batch whose latency is measured


def measure_export(
    folder: Path, ratio: float, kept: list[int], variant: ModelVariant, whole: np.ndarray, counts: np.ndarray
) -> ExportedModel:
    """Measure the size of an exported model, and its accuracy on the test split in each runtime.

    Args:
        folder: of `export_model`.
        ratio: parameters of the whole model to those of this one, as asked for; 1 for the whole model.
        kept: its layers.
        variant: of the whole model, with the vocabulary of the exported one.
        whole: (N,) bool, whether the predictions of the whole model are correct.
        counts: (R, N), of `bootstrap_counts`.
    """
    labels = np.concatenate([batch["labels"] for batch in variant.test])
    runtimes = load_runtimes(folder)
    logits = {name: np.concatenate([run(batch) for batch in variant.test]) for name, run in runtimes.items()}
    _, model = classifier.load_classifier(folder)
    review = cost.typical_batch(variant.tokens["test"]["input_ids"], 1)
    return ExportedModel(
        ratio=ratio,
        folder=folder.name,
        layers=kept,
        parameters=model.num_parameters(),
        tokens=review["input_ids"].shape[1],
        macs=cost.count_macs(model.eval(), review),
        bytes={name: (folder / file).stat().st_size for name, file in FILES.items()},
        metrics={name: compare_with_whole(each.argmax(1) == labels, whole, counts) for name, each in logits.items()},
        largest_difference={name: float(np.abs(each - logits["pytorch"]).max()) for name, each in logits.items()},
    )


def time_runtimes(folders: Mapping[float, tuple[Path, Sequence[Sequence[int]]]], rounds: int = 7) -> list[Latency]:
    """Measure the latency of a batch of 1 and of 32 typical reviews, for each model in each runtime, in turn.

    Args:
        folders: for each ratio a folder of `export_model`, and the token ids of reviews from the model's own tokenizer.
        rounds: of measurements.
    """
    calls = {
        (ratio, name, size): partial(run, cost.typical_batch(token_ids, size))
        for ratio, (folder, token_ids) in folders.items()
        for name, run in load_runtimes(folder).items()
        for size in BATCH_SIZES
    }
    return [
        Latency(
            ratio=ratio,
            runtime=name,
            batch=size,
            milliseconds=median,
            low=low,
            high=high,
            reviews_per_second=1000 * size / median,
        )
        for (ratio, name, size), (median, low, high) in cost.measure_latencies(calls, rounds).items()
    ]


def make_model_card(
    exported: ExportedModel, choice: str, whole: Interval, trained: TrainingResult, variant: ModelVariant
) -> ModelCard:
    """Write the model card of an exported model: its layers, training data, accuracy and limits.

    Args:
        exported: the model.
        choice: name of the method that selected its layers.
        whole: accuracy of the whole model on the test split.
        trained: result of the stage training.
        variant: of the whole model, with the vocabulary of the exported one.
    """
    data, described = trained.data, trained.model
    smaller = len(exported.layers) < described.layers
    layers = (
        f"Of layers 0 to {described.layers - 1} it keeps {', '.join(map(str, exported.layers))}, selected by "
        f"{choice.replace('_', ' ')}, and was healed: distilled from the whole model."
        if smaller
        else f"It has all {described.layers} layers."
    )
    vocabulary_size = variant.model.config.vocab_size
    trimmed = (
        f" Its vocabulary is trimmed to the {vocabulary_size:,} tokens that its training texts are made of, of "
        f"{described.vocabulary_size:,}."
        if vocabulary_size < described.vocabulary_size
        else ""
    )
    size = described.parameters / exported.parameters
    asked = (
        f" {exported.ratio:g}x was asked for and cannot be reached; the folder `{exported.folder}` is named by it."
        if size < exported.ratio - 1e-6
        else ""
    )
    rows = "\n".join(
        f"| {FILES[runtime]} | {_format_percent(metrics.accuracy)} | {_format_percent(metrics.retention)} | "
        f"{exported.bytes[runtime] / 1e6:.2f} |"
        for runtime, metrics in exported.metrics.items()
    )
    header = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        language="en" if max(data.languages, key=data.languages.__getitem__) == "English" else None,
        tags=["layer-pruning", "distillation", "onnx"],
        metrics=["accuracy"],
    )
    return ModelCard(f"""---
{header.to_yaml()}
---
# {described.base_model}{f", {size:.2f} times smaller" if size > 1 else ""}

It classifies product reviews as negative or positive. {layers}{trimmed}{asked}

```python
from transformers import pipeline

classify = pipeline("text-classification", model="path/of/this/folder", truncation=True)
```

`{FILES["onnx"]}` and `{FILES["onnx_int8"]}` take `input_ids` and `attention_mask` and give `logits`.

## Data

{data.rows:,} texts from {data.source}, cleaned; {len(variant.tokens["train"]):,} of them for training and
{whole.n:,} for the test. sha256 of the reviews: `{data.sha256}`.

## Accuracy on the test split

| | accuracy, 95 % interval | retention of the whole model's accuracy | megabytes |
|---|---|---|---|
| the whole model | {_format_percent(whole)} | | |
{rows}

{exported.parameters:,} parameters; a review of {exported.tokens} tokens takes {exported.macs / 1e6:.1f} million
multiply-accumulate operations.

## Limits

- It was measured only on reviews like those of its training: other products, languages and kinds of text may do worse.
- Neutral reviews were left out: the model classifies them as negative or positive.
- Texts are truncated after {variant.tokenizer.model_max_length} tokens.
- Logits in 8 bits differ from those in 32 by up to {exported.largest_difference["onnx_int8"]:.2f}.
""")


def _format_percent(share: Interval) -> str:
    return f"{share.value:.1%} ({share.low:.1%} to {share.high:.1%})"
