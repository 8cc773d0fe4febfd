"""Score the layers of a model by a method of the registry, or by one of your own."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from transformers import PreTrainedModel

from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Data, as_batches, check_labels, count_examples
from layerwise.errors import InputError
from layerwise.grading import top_layers
from layerwise.importance import METHODS
from layerwise.statistics import Stability, bootstrap_counts, bootstrap_layers

if TYPE_CHECKING:  # the registry imports them by name; the workflow reads here what scores depend on
    from layerwise.importance import (  # noqa: F401
        ablation,
        conductance,
        fisher,
        gradient,
        influence,
        mutual_information,
        patching,
        shap,
        uncertainty,
    )

ScoringFunction = Callable[..., np.ndarray]  # (adapter, batches, **options) -> (examples, layers)


@dataclass(frozen=True, eq=False, repr=False)
class LayerScores:
    """Scores of L layers on N examples, larger is more important.

    Attributes:
        per_example: (N, L).
        samples, seed: of the bootstrap over examples.
        clusters: (N,), what each example belongs to, such as a product: its examples are drawn together.
    """

    per_example: np.ndarray
    samples: int = 1000
    seed: int = 0
    clusters: np.ndarray | None = None

    @property
    def mean(self) -> np.ndarray:
        """(L,), the mean score of each layer."""
        return self.per_example.mean(0)

    @cached_property
    def _intervals_and_stability(self) -> tuple[list[tuple[float, float]], Stability]:
        if len(self.per_example) < 2:
            raise InputError("there is one example: an interval takes two or more")
        counts = bootstrap_counts(len(self.per_example), self.samples, self.seed, "analysis", self.clusters)
        return bootstrap_layers(self.per_example, counts)

    @property
    def interval(self) -> list[tuple[float, float]]:
        """The 95 % bootstrap interval of each mean: L pairs."""
        return self._intervals_and_stability[0]

    @property
    def stability(self) -> Stability:
        """Ranks of the layers, with their intervals over bootstrap samples."""
        return self._intervals_and_stability[1]

    def top_k(self, k: int) -> list[int]:
        """The k most important layers, in the order of the stack."""
        return top_layers(self.mean, k)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array(self.per_example, dtype=dtype, copy=copy)


def score(
    model: PreTrainedModel | LayerwiseAdapter,
    data: Data,
    method: str | ScoringFunction,
    samples: int = 1000,
    seed: int = 0,
    clusters: np.ndarray | None = None,
    **options,
) -> LayerScores:
    """Score the layers of a model, in eval mode.

    Args:
        model: a sequence classifier of Hugging Face, or its adapter.
        data: batches, or (tokenizer, texts), or (tokenizer, texts, labels).
        method: a name in `METHODS`, or a function `(adapter, batches) -> array (examples, layers)`.
        samples: bootstrap resamples behind each interval.
        seed: of the bootstrap.
        clusters: (examples,), what each example belongs to, such as a product; by default they are independent.
        options: further arguments of the method, such as `permutations=10` of shap.

    Raises:
        InputError: there is no such method or no example, a package or labels that the method needs are missing, or its
            result has a wrong shape or values that are not finite.

    >>> from layerwise.examples import tiny_classifier
    >>> model, tokenizer, texts, labels = tiny_classifier()
    >>> scores = score(model, (tokenizer, texts, labels), "ablation")
    >>> scores.per_example.shape
    (40, 4)
    >>> len(scores.top_k(2))
    2
    """
    adapter, batches = LayerwiseAdapter.of(model), as_batches(data)
    function, name = _find_method(method)
    if isinstance(method, str) and "labels" in METHODS[method].needs:
        check_labels(adapter.model, batches, method)
    with adapter.evaluating():
        scores = np.asarray(function(adapter, batches, **options))
    expected = (count_examples(batches), len(adapter))
    if scores.shape != expected:
        raise InputError(f"{name} returned shape {scores.shape}, not {expected} (examples, layers)")
    if not np.isfinite(scores).all():
        raise InputError(f"{name} returned {np.count_nonzero(~np.isfinite(scores))} values that are not finite")
    return LayerScores(scores, samples, seed, clusters)


def _find_method(method: str | ScoringFunction) -> tuple[ScoringFunction, str]:
    if callable(method):
        return method, getattr(method, "__name__", type(method).__name__)
    if not isinstance(method, str) or method not in METHODS:
        raise InputError(f"there is no method {method!r}; choose one of {', '.join(METHODS)}, or give a function")
    return METHODS[method].function, method
