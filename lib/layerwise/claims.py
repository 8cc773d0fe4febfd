"""What the published study claims, and how each figure is measured here.

The figures are those of Wang (2025), "Comprehensive Layerwise Importance Analysis for Transformer Compression". They
are here to be set beside what was measured, and never stand for it.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from pydantic import BaseModel

from layerwise import compression
from layerwise.recorded import Runs
from layerwise.results import Interval, Tested, over_seeds

SIX = ("fisher", "gradient", "ablation", "mutual_information", "conductance", "shap")  # methods that the study names


class Claim(NamedTuple):
    """A figure that is claimed; `measure` finds its counterpart in the results of one run, or None if there is none.

    `on_test` are those of the model, whole or smaller, on reviews that nothing was learned or chosen from.
    """

    name: str
    said: float
    measure: Callable[[dict[str, BaseModel]], Interval | None]
    on_test: bool = False


def _trained(stages: dict[str, BaseModel], part: str) -> Interval | None:
    return getattr(stages["1_training"], part).accuracy if "1_training" in stages else None


def _unique(stages: dict[str, BaseModel]) -> Interval | None:
    if "1_training" not in stages:
        return None
    data = stages["1_training"].data  # all texts of the source were counted, so that nothing is uncertain
    return Interval(value=data.unique_text_ratio, low=data.unique_text_ratio, high=data.unique_text_ratio, n=data.rows)


def _compressed(stages: dict[str, BaseModel], ratio: float, healed: bool) -> Interval | None:
    if "6_compression" not in stages:
        return None
    result = stages["6_compression"]
    if not any(plan.ratio == ratio <= plan.reached for plan in result.plans):
        return None
    wanted = (result.choice, ratio, healed)
    return next((c.accuracy for c in result.candidates if (c.name, c.ratio, c.healed) == wanted), None)


CLAIMS = (
    Claim("texts that are unique", 0.872, _unique),
    Claim("accuracy, test", 0.888, partial(_trained, part="test"), on_test=True),
    Claim("accuracy, validation", 0.887, partial(_trained, part="validation")),
    Claim("accuracy, training", 0.888, partial(_trained, part="train")),
    Claim("accuracy of the baseline", 0.75, partial(_trained, part="baseline")),
    *(
        Claim(f"accuracy at {ratio}x, {how}", said, partial(_compressed, ratio=ratio, healed=healed), on_test=True)
        for ratio, said in compression.CLAIMS.items()
        for healed, how in ((False, "as it is"), (True, "healed"))
    ),
)


def beside(study: str, runs: Runs) -> list[Tested]:
    """Every claim that a study measured, for each of its subjects; over several seeds as `over_seeds` says."""
    found = []
    for claim in CLAIMS:
        for subject in dict.fromkeys(subject for subject, _ in runs):
            measured = [claim.measure(stages) for (name, _), stages in runs.items() if name == subject]
            if measured := [interval for interval in measured if interval]:
                one = over_seeds(measured)
                found.append(
                    Tested(
                        claim=claim.name,
                        said=claim.said,
                        study=study,
                        subject=subject,
                        seeds=len(measured),
                        verdict="above" if one.low > claim.said else "below" if one.high < claim.said else "within",
                        **one.model_dump(),
                    )
                )
    return found


def on_test(tested: list[Tested]) -> list[Tested]:
    """Those of the model on test reviews: the ones that tell whether it can do what was claimed."""
    names = {claim.name for claim in CLAIMS if claim.on_test}
    return [each for each in tested if each.claim in names]
