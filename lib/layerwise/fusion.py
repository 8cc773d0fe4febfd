"""Rankings of the layers, compared."""

from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import kendalltau


def agreement(scores: dict[str, ArrayLike]) -> dict[tuple[str, str], np.ndarray]:
    """Kendall's tau of every pair of methods, from scores (..., layers) a method: (...) a pair."""
    return {
        pair: kendalltau(*(np.asarray(scores[method]) for method in pair), axis=-1).statistic
        for pair in combinations(scores, 2)
    }


def agreement_over_seeds(scores: dict[tuple[str, int], dict[str, list[float]]]) -> pd.DataFrame:
    """Mean Kendall's tau between the rankings of every two seeds, a row a method and a column a subject.

    Args:
        scores: for each subject and seed, those of every method. Subjects with one seed are left out.
    """
    subjects = {}
    for (subject, seed), methods in scores.items():
        for method, values in methods.items():
            subjects.setdefault(subject, {}).setdefault(method, {})[seed] = values
    return pd.DataFrame(
        {
            subject: {method: np.mean(list(agreement(seeds).values())) for method, seeds in methods.items()}
            for subject, methods in subjects.items()
            if all(len(seeds) > 1 for seeds in methods.values())
        }
    )
