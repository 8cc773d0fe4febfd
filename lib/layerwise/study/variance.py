"""Components of the variance of accuracy: how far choices of layers differ, and how far the seeds of one choice do."""

import numpy as np


def two_way_components(accuracies: np.ndarray) -> np.ndarray:
    """Components of a two-way analysis of variance, unbiased, so that they can be negative.

    Args:
        accuracies: (..., C, S) of C choices with S seeds, at least two of each.

    Returns:
        (3, ...): between the choices, without what is due to their seeds; between the seeds of one choice; and the
        interaction, which is the part of the latter that is not common to all choices.

    Source: Searle, Casella & McCulloch (1992).

    >>> two_way_components(np.array([[0.5, 0.7], [0.6, 0.8], [0.7, 0.9]])).round(3).tolist()
    [0.01, 0.02, 0.0]
    """
    choices, seeds = accuracies.shape[-2:]
    of_choice, of_seed = accuracies.mean(-1, keepdims=True), accuracies.mean(-2, keepdims=True)
    rest = accuracies - of_choice - of_seed + accuracies.mean((-2, -1), keepdims=True)
    interaction = (rest**2).sum((-2, -1)) / ((choices - 1) * (seeds - 1))
    between = of_choice[..., 0].var(-1, ddof=1) - interaction / seeds
    return np.stack([between, accuracies.var(-1, ddof=1).mean(-1), interaction])


def compare_variances(values: np.ndarray, counts: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Variance of accuracy between choices, and between the seeds of one choice, in each resample of the reviews.

    Both are those of the accuracy on new reviews: two models that are equally good there still differ on a few hundred
    reviews. So products of two accuracies count pairs of different reviews only, and no review's own variance enters.
    In the resamples both also vary as with other seeds, by the normal theory of these components. The choices are
    fixed.

    Args:
        values: (C, S, N), the metric of each prediction, for at least two choices and two seeds.
        counts: (R, N), of `bootstrap_counts`.
        seed: of the draws that stand for other seeds.

    Returns:
        (R,) of the choices, and (R,) of the seeds; the first entry is the estimate.
    """
    choices, seeds, _ = values.shape
    drawn_examples = counts.sum(1)
    accuracies = np.moveaxis(np.tensordot(values, counts, axes=(2, 1)) / drawn_examples, -1, 0)  # (R, C, S)
    single = two_way_components(np.moveaxis(values, -1, 0))  # (3, N), of each review with itself
    squares = counts.astype(float) ** 2
    pairs = drawn_examples.astype(float) ** 2
    paired = (pairs * two_way_components(accuracies) - single @ squares.T) / (pairs - squares.sum(1))
    between, within, interaction = paired
    rng, degrees, more = np.random.default_rng(seed), choices - 1, choices * (seeds - 1)
    error = np.maximum(interaction, 0) / seeds  # of the mean of a choice
    drawn = 2 * np.sqrt(np.maximum(between, 0) * error / degrees) * rng.standard_normal(len(counts))
    drawn += error * (rng.chisquare(degrees, len(counts)) / degrees - 1)
    stretched = more / rng.chisquare(more, len(counts))
    drawn[0], stretched[0] = 0, 1
    return between + drawn, within * stretched
