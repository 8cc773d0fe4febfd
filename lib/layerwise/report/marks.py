"""Differences that a build measured, each with a mark: better, worse, or not shown."""

from collections.abc import Mapping

import pandas as pd

from layerwise.statistics import Interval


def mark(difference: Interval, lower_is_better: bool = False) -> str:
    """On which side of zero the whole 95 % interval of a difference lies."""
    if lower_is_better:
        return {"better": "worse", "worse": "better"}.get(known := mark(difference), known)
    return "better" if difference.low > 0 else "worse" if difference.high < 0 else "not shown"


def marks_table(
    differences: Mapping[str, Interval], unit: str = "points", lower_is_better: bool = False
) -> pd.DataFrame:
    """A row a comparison: the difference with its 95 % interval, and its mark.

    Args:
        differences: by what is compared, as in "minilm less TF-IDF + logistic regression".
        unit: heading of the column of differences, which are multiplied by a hundred.
        lower_is_better: for losses, where a difference above zero is worse.
    """
    return pd.DataFrame(
        {
            "compared": list(differences),
            f"difference ({unit})": [each.points for each in differences.values()],
            "mark": [mark(each, lower_is_better) for each in differences.values()],
        }
    )
