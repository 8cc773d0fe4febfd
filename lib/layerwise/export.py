"""Export a classifier: a Hugging Face folder with ONNX models in 32 and in 8 bits."""

import copy
import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from layerwise.batches import Batch
from layerwise.errors import InputError

FILES = {"pytorch": "model.safetensors", "onnx": "onnx/model.onnx", "onnx_int8": "onnx/model_int8.onnx"}
INPUTS = ("input_ids", "attention_mask")
MAX_TOKENS = 4096  # of an input, where nothing else limits it
TOLERANCE = 1e-3  # of logits, between PyTorch and ONNX in 32 bits
Runtime = Callable[[Batch], np.ndarray]  # from a batch to logits (examples, classes), on one thread


def refuse_existing(folder: Path) -> None:
    """Raise an InputError if the folder exists. To be called before any work is done: nothing is overwritten."""
    if folder.exists():
        raise InputError(f"the folder {folder.name} exists in {folder.parent}: move it away, it is not overwritten")


def export_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: str | Path, onnx: bool = True
) -> None:
    """Write a classifier to a new folder that `from_pretrained` and onnxruntime read, completely or not at all.

    In 8 bits, weights are quantized for each channel, and activations dynamically.

    Args:
        model: a sequence classifier.
        tokenizer: of the model.
        folder: it must not exist.
        onnx: also write ONNX models in 32 and in 8 bits; this needs the extra `export`.

    Raises:
        InputError: the folder exists or cannot be written, a package of ONNX is not installed, or ONNX does not know an
            operation of the model.
    """
    folder = Path(folder)
    refuse_existing(folder)
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        if onnx:
            _write_onnx(model, tokenizer, part)
        part.rename(folder)
    except ModuleNotFoundError as error:
        raise InputError(
            f"ONNX needs the module {error.name}: pip install 'layerwise[export]', or set onnx=False"
        ) from error
    except OSError as error:
        raise InputError(f"cannot write the model to {folder}: {error.strerror or error}") from error
    except torch.onnx.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{type(model).__name__} cannot be exported to ONNX: {reason}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def load_runtimes(folder: Path) -> dict[str, Runtime]:
    """The classifier of an exported folder on the CPU: in PyTorch, and in onnxruntime in 32 and in 8 bits.

    Raises:
        OSError: the folder has no model; ModuleNotFoundError: onnxruntime is not installed.
    """
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.no_grad()
    def in_pytorch(batch: Batch) -> np.ndarray:
        return model(**{name: batch[name] for name in INPUTS}).logits.numpy()

    return {"pytorch": in_pytorch} | {name: _in_onnx(folder / FILES[name]) for name in ("onnx", "onnx_int8")}


def _write_onnx(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    (folder / "onnx").mkdir()
    level = logging.root.manager.disable
    try:
        with warnings.catch_warnings(action="ignore"):  # of the exporter, about itself
            logging.disable(logging.WARNING)
            _to_onnx(model, tokenizer, folder / FILES["onnx"])
            # A bit less than eight, so that sums do not overflow on processors without the newest instructions.
            options = {"per_channel": True, "reduce_range": True, "weight_type": QuantType.QInt8}
            quantize_dynamic(folder / FILES["onnx"], folder / FILES["onnx_int8"], **options)
    finally:
        logging.disable(level)


def _to_onnx(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, file: Path) -> None:
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    class Logits(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = copy.deepcopy(model).cpu().float().eval()

        def forward(self, input_ids, attention_mask):
            return self.model(input_ids=input_ids, attention_mask=attention_mask).logits

    traced, longest = Logits(), min(tokenizer.model_max_length, MAX_TOKENS)
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
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = 1
    session = InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(None, {name: batch[name].numpy() for name in INPUTS})[0]
