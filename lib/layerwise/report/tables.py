"""Tables of the pages: what many runs measured, how they were made, and how methods and claims compare."""

from collections import Counter
from collections.abc import Collection, Iterable
from math import comb
from statistics import mean, median
from typing import Any

import numpy as np
import pandas as pd

from layerwise.budget import CompressionPlan
from layerwise.grading import BASELINES, GOOD_PERCENTILE, Grading, pairwise_taus
from layerwise.importance import METHODS, Method
from layerwise.ranking import FUSION_RULES
from layerwise.report.marks import marked_mean
from layerwise.statistics import Interval, combine_seeds
from layerwise.study.config import Parameters
from layerwise.study.records import Runs, group_by_model, iterate_models
from layerwise.study.schemas import (
    FROM_SCRATCH,
    CheckedClaim,
    CompressionResult,
    ExpertOpinions,
    GroundTruthResult,
    LanguageModelResult,
    RecommenderResult,
    TrainingResult,
)

# Headings of columns that several tables or pages have.
GAIN = "gain over TF-IDF + logistic regression (points)"
RANDOM_HALF_LOSS = "accuracy lost with a random half of the layers (points)"
BEST_HALF_LOSS = "accuracy lost with the best half of the layers (points)"
BEST_SCORE_GAIN = "accuracy with the best score less the mean of all choices (points)"
CHOICE_GAIN = "smallest model after healing: best layers less baseline layers (points)"
HEALING_GAIN = "smallest model: healed less trained from scratch (points)"
# Contrasts of smaller models, named as in `compression.paired_contrasts`, and their headings.
CONTRASTS = {
    "choice_before": "unhealed: best layers less baselines",
    "choice_after": "healed: best layers less baselines",
    "from_scratch": "healed less trained from scratch",
    "linear": "healed less linear classifier",
}

# By what layers are selected, by kind.
SELECTIONS: dict[str, Collection[str]] = {"method": METHODS, "fusion": FUSION_RULES, "baseline": BASELINES}

# Parameters of training: those of any model, and those that only the model from scratch has.
TRAINING_SETTINGS = (
    "reviews",
    "train_reviews",
    "max_length",
    "epochs",
    "learning_rate",
    "batch_size",
    "layer_drop",
    "bf16",
)
SCRATCH_SETTINGS = ("layers", "hidden_size", "heads", "vocabulary_size", "dropout")


def method_cards(names: Collection[str], layers: int, classes: int) -> pd.DataFrame:
    """What a reader should know of these methods, a row each; the cost is that of a model of this size."""
    return pd.DataFrame(
        {
            name: {
                "asks": METHODS[name].question,
                "needs": METHODS[name].needs,
                "passes": METHODS[name].passes(layers, classes),
            }
            for name in names
        }
    ).T


def trust_table(truth: Grading, methods: dict[str, Method], layers: int, classes: int) -> pd.DataFrame:
    """Grades and cost of every method, fusion and baseline, a row each; the best mean percentile comes first."""
    rows, all_passes = {}, sum(method.passes(layers, classes) for method in methods.values())
    for name, summary in truth.summary.items():
        method, reversed_percentile = methods.get(name), summary.reversed_percentile
        is_baseline = name in BASELINES
        rows[name] = {
            "percentile": summary.percentile.value,
            "low": summary.percentile.low,
            "high": summary.percentile.high,
            "regret": summary.regret.value,
            "reversed ranking": reversed_percentile.value if reversed_percentile else None,
            "needs": method.needs if method else "nothing" if is_baseline else "all scores",
            "passes": method.passes(layers, classes) if method else 0 if is_baseline else all_passes,
        }
        if name in truth.ranked:
            row, shapley = truth.ranked.index(name), truth.ranked.index("shapley_value")
            rows[name]["tau with Shapley"] = truth.agreement[row][shapley]
    return pd.DataFrame(rows).T.sort_values("percentile", ascending=False)


def expert_table(expert: ExpertOpinions) -> pd.DataFrame:
    """A row a layer: mean, highest and lowest rank, mean confidence, and the reason in the first opinion."""
    ranks = np.array(expert.ranks)
    return pd.DataFrame(
        {
            "mean rank": ranks.mean(0).round(1),
            "highest": ranks.min(0),
            "lowest": ranks.max(0),
            "confidence": np.mean(expert.confidence, axis=0).round(2),
            "reason of the first opinion": expert.reasons[0],
        }
    ).rename_axis("layer")


