"""The device that models run on, and the precision that they compute in."""

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import PreTrainedModel


def reproducible_device() -> torch.device:
    """The GPU if there is one, with deterministic algorithms: the fastest ones add in another order each time."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by the first matrix product on the GPU
    torch.use_deterministic_algorithms(True)
    return torch.device("cuda")


@contextmanager
def lower_precision(model: PreTrainedModel, precision: str) -> Iterator[PreTrainedModel]:
    """The model, which computes in this precision within the context.

    Args:
        precision: `float32`; `tf32`, which on a GPU rounds the factors of matrix products to 10 bits; or `bfloat16`, a
            copy of the model whose weights and states have 7 bits.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield copy.deepcopy(model).bfloat16() if precision == "bfloat16" else model
    finally:
        torch.set_float32_matmul_precision(before)
