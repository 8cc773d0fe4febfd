"""Differences that a build measured, each with a mark: better, worse, or not shown."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from layerwise.statistics import Interval, combine_seeds

MARKS = ("better", "worse", "not shown")


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


def name_seeds(measured: int, seeds: int) -> str:
    """How many of the seeds of a model a number is from, to be written after it; nothing where there is one seed."""
    return "" if seeds == 1 else f", {seeds} seeds" if measured == seeds else f", {measured} of {seeds} seeds"


def marked_mean(differences: Sequence[Interval], lower_is_better: bool = False, seeds: int | None = None) -> str:
    """The mean of a difference over seeds in points, with its interval and mark; empty if there is none.

    Args:
        seeds: of the model; by default all of them have this difference.
    """
    if not differences:
        return ""
    combined, measured = combine_seeds(differences), len(differences)
    return f"{combined.points}, {mark(combined, lower_is_better)}{name_seeds(measured, seeds or measured)}"


def count_marks(differences: Mapping[str, Iterable[Interval | None]]) -> pd.DataFrame:
    """A row a comparison: in how many cases it was measured, and how many of their differences have each mark."""
    rows = []
    for name, each in differences.items():
        measured = [difference for difference in each if isinstance(difference, Interval)]
        counts = Counter(map(mark, measured))
        rows.append({"compared": name, "measured": len(measured)} | {m: counts[m] for m in MARKS})
    return pd.DataFrame(rows)