def provenance_table(studies: dict[str, Runs]) -> pd.DataFrame:
    """How the results were made: a row a study and model.

    `scored` and `graded` are the number of seeds whose layers were scored, or whose selections were graded, and on how
    many reviews; `compressed` is the number of seeds with smaller models. `hours` are those of all stages and seeds
    together. Numbers of reviews are those of the first seed.
    """
    rows = []
    for study, model, runs in iterate_models(studies):
        provenances = [result.provenance for stages in runs for result in stages.values()]
        training = runs[0]["training"]
        available = training.data.splits["train"].reviews
        wanted = training.provenance.parameters["train_reviews"] or available
        rows.append(
            {
                "study": study,
                "model": model,
                "seeds": len(runs),
                "layers": training.model.layers,
                "million parameters": round(training.model.parameters / 1e6, 1),
                "data": training.data.source,
                "training reviews": f"{min(wanted, available):,}",
                "scored (seeds on reviews)": _seeds_on_reviews(runs, "advanced_importance"),
                "graded (seeds on reviews)": _seeds_on_reviews(runs, "ground_truth"),
                "compressed (seeds)": sum("compression" in stages for stages in runs),
                "test reviews": training.test.accuracy.n,
                "commit": " ".join(dict.fromkeys(each.commit for each in provenances)),
                "device": provenances[0].device,
                "hours": round(sum(each.seconds for each in provenances) / 3600, 2),
                "finished": max(each.finished for each in provenances)[:10],
            }
        )
    return pd.DataFrame(rows)


def ground_truth_table(studies: dict[str, Runs]) -> pd.DataFrame:
    """Ground truth of each run: a row a study and model, and a seed.

    A model needs its depth if it loses more than one point of accuracy with a random half of its layers. `early`,
    `middle` and `late` are the mean places of the thirds of the depth in the ranking by Shapley values (see
    `ranking.mean_place_of_thirds`), empty for fewer than three layers. Kendall's tau of a pair of methods is above or
    below zero if its whole interval is. Percentiles are means over all sizes.
    """
    rows = []
    for model, seeds in group_by_model(studies, "ground_truth").items():
        for seed, truth in seeds.items():
            places = [f"{third:.2f}" for third in truth.thirds] if truth.thirds else [""] * 3
            taus = pairwise_taus(truth, METHODS)
            rows.append(
                {
                    "model": model,
                    "seed": seed,
                    "layers": len(truth.shapley),
                    "reviews": truth.examples,
                    RANDOM_HALF_LOSS: truth.random_half_loss.points,
                    BEST_HALF_LOSS: truth.best_half_loss.points,
                    "needs its depth": {True: "yes", False: "hardly", None: "within noise"}[truth.needs_depth],
                }
                | dict(zip(("early", "middle", "late"), places, strict=True))
                | {
                    "pairs of methods": len(taus),
                    "tau above zero": sum(tau.low > 0 for tau in taus),
                    "tau below zero": sum(tau.high < 0 for tau in taus),
                    "median tau": f"{median(tau.value for tau in taus):.2f}",
                }
                | _best_method_and_baseline(truth)
            )
    return pd.DataFrame(rows)


def claims_table(checked: list[CheckedClaim]) -> pd.DataFrame:
    """Published figures and their measured counterparts: a row a figure, a column a study and model."""
    rows: dict[str, dict[str, str]] = {}
    for each in checked:
        row = rows.setdefault(each.claim, {"figure": each.claim, "claimed": f"{each.claimed:.1%}"})
        measured = f"{each.value:.1%}" if each.low == each.high else f"{each:.1%}"  # a count has no interval
        row[f"{each.study}: {each.model}"] = f"{measured}: {each.verdict}"
    return pd.DataFrame(rows.values()).fillna("")


def recorded_verdicts(checked: list[CheckedClaim]) -> dict[str, str]:
    """For each published figure, the verdicts on the models that measured it, counted."""
    verdicts: dict[str, Counter[str]] = {}
    for each in checked:
        verdicts.setdefault(each.claim, Counter())[each.verdict] += 1
    return {claim: ", ".join(f"{verdict} {n}" for verdict, n in c.most_common()) for claim, c in verdicts.items()}


