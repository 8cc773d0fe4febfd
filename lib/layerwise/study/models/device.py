"""The device that models run on."""

import os

import torch


def reproducible_device() -> torch.device:
    """The GPU if there is one, with deterministic algorithms: the fastest ones add in another order each time."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by the first matrix product on the GPU
    torch.use_deterministic_algorithms(True)
    return torch.device("cuda")
