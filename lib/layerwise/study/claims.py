"""Published figures, and how each one is measured here.

The figures are those of Wang (2025), "Comprehensive Layerwise Importance Analysis for Transformer Compression". They
are compared with measurements, and never printed as measurements.
"""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

from layerwise.statistics import Interval, combine_seeds
from layerwise.study.records import Runs
from layerwise.study.schemas import CheckedClaim

# Accuracy by ratio, for a model of 12 layers.
CLAIMED_ACCURACY = {1.35: 0.873, 1.8: 0.846, 2.5: 0.783}
# Methods that the publication names.
PUBLISHED_METHODS = ("fisher", "gradient", "ablation", "mutual_information", "conductance", "shap")


class Claim(NamedTuple):
    """A published figure.

    Attributes:
        name: of the figure.
        claimed: its value.
        measure: finds its counterpart in the results of one run; None if there is none.
    """

    name: str
    claimed: float
    measure: Callable[[dict[str, Any]], Interval | None]


def _accuracy_on(stages: dict[str, Any], part: str) -> Interval | None:
    return getattr(stages["training"], part).accuracy if "training" in stages else None


def _unique_texts(stages: dict[str, Any]) -> Interval | None:
    if "training" not in stages:
        return None
    data = stages["training"].data  # all texts of the source were counted, so the interval has no width
    return Interval(value=data.unique_text_ratio, low=data.unique_text_ratio, high=data.unique_text_ratio, n=data.rows)


def _accuracy_at(stages: dict[str, Any], ratio: float, healed: bool) -> Interval | None:
    if "compression" not in stages:
        return None
    result = stages["compression"]
    if not any(plan.ratio == ratio <= plan.reached for plan in result.plans):
        return None
    wanted = (result.choice, ratio, healed)
    return next((c.accuracy for c in result.candidates if (c.name, c.ratio, c.healed) == wanted), None)


CLAIMS = (
    Claim("texts that are unique", 0.872, _unique_texts),
    Claim("accuracy, test", 0.888, partial(_accuracy_on, part="test")),
    Claim("accuracy, validation", 0.887, partial(_accuracy_on, part="validation")),
    Claim("accuracy, training", 0.888, partial(_accuracy_on, part="train")),
    Claim("accuracy of the baseline", 0.75, partial(_accuracy_on, part="baseline")),
    *(
        Claim(f"accuracy at {ratio}x, {how}", claimed, partial(_accuracy_at, ratio=ratio, healed=healed))
        for ratio, claimed in CLAIMED_ACCURACY.items()
        for healed, how in ((False, "unhealed"), (True, "healed"))
    ),
)


def check_claims(study: str, runs: Runs) -> list[CheckedClaim]:
    """Compare every claim that a study measured, for each of its models; seeds are combined by `combine_seeds`."""
    checked = []
    for claim in CLAIMS:
        for model in dict.fromkeys(model for model, _ in runs):
            measured = [claim.measure(stages) for (name, _), stages in runs.items() if name == model]
            intervals = [interval for interval in measured if interval]
            if not intervals:
                continue
            interval = combine_seeds(intervals)
            above, below = interval.low > claim.claimed, interval.high < claim.claimed
            checked.append(
                CheckedClaim(
                    claim=claim.name,
                    claimed=claim.claimed,
                    study=study,
                    model=model,
                    seeds=len(intervals),
                    verdict="above" if above else "below" if below else "within",
                    **asdict(interval),
                )
            )
    return checked
