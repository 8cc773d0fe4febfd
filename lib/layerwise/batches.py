"""Batches of examples: dictionaries of tensors, as a tokenizer and a model use them."""

import inspect
from collections.abc import Iterable, Sequence

import torch
from transformers import BatchEncoding, PreTrainedModel, PreTrainedTokenizerBase

from layerwise.errors import InputError

Batch = dict[str, torch.Tensor]
Data = (
    Sequence[Batch] | tuple[PreTrainedTokenizerBase, Sequence[str]] | tuple[PreTrainedTokenizerBase, Sequence, Sequence]
)


def encode(
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    labels: Sequence[int] | None = None,
    batch_size: int = 32,
    max_length: int | None = None,
) -> list[Batch]:
    """Tokenize texts into padded batches.

    Args:
        texts: N strings.
        labels: N class indices, if they are known.
        batch_size: examples in a batch.
        max_length: tokens at which a text is cut; by default the tokenizer's own limit.

    Returns:
        Batches of input_ids and attention_mask (examples, tokens) and, if given, labels (examples,).

    Raises:
        InputError: there are no texts, not as many labels as texts, or labels that are not class indices.

    >>> from layerwise.examples import tiny_classifier
    >>> model, tokenizer, texts, labels = tiny_classifier()
    >>> [batch["input_ids"].shape[0] for batch in encode(tokenizer, texts, labels, batch_size=16)]
    [16, 16, 8]
    """
    if isinstance(texts, str) or not len(texts):
        raise InputError("there are no texts: give a list of at least one")
    if labels is not None and len(labels) != len(texts):
        raise InputError(f"there are {len(texts)} texts and {len(labels)} labels: give one label for each text")
    batches = []
    for start in range(0, len(texts), batch_size):
        part = list(texts[start : start + batch_size])
        options = {"padding": True, "truncation": True, "max_length": max_length, "return_tensors": "pt"}
        batch = dict(tokenizer(part, **options))
        if labels is not None:
            batch["labels"] = _class_indices(labels[start : start + batch_size])
        batches.append(batch)
    return batches


def as_batches(data: Data) -> list[Batch]:
    """Batches from batches, or from `(tokenizer, texts)` or `(tokenizer, texts, labels)`.

    Raises:
        InputError: there is no example, or the data are neither of these.
    """
    if isinstance(data, tuple) and data and isinstance(data[0], PreTrainedTokenizerBase) and len(data) in (2, 3):
        return encode(*data)
    listed = [] if isinstance(data, dict | BatchEncoding) else list(data) if isinstance(data, Iterable) else [data]
    batches = [dict(batch) for batch in listed if isinstance(batch, dict | BatchEncoding)]
    tensors = all(isinstance(batch.get("input_ids"), torch.Tensor) for batch in batches)
    if isinstance(data, dict | BatchEncoding) or len(batches) < len(listed) or not tensors:
        raise InputError(
            "the data are no batches: give a list of dictionaries with tensors input_ids, or (tokenizer, texts, labels)"
        )
    if not count_examples(batches):
        raise InputError("there is no example: the data are empty")
    for batch in batches:
        batch.setdefault("attention_mask", torch.ones_like(batch["input_ids"]))
    return batches


def count_examples(batches: Sequence[Batch]) -> int:
    """Examples in all batches together."""
    return sum(len(batch["input_ids"]) for batch in batches)


def check_labels(model: PreTrainedModel, batches: Sequence[Batch], purpose: str) -> None:
    """Check that all examples have labels that the model can predict.

    Args:
        purpose: what needs the labels, for the message.

    Raises:
        InputError: labels are missing or not class indices of the model, or the model has less than two classes.
    """
    classes = model.config.num_labels
    if classes < 2:
        raise InputError(f"{type(model).__name__} has {classes} class: give a classifier of two classes or more")
    for batch in batches:
        if "labels" not in batch:
            raise InputError(f"{purpose} needs labels: give (tokenizer, texts, labels), or batches with labels")
        labels = _class_indices(batch["labels"])
        wrong = labels[(labels < 0) | (labels >= classes)]
        if len(wrong):
            raise InputError(f"there is a label {int(wrong[0])}: labels are class indices from 0 to {classes - 1}")


def model_inputs(model: PreTrainedModel, batch: Batch) -> Batch:
    """The part of a batch that a model takes, on the model's device; its labels are left out."""
    named = inspect.signature(model.forward).parameters.keys()
    taken = (named if "input_ids" in named else batch.keys()) - {"labels"}  # a wrapper may name none
    return {name: value.to(model.device) for name, value in batch.items() if name in taken}


def _class_indices(labels: Sequence[int] | torch.Tensor) -> torch.Tensor:
    try:
        indices = torch.as_tensor(labels if isinstance(labels, torch.Tensor) else list(labels))
    except (TypeError, ValueError):
        indices = torch.empty(0, 0)
    if indices.ndim != 1 or indices.is_floating_point() or indices.dtype == torch.bool:
        raise InputError(f"labels are class indices such as 0 and 1, not {next(iter(labels), None)!r}")
    return indices.long()
