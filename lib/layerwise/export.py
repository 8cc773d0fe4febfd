"""A model that leaves the book: a Hugging Face folder with its card, and ONNX in 32 and in 8 bits."""

import copy
import logging
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from huggingface_hub import ModelCard, ModelCardData
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from onnxruntime import InferenceSession, SessionOptions
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from layerwise import classifier, compression, cost
from layerwise.compression import Version
from layerwise.errors import InputError
from layerwise.results import Exported, Interval, Timing, TrainingResult

FILES = {"pytorch": "model.safetensors", "onnx": "onnx/model.onnx", "onnx_int8": "onnx/model_int8.onnx"}
INPUTS = ("input_ids", "attention_mask")
LONGEST = 4096  # tokens that an exported model is made for, where nothing else limits it
TOLERANCE = 1e-3  # of logits, between PyTorch and ONNX in 32 bits
BATCHES = (1, 32)  # reviews, of which latency is measured

Runtime = Callable[[dict[str, torch.Tensor]], np.ndarray]  # from a batch to logits (batch, classes), on one thread


def refuse_existing(folder: Path) -> None:
    """Say so before any work is done: what is there is not overwritten.

    Raises:
        InputError: the folder exists.
    """
    if folder.exists():
        raise InputError(f"the folder {folder.name} exists in {folder.parent}: move it away, it is not overwritten")


def export(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, folder: Path) -> None:
    """Write a folder that `from_pretrained` and onnxruntime read anywhere, whole or not at all.

    In 8 bits the weights are rounded channel by channel, and activations as they come (dynamic quantization).

    Raises:
        InputError: the folder exists or cannot be written, or ONNX does not know an operation of the model.
    """
    refuse_existing(folder)
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    classifier.save(tokenizer, model, part)
    try:
        (part / "onnx").mkdir()
        with warnings.catch_warnings(action="ignore"):  # of the exporter, about itself
            logging.disable(logging.WARNING)
            _to_onnx(model, tokenizer, part / FILES["onnx"])
            # A bit less than eight, so that sums do not overflow on processors without the newest instructions.
            options = {"per_channel": True, "reduce_range": True, "weight_type": QuantType.QInt8}
            quantize_dynamic(part / FILES["onnx"], part / FILES["onnx_int8"], **options)
        part.rename(folder)
    except OSError as error:
        raise InputError(f"cannot write the model to {folder}: {error.strerror or error}") from error
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{type(model).__name__} cannot be exported to ONNX: {reason}") from error
    finally:
        logging.disable(logging.NOTSET)


def runtimes(folder: Path) -> dict[str, Runtime]:
    """The classifier of a folder on the CPU in PyTorch, and in onnxruntime in 32 and in 8 bits."""
    model = classifier.load(folder)[1].cpu().eval()

    @torch.no_grad()
    def in_pytorch(batch: dict[str, torch.Tensor]) -> np.ndarray:
        return model(**{name: batch[name] for name in INPUTS}).logits.numpy()

    return {"pytorch": in_pytorch} | {name: _in_onnx(folder / FILES[name]) for name in ("onnx", "onnx_int8")}


def measure(
    folder: Path, ratio: float, kept: list[int], version: Version, whole: np.ndarray, counts: np.ndarray
) -> Exported:
    """What is in a folder of `export`, read from there and tried on the test split in each runtime.

    Args:
        ratio: for which it was made; 1 is the whole model.
        version: whose vocabulary it has.
        whole: (N,) bool, whether the whole model's predictions are right.
        counts: (R, N), of `grading.resamples`.
    """
    labels = np.concatenate([batch["labels"] for batch in version.test])
    found = {name: np.concatenate([run(batch) for batch in version.test]) for name, run in runtimes(folder).items()}
    _, model = classifier.load(folder)
    review = cost.typical_batch(version.tokens["test"], 1)
    return Exported(
        ratio=ratio,
        folder=folder.name,
        layers=kept,
        parameters=model.num_parameters(),
        tokens=review["input_ids"].shape[1],
        macs=cost.macs(model.eval(), review),
        bytes={name: (folder / file).stat().st_size for name, file in FILES.items()},
        judged={name: compression.judge(each.argmax(1) == labels, whole, counts) for name, each in found.items()},
        largest_difference={name: float(np.abs(each - found["pytorch"]).max()) for name, each in found.items()},
    )


def timings(folders: dict[float, tuple[Path, Dataset]], rounds: int = 7) -> list[Timing]:
    """How long a batch of 1 and of 32 typical reviews takes each model in each runtime, measured in turn.

    Args:
        folders: of `export`, by ratio, each with reviews as its own tokenizer cuts them.
    """
    calls = {
        (ratio, name, size): partial(run, cost.typical_batch(tokens, size))
        for ratio, (folder, tokens) in folders.items()
        for name, run in runtimes(folder).items()
        for size in BATCHES
    }
    return [
        Timing(
            ratio=ratio,
            runtime=name,
            batch=size,
            milliseconds=median,
            low=low,
            high=high,
            reviews_per_second=1000 * size / median,
        )
        for (ratio, name, size), (median, low, high) in cost.latencies(calls, rounds).items()
    ]


