"""Rows and means that compare models, methods and smaller models over many runs."""

import numpy as np
import pandas as pd

from layerwise.grading import SEARCH
from layerwise.importance import Method
from layerwise.ranking import kendall_taus
from layerwise.statistics import Interval, Stability, combine_seeds, mean_of_ends
from layerwise.study.records import Runs, group_by_model
from layerwise.study.schemas import GroundTruthResult, TrainingResult
from layerwise.subnetworks import passes_of_all


def accuracy_row(model: str, seed: int, result: TrainingResult) -> dict:
    """A row of one run: its test accuracy, and its gain over the linear classifier on the same reviews."""
    accuracy, gain = result.test.accuracy, result.difference
    return {
        "model": model,
        "seed": seed,
        "layers": result.model.layers,
        "million parameters": result.model.parameters / 1e6,
        "accuracy": accuracy.value,
        "accuracy low": accuracy.low,
        "accuracy high": accuracy.high,
        "gain": gain.value,
        "gain low": gain.low,
        "gain high": gain.high,
    }


def seed_taus(scores: dict[tuple[str, int], dict[str, list[float]]]) -> pd.DataFrame:
    """Mean Kendall's tau between the rankings of every two seeds: a row a method, a column a model.

    Args:
        scores: for each model and seed, those of every method. Models with one seed are left out.
    """
    models: dict[str, dict[str, dict[str, list[float]]]] = {}
    for (model, seed), methods in scores.items():
        for method, values in methods.items():
            models.setdefault(model, {}).setdefault(method, {})[str(seed)] = values
    return pd.DataFrame(
        {
            model: {method: np.mean(list(kendall_taus(seeds).values())) for method, seeds in methods.items()}
            for model, methods in models.items()
            if all(len(seeds) > 1 for seeds in methods.values())
        }
    )


def method_rows(
    truths: dict[tuple[str, int], GroundTruthResult],
    stability: dict[tuple[str, int], dict[str, Stability]],
    methods: dict[str, Method],
    classes: int,
) -> pd.DataFrame:
    """Cost, mean grades, stability and agreement: a row for each model, seed, and method, fusion or baseline.

    `passes` are forward passes for each example. `stability` is the mean Kendall's tau of a ranking with those of the
    bootstrap, `agreement` that with the rankings of the other methods. What is not measured is None.
    """
    rows = []
    for (model, seed), truth in truths.items():
        ranked = [name for name in methods if name in truth.ranked]
        for name, summary in truth.summary.items():
            others = [truth.ranked.index(other) for other in ranked if other != name]
            taus = truth.agreement[truth.ranked.index(name)] if name in truth.ranked else None
            steady, method = stability[model, seed].get(name), methods.get(name)
            rows.append(
                {
                    "model": model,
                    "seed": seed,
                    "method": name,
                    "passes": passes_of_all(len(truth.shapley))
                    if name == SEARCH
                    else method.passes(len(truth.shapley), classes)
                    if method
                    else None,
                    "gain": summary.gain.value if summary.gain else None,
                    "gain low": summary.gain.low if summary.gain else None,
                    "gain high": summary.gain.high if summary.gain else None,
                    "percentile": summary.percentile.value,
                    "percentile low": summary.percentile.low,
                    "percentile high": summary.percentile.high,
                    "regret": summary.regret.value,
                    "regret low": summary.regret.low,
                    "regret high": summary.regret.high,
                    "stability": steady.kendall_tau if steady else None,
                    "agreement": sum(taus[other] for other in others) / len(others) if taus and others else None,
                }
            )
    return pd.DataFrame(rows)


def mean_percentiles(studies: dict[str, Runs]) -> dict[str, dict[str, Interval]]:
    """Mean percentile of each method for each study and model; seeds are combined by `mean_of_ends`.

    Methods that not all seeds of a model have are left out.
    """
    groups = {model: [*seeds.values()] for model, seeds in group_by_model(studies, "ground_truth").items()}
    return {
        model: {
            name: mean_of_ends([truth.summary[name].percentile for truth in truths])
            for name in truths[0].summary
            if all(name in truth.summary for truth in truths)
        }
        for model, truths in groups.items()
    }


def retention_rows(studies: dict[str, Runs]) -> list[dict]:
    """Accuracy kept by each smaller model: a row for each study and model, ratio, selection of layers, healed or not.

    Seeds are combined by `combine_seeds`.
    """
    rows = []
    for model, seeds in group_by_model(studies, "compression").items():
        results = [*seeds.values()]
        plans = {plan.ratio: plan for plan in results[0].plans}
        candidates_of_seeds = [{(c.name, c.ratio, c.healed): c for c in result.candidates} for result in results]
        for key in candidates_of_seeds[0]:
            name, ratio, healed = key
            candidates = [each[key] for each in candidates_of_seeds if key in each]
            if ratio in plans and len(candidates) == len(results):
                kept = combine_seeds([candidate.retention for candidate in candidates])
                rows.append(
                    {
                        "model": model,
                        "ratio": ratio,
                        "reached": plans[ratio].reached,
                        "layers": plans[ratio].layers,
                        "name": name,
                        "healed": healed,
                        "seeds": len(candidates),
                        "accuracy": combine_seeds([candidate.accuracy for candidate in candidates]),
                        "kept": kept.value,
                        "low": kept.low,
                        "high": kept.high,
                    }
                )
    return rows
