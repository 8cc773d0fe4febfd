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


def mark_seeds(differences: Sequence[Interval], lower_is_better: bool = False) -> str:
    """The mark of a difference that was measured with several seeds: the one that all have, or how many have each."""
    counts = Counter(mark(each, lower_is_better) for each in differences)
    return next(iter(counts)) if len(counts) == 1 else ", ".join(f"{known} {n}" for known, n in counts.most_common())


def marked_mean(differences: Sequence[Interval], lower_is_better: bool = False) -> str:
    """A difference over seeds in points, with its interval and mark; empty if there is none."""
    if not differences:
        return ""
    return f"{combine_seeds(differences).points}, {mark_seeds(differences, lower_is_better)}"


def count_marks(differences: Mapping[str, Iterable[Interval | None]]) -> pd.DataFrame:
    """A row a comparison: in how many cases it was measured, and how many of their differences have each mark."""
    rows = []
    for name, each in differences.items():
        measured = [difference for difference in each if isinstance(difference, Interval)]
        counts = Counter(map(mark, measured))
        rows.append({"compared": name, "measured": len(measured)} | {m: counts[m] for m in MARKS})
    return pd.DataFrame(rows)
