"""The device that models run on."""

import torch


def reproducible_device() -> torch.device:
    """The GPU if there is one, with deterministic algorithms: the fastest ones add in another order each time."""
    torch.use_deterministic_algorithms(torch.cuda.is_available())
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
