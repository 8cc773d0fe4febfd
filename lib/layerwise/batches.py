"""Batches of examples: dictionaries of tensors, as a tokenizer and a model use them."""

import inspect
from collections.abc import Sequence

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
        InputError: there are no texts, or not as many labels as texts.

    >>> from layerwise.examples import tiny_classifier
    >>> model, tokenizer, texts, labels = tiny_classifier()
    >>> [batch["input_ids"].shape[0] for batch in encode(tokenizer, texts, labels, batch_size=16)]
    [16, 16, 8]
    """
    if not len(texts):
        raise InputError("there are no texts: give at least one")
    if labels is not None and len(labels) != len(texts):
        raise InputError(f"there are {len(texts)} texts and {len(labels)} labels: give one label for each text")
    batches = []
    for start in range(0, len(texts), batch_size):
        part = list(texts[start : start + batch_size])
        options = {"padding": True, "truncation": True, "max_length": max_length, "return_tensors": "pt"}
        batch = dict(tokenizer(part, **options))
        if labels is not None:
            batch["labels"] = torch.as_tensor(list(labels[start : start + batch_size]))
        batches.append(batch)
    return batches


def as_batches(data: Data) -> list[Batch]:
    """Batches from batches, or from `(tokenizer, texts)` or `(tokenizer, texts, labels)`.

    Raises:
        InputError: there is no example, or the data are neither of these.
    """
    if isinstance(data, tuple) and data and isinstance(data[0], PreTrainedTokenizerBase):
        return encode(*data)
    batches = [dict(batch) for batch in data if isinstance(batch, dict | BatchEncoding)]
    if len(batches) < len(data) or any("input_ids" not in batch for batch in batches):
        raise InputError("the data are no batches: give dictionaries with input_ids, or (tokenizer, texts, labels)")
    if not count_examples(batches):
        raise InputError("there is no example: the data are empty")
    for batch in batches:
        batch.setdefault("attention_mask", torch.ones_like(batch["input_ids"]))
    return batches


def count_examples(batches: Sequence[Batch]) -> int:
    """Examples in all batches together."""
    return sum(len(batch["input_ids"]) for batch in batches)


def model_inputs(model: PreTrainedModel, batch: Batch) -> Batch:
    """The part of a batch that a model takes, on the model's device; its labels are left out."""
    taken = inspect.signature(model.forward).parameters.keys() - {"labels"}
    return {name: value.to(model.device) for name, value in batch.items() if name in taken}
