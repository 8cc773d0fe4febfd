"""The check of an exercise in which the reader writes what the library has."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike


def check_answer(
    yours: ArrayLike, right: ArrayLike, mistakes: Mapping[str, ArrayLike] | None = None, tolerance: float = 1e-5
) -> str:
    """Say whether a reader's values are those of the library, and otherwise what is wrong with them.

    Args:
        yours, right: numbers or truth values of one shape.
        mistakes: values that a known mistake gives, by the sentence that names it.
        tolerance: largest difference that counts as equal.

    >>> check_answer([1.0, 2.0], [1.0, 2.0])
    'Right: the values are those of the library.'
    >>> check_answer([-1.0, -2.0], [1.0, 2.0], {"the sign is reversed": [-1.0, -2.0]})
    'Not yet: the sign is reversed.'
    """
    own, expected = np.asarray(yours, dtype=float), np.asarray(right, dtype=float)
    if own.shape != expected.shape:
        return f"Not yet: the shape is {own.shape}, and should be {expected.shape}."
    if np.allclose(own, expected, rtol=0, atol=tolerance):
        return "Right: the values are those of the library."
    for mistake, values in (mistakes or {}).items():
        if np.allclose(own, np.asarray(values, dtype=float), rtol=0, atol=tolerance):
            return f"Not yet: {mistake}."
    return f"Not yet: the largest difference from the library's values is {np.abs(own - expected).max():.2g}."