def methods_table(grades: pd.DataFrame) -> pd.DataFrame:
    """Cost, grades, stability and agreement: a row a method, with columns for each model.

    Grades over several seeds are combined by `combine_seeds`, the rest are means; empty where nothing was measured.

    Args:
        grades: `comparison.method_rows`.
    """
    cells: dict[str, dict[tuple[str, str], str]] = {}
    for (method, model), rows in grades.groupby(["method", "model"], sort=False):
        row = cells.setdefault(method.replace("_", " "), {})
        for measure, kind in (("passes", ".1f"), ("percentile", ".0%"), ("regret", ".1%")):
            if f"{measure} low" in rows:
                seeds = zip(rows[measure], rows[f"{measure} low"], rows[f"{measure} high"], strict=True)
                value = combine_seeds([Interval(value=value, low=low, high=high, n=0) for value, low, high in seeds])
            else:
                value = rows[measure].mean()
            row[model, measure] = "" if pd.isna(rows[measure]).any() else f"{value:{kind}}"
        for measure in ("stability", "agreement"):
            row[model, measure] = "" if pd.isna(rows[measure]).any() else f"{rows[measure].mean():.2f}"
    return pd.DataFrame(cells).T.rename_axis("method")


def answers_table(studies: dict[str, Runs]) -> pd.DataFrame:
    """The main results, a row a study and model; seeds are combined by `combine_seeds`."""
    rows = []
    for study, model, runs in iterate_models(studies):
        row = {"study": study, "model": model}
        row["accuracy"] = f"{combine_seeds([stages['training'].test.accuracy for stages in runs]):.1%}"
        row[GAIN] = combine_seeds([stages["training"].difference for stages in runs]).points
        if truths := [stages["ground_truth"] for stages in runs if "ground_truth" in stages]:
            row[RANDOM_HALF_LOSS] = combine_seeds([truth.random_half_loss for truth in truths]).points
            row[BEST_HALF_LOSS] = combine_seeds([truth.best_half_loss for truth in truths]).points
            row |= _best_by_percentile(truths)
        if compressed := [stages["compression"] for stages in runs if "compression" in stages]:
            row["accuracy kept after healing"] = _kept_after_healing(compressed)
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def marked_answers(runs: Runs) -> pd.DataFrame:
    """What the runs of a study answer: a row a question, a column a model, each cell a difference with its mark.

    Seeds are combined by `marks.marked_mean`. A cell is empty where a model has no results of the stage. The contrasts
    of healed models are those at the highest ratio with a healed baseline.
    """
    columns = {}
    for _, model, seeds in iterate_models({"": runs}):
        truths = [stages["ground_truth"] for stages in seeds if "ground_truth" in stages]
        smaller = [stages["compression"] for stages in seeds if "compression" in stages]
        columns[model] = {
            GAIN: marked_mean([stages["training"].difference for stages in seeds]),
            RANDOM_HALF_LOSS: marked_mean([truth.random_half_loss for truth in truths], lower_is_better=True),
            BEST_SCORE_GAIN: marked_mean([truth.summary["random"].behind_best for truth in truths]),
            CHOICE_GAIN: _smallest_contrast(smaller, "choice_after"),
            HEALING_GAIN: _smallest_contrast(smaller, "from_scratch"),
        }
    return pd.DataFrame(columns).rename_axis("question")


def settings_table(studies: dict[str, Runs]) -> pd.DataFrame:
    """Effects of other training settings: a row a study, for each model and device.

    The first study of a model on a device is the reference of the others; a study alone is left out. `settings` are the
    parameters that differ between these studies: all of them for the reference, and for each other study those that
    differ from the reference. `gain` is the validation accuracy less that of the reference.
    """
    groups: dict[tuple[str, str], dict[str, list[TrainingResult]]] = {}
    for study, model, runs in iterate_models(studies):
        results = [stages["training"] for stages in runs]
        device = results[0].provenance.device.partition(" (")[0]
        groups.setdefault((model, device), {})[study] = results
    rows = [
        {"model": model, "device": device} | row
        for (model, device), trained in groups.items()
        if len(trained) > 1
        for row in _settings_rows(trained, SCRATCH_SETTINGS if model == "scratch" else ())
    ]
    return pd.DataFrame(rows)


