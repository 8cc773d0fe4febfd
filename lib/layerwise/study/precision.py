"""What a lower precision changes in the table of sub-networks."""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedModel

from layerwise.batches import Batch
from layerwise.evaluation import evaluate
from layerwise.study.schemas import PrecisionCheck
from layerwise.subnetworks import SubnetworkTable

COMPARED = 64  # sub-networks, drawn at random


def compare_with_float32(
    table: SubnetworkTable, model: PreTrainedModel, batches: Sequence[Batch], precision: str, seed: int
) -> PrecisionCheck:
    """Evaluate some sub-networks of a table again in float32, on all of its examples.

    Args:
        table: computed in the lower precision.
        model: in float32.
        batches: that the table was computed on.
    """
    draw = np.random.default_rng(seed)
    rows = draw.choice(len(table.masks), min(COMPARED, len(table.masks)), replace=False)
    exact = evaluate(model, batches, table.masks[rows])
    differences = np.abs(exact.mean_values - table.mean_values[rows])
    return PrecisionCheck(
        precision=precision,
        subnetworks=len(rows),
        examples=table.examples,
        differing=float((exact.values != table.values[rows]).mean()),
        mean_difference=float(differences.mean()),
        largest_difference=float(differences.max()),
    )
