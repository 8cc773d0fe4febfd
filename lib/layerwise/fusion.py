"""Rankings of the layers, compared."""

from itertools import combinations

import pandas as pd
from scipy.stats import kendalltau


def agreement(scores: dict[str, list[float]]) -> pd.Series:
    """Kendall's tau of every pair of methods, from their scores (a float a layer); the index holds the pairs."""
    taus = {pair: kendalltau(*(scores[method] for method in pair)).statistic for pair in combinations(scores, 2)}
    return pd.Series(taus)