def runs_above_chance_table(studies: dict[str, Runs]) -> pd.DataFrame:
    """In how many runs each way to select layers is shown to be better than chance: a row each, the best first.

    Runs count if the whole interval of the mean percentile is above one half, below it, or above the intervals of all
    baselines. What was not graded in every run is left out.
    """
    groups = group_by_model(studies, "ground_truth")
    summaries = [truth.summary for seeds in groups.values() for truth in seeds.values()]
    highest = [max(summary[each].percentile.high for each in BASELINES) for summary in summaries]
    rows = []
    for kind, names in SELECTIONS.items():
        for name in names:
            if summaries and all(name in summary for summary in summaries):
                percentiles = [summary[name].percentile for summary in summaries]
                rows.append(
                    {
                        "selected by": name.replace("_", " "),
                        "kind": kind,
                        "runs": len(percentiles),
                        "mean percentile": mean(each.value for each in percentiles),
                        "lowest percentile": min(each.value for each in percentiles),
                        "runs above chance": sum(each.low > 0.5 for each in percentiles),
                        "runs below chance": sum(each.high < 0.5 for each in percentiles),
                        "runs above all baselines": sum(
                            each.low > high for each, high in zip(percentiles, highest, strict=True)
                        ),
                    }
                )
    rows.sort(key=lambda row: (row["runs above chance"], row["mean percentile"]), reverse=True)
    return pd.DataFrame(rows)


def fusion_table(studies: dict[str, Runs]) -> pd.DataFrame:
    """Percentiles of the fused rankings among all sub-networks of their size: a row a study, model and ratio.

    A column for each rule of fusion has its percentile as an Interval; `best method` is the single method with the
    highest one, its `best percentile`. `fusions above` is how many rules have their whole interval above it, and
    `good methods` how many methods have a percentile of `GOOD_PERCENTILE` or more. Seeds without a fusion or ground
    truth are left out, and ratios that keep no layer or every one.
    """
    rows = []
    for study, model, runs in iterate_models(studies):
        runs = [stages for stages in runs if {"ground_truth", "fusion"} <= stages.keys()]
        truths = [stages["ground_truth"] for stages in runs]
        for ratio, layers in runs[0]["fusion"].layers_left.items() if runs else ():
            depth = runs[0]["training"].model.layers
            if 0 < layers < depth:
                rules, methods = (_percentiles_at(truths, names, layers) for names in (FUSION_RULES, METHODS))
                best = max(methods, key=lambda name: methods[name].value)
                good = sum(percentile.value >= GOOD_PERCENTILE for percentile in methods.values())
                row = {"study": study, "model": model, "ratio": float(ratio), "layers": layers}
                row |= {"sub-networks": comb(depth, layers)} | rules
                row |= {"best method": best, "best percentile": methods[best]}
                above = sum(percentile.low > methods[best].value for percentile in rules.values())
                row |= {"fusions above": f"{above} of {len(rules)}", "good methods": f"{good} of {len(methods)}"}
                rows.append(row)
    return pd.DataFrame(rows)


def retention_table(smaller: list[dict], healed: bool) -> pd.DataFrame:
    """Accuracy kept by smaller models, as a share of the whole model's: a row a model and ratio.

    A column for each selection that was healed anywhere: unhealed; or healed, with models trained from scratch.

    Args:
        smaller: `comparison.retention_rows`.
    """
    selections = dict.fromkeys(row["name"] for row in smaller if row["healed"])
    shown = [(name, healed) for name in selections] + [(FROM_SCRATCH, False)] * healed
    cells: dict[tuple, dict[str, str | int]] = {}
    for row in sorted(smaller, key=lambda row: (row["model"], row["ratio"])):
        if (row["name"], row["healed"]) in shown:
            head = {"ratio": row["at"], "asked for": f"{row['ratio']:g}x"}
            head |= {name: row[name] for name in ("model", "layers", "seeds")}
            name, value = row["name"].replace("_", " "), "{kept:.1%} [{low:.1%}, {high:.1%}]".format(**row)
            cells.setdefault((row["model"], row["ratio"]), head)[name] = value
    columns = ["model", "ratio", "asked for", "layers", "seeds", *(name.replace("_", " ") for name, _ in shown)]
    return pd.DataFrame(cells.values(), columns=columns).fillna("")


def marked_contrasts(plans: list[CompressionPlan], contrasts: dict[str, dict[str, Interval]]) -> pd.DataFrame:
    """Effects of the selection of layers and of healing on one model, with marks: a row a ratio."""
    rows = []
    for plan in plans:
        named = contrasts[str(plan.ratio)]
        row = {"ratio": plan.at, "asked for": f"{plan.ratio:g}x", "layers": plan.layers}
        for name, heading in CONTRASTS.items():
            row[f"{heading} (points)"] = marked_mean([named[name]] if name in named else [])
        rows.append(row)
    return pd.DataFrame(rows)