def card(exported: Exported, choice: str, whole: Interval, trained: TrainingResult, version: Version) -> ModelCard:
    """The model card: what it is made of, what it learned from, what it was measured on, and its limits.

    Args:
        choice: whose choice its layers are.
        whole: accuracy of the whole model on the test split.
        version: whose vocabulary it has.
    """
    data, described = trained.data, trained.model
    smaller = len(exported.layers) < described.layers
    layers = (
        f"Of layers 0 to {described.layers - 1} it keeps {', '.join(map(str, exported.layers))}, chosen by "
        f"{choice.replace('_', ' ')}, and learned by distillation from the whole model to do without the others."
        if smaller
        else f"It has all {described.layers} layers."
    )
    words = version.model.config.vocab_size
    trimmed = (
        f" Its vocabulary is trimmed to the {words:,} tokens that its training texts are made of, of "
        f"{described.vocabulary_size:,}."
        if words < described.vocabulary_size
        else ""
    )
    size = described.parameters / exported.parameters
    rows = "\n".join(
        f"| {FILES[runtime]} | {_percent(found.accuracy)} | {_percent(found.retention)} | "
        f"{exported.bytes[runtime] / 1e6:.2f} |"
        for runtime, found in exported.judged.items()
    )
    header = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        language="en" if max(data.languages, key=data.languages.get) == "English" else None,
        tags=["layer-pruning", "distillation", "onnx"],
        metrics=["accuracy"],
    )
    return ModelCard(f"""---
{header.to_yaml()}
---
# {described.base_model}{f", {size:.2f} times smaller" if size > 1 else ""}

It calls a product review negative or positive. {layers}{trimmed}

```python
from transformers import pipeline

classify = pipeline("text-classification", model="path/of/this/folder", truncation=True)
```

`{FILES["onnx"]}` and `{FILES["onnx_int8"]}` take `input_ids` and `attention_mask` and give `logits`.

## Data

{data.rows:,} texts from {data.source}, cleaned; {len(version.tokens["train"]):,} of them to learn from and
{whole.n:,} to test on. sha256 of the reviews: `{data.sha256}`.

## Accuracy on the test split

| | accuracy, 95 % interval | of the whole model's | megabytes |
|---|---|---|---|
| the whole model | {_percent(whole)} | | |
{rows}

{exported.parameters:,} parameters; a review of {exported.tokens} tokens takes {exported.macs / 1e6:.1f} million
multiplications and additions.

## Limits

- Measured on reviews like those that it learned from, and on nothing else: other goods, other languages and other kinds
  of text may do worse.
- It knows negative and positive. Neutral reviews were left out, and it calls them one or the other.
- Texts are cut after {version.tokenizer.model_max_length} tokens.
- Logits in 8 bits differ from those in 32 by up to {exported.largest_difference["onnx_int8"]:.2f}.
""")


def _to_onnx(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, file: Path) -> None:
    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = copy.deepcopy(model).cpu().float().eval()

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    traced, longest = Logits(), min(tokenizer.model_max_length, LONGEST)
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", max=longest)}
    program = torch.onnx.export(
        traced,
        _padded(tokenizer, 2, 8),
        input_names=list(INPUTS),
        output_names=["logits"],
        dynamic_shapes=(axes, axes),
        dynamo=True,
        verbose=False,
    )
    ClearMetadataAndDocStringPass()(program.model)  # which name the files on this machine that the model was traced in
    program.save(file)
    run = _in_onnx(file)
    for size, length in ((1, 3), (3, longest)):  # other shapes than the one that was traced
        inputs = _padded(tokenizer, size, length)
        with torch.no_grad():
            apart = np.abs(run(dict(zip(INPUTS, inputs, strict=True))) - traced(*inputs).numpy()).max()
        if not apart < TOLERANCE:
            raise InputError(
                f"{type(model).__name__} in ONNX gives other logits, by {apart:.2g}: it cannot be exported"
            )


def _padded(tokenizer: PreTrainedTokenizerBase, size: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask (size, length), the first row padded by a third."""
    ids = torch.arange(size * length).reshape(size, length) % len(tokenizer)
    mask = torch.ones_like(ids)
    mask[0, length - length // 3 :] = 0
    return ids.masked_fill(mask == 0, tokenizer.pad_token_id), mask


def _in_onnx(file: Path) -> Runtime:
    options = SessionOptions()
    options.intra_op_num_threads = 1
    session = InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {name: batch[name].numpy() for name in INPUTS})[0]


def _percent(found: Interval) -> str:
    return f"{found.value:.1%} ({found.low:.1%} to {found.high:.1%})"
