"""Work that a killed run had finished is not repeated: models and sub-networks are cached by all that decides them."""

import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import grimp
import joblib
import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel

from layerwise import evaluation
from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch
from layerwise.evaluation import BatchEvaluation, Metric


def fingerprint(modules: Iterable[str], *values: object) -> str:
    """A key of a result: it changes with the code of these modules of layerwise, and with these values.

    Args:
        modules: dotted names; their code counts, and that of all modules that they import.
        values: all else that decides the result.
    """
    code = [_code_sha256(module) for module in sorted(set(modules))]
    return hashlib.sha256(repr((code, values)).encode()).hexdigest()[:12]


def weights_sha256(model: PreTrainedModel) -> str:
    """The sha256 of a model's weights."""
    digest = hashlib.sha256()
    for weight in model.state_dict().values():
        digest.update(weight.cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def tokens_sha256(rows: Dataset) -> str:
    """The sha256 of the tokens and labels of a tokenized dataset."""
    digest = hashlib.sha256()
    columns = [name for name in ("input_ids", "labels") if name in rows.column_names]
    for batch in rows.select_columns(columns).iter(1000):
        digest.update(repr(batch).encode())
    return digest.hexdigest()


def batches_sha256(batches: Iterable[Batch]) -> str:
    """The sha256 of batches: names and values."""
    digest = hashlib.sha256()
    for batch in batches:
        for name, value in batch.items():
            digest.update(repr((name, value.shape)).encode())
            digest.update(value.cpu().contiguous().numpy())
    return digest.hexdigest()


def cached_evaluation(folder: Path, model: PreTrainedModel) -> BatchEvaluation:
    """`evaluation.evaluate_batch` with a cache on disk, so that a killed evaluation resumes at its last batch.

    Args:
        folder: of the cache; delete it when the results are saved.
        model: that is evaluated.
    """
    weights, config = weights_sha256(model), model.config.to_json_string()
    compute: Callable = joblib.Memory(folder, verbose=0).cache(_evaluate, ignore=["adapter", "batch"])

    def evaluate(adapter: LayerwiseAdapter, batch: Batch, masks: np.ndarray, metric: Metric):
        precision = torch.get_float32_matmul_precision()
        key = fingerprint([evaluation.__name__, metric.__module__], weights, config, model.device, precision)
        examples = joblib.hash([key, *(value.numpy() for value in batch.values())])
        return compute(adapter, batch, masks, metric, examples)

    return evaluate


def _evaluate(adapter: LayerwiseAdapter, batch: Batch, masks: np.ndarray, metric: Metric, examples: str):
    """The values of a batch, which is cached by `examples`: a hash of the batch and of the model."""
    return evaluation.evaluate_batch(adapter, batch, masks, metric)


@cache
def _code_sha256(module: str) -> str:
    graph = grimp.build_graph("layerwise", cache_dir=None)
    digest, root = hashlib.sha256(), Path(__file__).parents[2]
    for name in sorted({module, *graph.find_upstream_modules(module)}):
        path = root.joinpath(*name.split("."))
        digest.update((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_bytes())
    return digest.hexdigest()