def contrasts_table(studies: dict[str, Runs]) -> pd.DataFrame:
    """Effects of the selection of layers and of healing: a row a study and model, a seed and a ratio.

    Intervals of paired differences of accuracy, named as in `compression.paired_contrasts`; NaN where there is none.
    `at_chance` is whether the model trained from scratch is not shown to be above chance.
    """
    rows = []
    for model, seeds in group_by_model(studies, "compression").items():
        for seed, result in seeds.items():
            at_chance = {candidate.ratio for candidate in result.at_chance}
            for plan in result.plans:
                contrasts = result.contrasts[str(plan.ratio)]
                row = {"model": model, "seed": seed, "ratio": plan.at, "asked for": f"{plan.ratio:g}x"}
                row |= {"layers": plan.layers} | {name: contrasts.get(name) for name in CONTRASTS}
                rows.append(row | {"at_chance": plan.ratio in at_chance})
    return pd.DataFrame(rows)


def recommenders_table(results: dict[str, RecommenderResult]) -> pd.DataFrame:
    """NDCG@10 of every recommender, a column a study."""
    columns = {
        f"{study}: {result.data.source}": {name: f"{each.ndcg_10:.4f}" for name, each in result.metrics.items()}
        for study, result in results.items()
    }
    return pd.DataFrame(columns).fillna("").rename_axis("NDCG@10").rename(index=lambda name: name.replace("_", " "))


def smaller_recommenders_table(results: dict[str, RecommenderResult]) -> pd.DataFrame:
    """NDCG@10 that healed and unhealed smaller models of the first selection keep: a row a study and ratio."""
    rows = []
    for study, result in results.items():
        kept = {(c.ratio, c.healed): f"{c.retention:.0%}" for c in result.candidates if c.name == result.choice}
        for plan in result.plans:
            row = {"study": study, "ratio": plan.at, "asked for": f"{plan.ratio:g}x", "layers": plan.layers}
            contrasts = result.contrasts[str(plan.ratio)]
            marked = [contrasts["from_scratch"]] if "from_scratch" in contrasts else []
            row |= {"kept, unhealed": kept[plan.ratio, False], "kept, healed": kept[plan.ratio, True]}
            rows.append(row | {"healed less trained from scratch (NDCG@10, hundredths)": marked_mean(marked)})
    return pd.DataFrame(rows)


def pruned_table(results: dict[str, LanguageModelResult]) -> pd.DataFrame:
    """Perplexity and accuracy of language models, whole and pruned: a row a study, ratio and method of selection."""
    rows = []
    for study, result in results.items():
        head = {"study": study, "model": result.model.base_model}
        qualities = [("", "none", [*range(result.model.layers)], result.perplexity_unpruned, result.accuracy_unpruned)]
        qualities += [(f"{p.ratio:g}x", p.method, p.layers, p.perplexity, p.accuracy) for p in result.pruned]
        for ratio, method, layers, perplexity, accuracy in qualities:
            row = {"asked for": ratio, "left out by": method.replace("_", " "), "layers": len(layers)}
            row |= {"perplexity": f"{perplexity:.3g}", "accuracy": f"{accuracy:.1%}"}
            rows.append(head | row | {"majority": f"{result.majority_accuracy:.1%}"})
    return pd.DataFrame(rows)


def _seeds_on_reviews(runs: list[dict[str, Any]], stage: str) -> str:
    """How many seeds have results of a stage, and on how many reviews; empty if none has."""
    examples = [stages[stage].examples for stages in runs if stage in stages]
    return f"{len(examples)} on {examples[0]:,}" if examples else ""


def _best_method_and_baseline(truth: GroundTruthResult) -> dict[str, str]:
    percentiles = {name: summary.percentile for name, summary in truth.summary.items()}
    best, baseline = (
        max((name for name in names if name in percentiles), key=lambda name: percentiles[name].value)
        for names in (METHODS, BASELINES)
    )
    above = [name.replace("_", " ") for name in METHODS if name in percentiles and percentiles[name].low > 0.5]
    return {
        "best method": best.replace("_", " "),
        "percentile of the method": f"{percentiles[best]:.0%}",
        "best baseline": baseline,
        "percentile of the baseline": f"{percentiles[baseline]:.0%}",
        "methods above chance": ", ".join(above) or "none",
    }


def _best_by_percentile(truths: list[GroundTruthResult]) -> dict[str, str]:
    """The best method, fusion and baseline by the mean percentile over the seeds."""
    cells = {}
    for kind, names in SELECTIONS.items():
        percentiles = {
            name: combine_seeds([truth.summary[name].percentile for truth in truths])
            for name in names
            if all(name in truth.summary for truth in truths)
        }
        if percentiles:
            best = max(percentiles, key=lambda name: percentiles[name].value)
            cells[f"best {kind}"] = f"{best.replace('_', ' ')}: {percentiles[best]:.0%}"
    return cells


def _kept_after_healing(results: list[CompressionResult]) -> str:
    """Accuracy kept by the healed models of the first selection at each ratio; empty ratios are left out."""
    cells = []
    for plan in results[0].plans:
        kept = [
            candidate.retention
            for result in results
            for candidate in result.candidates
            if (candidate.name, candidate.ratio, candidate.healed) == (result.choice, plan.ratio, True)
        ]
        if kept:
            cells.append(f"{combine_seeds(kept):.1%} at {plan.at}")
    return ", ".join(cells)


def _smallest_contrast(results: list[CompressionResult], name: str) -> str:
    """A contrast at the highest ratio at which all seeds have it, with its mark and the ratio; empty if none has."""
    for plan in sorted(results[0].plans if results else [], key=lambda plan: -plan.ratio):
        measured = [result.contrasts.get(str(plan.ratio), {}).get(name) for result in results]
        differences = [difference for difference in measured if difference]
        if len(differences) == len(results):
            return f"{marked_mean(differences)} (at {plan.at})"
    return ""


def _percentiles_at(truths: list[GroundTruthResult], names: Iterable[str], layers: int) -> dict[str, Interval]:
    """The percentile with so many layers kept, for each name that was graded in all of these."""
    return {
        name: combine_seeds([_percentile_interval(truth, name, layers) for truth in truths])
        for name in names
        if all(name in truth.grades for truth in truths)
    }


def _percentile_interval(truth: Grading, name: str, layers: int) -> Interval:
    grade = truth.grades[name][layers]
    low, high = grade.percentile_interval
    return Interval(value=grade.percentile, low=low, high=high, n=truth.examples)


def _settings_rows(trained: dict[str, list[TrainingResult]], more_names: tuple[str, ...]) -> list[dict]:
    """Rows of `settings_table` for the studies of a model on a device."""
    settings = {study: _settings(results[0], TRAINING_SETTINGS + more_names) for study, results in trained.items()}
    reference, *_ = settings.values()
    accuracies = {s: combine_seeds([each.validation.accuracy for each in results]) for s, results in trained.items()}
    first, *_ = accuracies.values()
    differ = [name for name in reference if len({each[name] for each in settings.values()}) > 1]
    rows = []
    for study, results in trained.items():
        own, accuracy, is_reference = settings[study], accuracies[study], settings[study] is reference
        apart = accuracy.low > first.high or accuracy.high < first.low
        shown = [f"{name} {own[name]}" for name in differ if is_reference or own[name] != reference[name]]
        rows.append(
            {
                "study": study,
                "settings": ", ".join(shown) or "the same",
                "seeds": len(results),
                "validation accuracy": f"{accuracy:.1%}",
                "gain (points)": "" if is_reference else f"{100 * (accuracy.value - first.value):+.1f}",
                "intervals": "" if is_reference else "apart" if apart else "overlap",
                f"test {GAIN}": combine_seeds([result.difference for result in results]).points,
                "hours per seed": f"{mean(result.provenance.seconds for result in results) / 3600:.2f}",
            }
        )
    return rows


def _settings(trained: TrainingResult, names: Iterable[str]) -> dict[str, str]:
    """Settings of a training as text; a parameter that did not exist yet had its default."""
    values = {name: field.default for name, field in Parameters.model_fields.items()} | trained.provenance.parameters
    texts = trained.pretraining.texts if trained.pretraining else None
    return {name.replace("_", " "): "all" if values[name] is None else f"{values[name]}" for name in names} | {
        "pretraining": f"{values['pretraining_epochs']} x {texts:,} texts" if texts else "none"
    }
