"""Tables of the pages: what many runs measured, how they were made, and how methods and claims compare."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations
from math import comb
from statistics import mean, median
from typing import Any

import numpy as np
import pandas as pd

from layerwise.budget import CompressionPlan
from layerwise.grading import (
    BASELINES,
    GOOD_PERCENTILE,
    SEARCH,
    Grading,
    MethodSummary,
    pairwise_taus,
)
from layerwise.importance import METHODS, Method
from layerwise.ranking import FUSION_RULES, is_fused, kendall_taus
from layerwise.report.marks import count_marks, mark, marked_mean, name_seeds
from layerwise.statistics import MARGIN, SIGNIFICANCE, Interval, combine_seeds, mean_of_ends
from layerwise.study.config import LABELS, Parameters
from layerwise.study.records import Runs, group_by_model, iterate_models
from layerwise.study.schemas import (
    FROM_SCRATCH,
    RANDOM,
    AdvancedImportanceResult,
    Candidate,
    CheckedClaim,
    CompressionResult,
    CoreImportanceResult,
    ExpertOpinions,
    FrontierResult,
    FusionResult,
    GroundTruthResult,
    LanguageModelResult,
    RecommenderResult,
    SmallerRecommender,
    TrainingResult,
)
from layerwise.subnetworks import passes_of_all

# Headings of columns that several tables or pages have.
GAIN = "gain over TF-IDF + logistic regression (points)"
RANDOM_HALF_LOSS = "accuracy lost with a random half of the layers (points)"
BEST_HALF_LOSS = "accuracy lost with the best half of the layers (points)"
BEST_SCORE_GAIN = "accuracy with the best score less the mean of all choices (points)"
CHOICE_GAIN = "smallest model after healing: best layers less baseline layers (points)"
HEALING_GAIN = "smallest model: healed less trained from scratch (points)"
GUESSES = ", which only guesses"  # of a model trained from scratch that is not shown to beat the majority answer
# Contrasts of smaller models, named as in `compression.paired_contrasts`, and their headings.
CONTRASTS = {
    "choice_before": "unhealed: best layers less baselines",
    "choice_after": "healed: best layers less baselines",
    "from_scratch": "healed less trained from scratch",
    "truncated": "healed less first layers of the pretrained model, fine-tuned on labels",
    "linear": "healed less linear classifier",
}

# By what layers are selected, by kind.
SELECTIONS: dict[str, Collection[str]] = {
    "method": METHODS,
    "fusion": FUSION_RULES,
    "search": (SEARCH,),
    "baseline": BASELINES,
}

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


def name_ratio(ratio: float, reached: float) -> str:
    """A ratio of parameters as text: by what was reached, with what was asked for where that could not be reached.

    >>> name_ratio(2.5, reached=2.63), name_ratio(4.0, reached=2.75)
    ('2.5x', '2.75x (asked for 4x)')
    """
    asked, got = f"{ratio:g}x", f"{reached:.3g}x"
    return asked if reached >= ratio or got == asked else f"{got} (asked for {asked})"


def ratio_names(plans: Sequence[CompressionPlan]) -> dict[float, str]:
    """By the ratio that was asked for, its name by what was reached."""
    return {plan.ratio: name_ratio(plan.ratio, plan.reached) for plan in plans}


def plans_table(plans: Sequence[CompressionPlan]) -> pd.DataFrame:
    """How each ratio of parameters is reached: a row a ratio."""
    return pd.DataFrame(
        {
            "ratio": list(ratio_names(plans).values()),
            "parameters": [f"1 / {plan.reached:.2f}" for plan in plans],
            "layers": [f"{plan.layers} of {plan.depth}" for plan in plans],
            "vocabulary": ["trimmed" if plan.trimmed else "whole" for plan in plans],
            "reached": ["yes" if plan.reached >= plan.ratio else "no" for plan in plans],
        }
    )


def name_recommenders(result: RecommenderResult) -> dict[str, str]:
    """The recommenders of a result in words; smaller Transformers by the ratio that was reached."""
    smaller = {f"transformer_{ratio:g}x": name for ratio, name in ratio_names(result.plans).items()}
    return {
        name: f"transformer, {smaller[name]}" if name in smaller else name.replace("_", " ") for name in result.metrics
    }


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


def ablation_table(result: CoreImportanceResult) -> pd.DataFrame:
    """What the model loses without each layer, a row a layer, and marks: worse where the loss is shown."""
    columns = zip(
        zip(result.scores["ablation"], result.intervals["ablation"], strict=True),
        zip(result.accuracy_drop, result.accuracy_drop_intervals, strict=True),
        strict=True,
    )
    rows = []
    for layer, losses in enumerate(columns):
        nats, accuracy = (Interval(value=value, low=low, high=high, n=result.examples) for value, (low, high) in losses)
        rows.append(
            {
                "without layer": layer,
                "log-probability lost (nats)": f"{nats:+.3f}",
                "by log-probability": mark(nats, lower_is_better=True),
                "accuracy lost (points)": accuracy.points,
                "by accuracy": mark(accuracy, lower_is_better=True),
            }
        )
    return pd.DataFrame(rows)


def sanity_table(result: AdvancedImportanceResult, methods: Mapping[str, Method]) -> pd.DataFrame:
    """Which methods detect layers that change nothing, a row each, and how far their ranking is due to training."""
    rows = []
    for name, check in result.sanity.items():
        missed = "missed" if methods[name].sees_identity else "asks another question"
        rows.append(
            {
                "method": name.replace("_", " "),
                "planted layers score zero": "yes" if check.zero else "no",
                "and come last": "yes" if check.last else "no",
                "mark": "detected" if check.zero and check.last else missed,
                "tau with the untrained model": f"{check.untrained_tau:.2f}",
            }
        )
    return pd.DataFrame(rows)


def thirds_table(thirds: Mapping[str, list[Interval]]) -> pd.DataFrame:
    """Mean place of early, middle and late layers, a row a ranking; which third is shown to be highest, and lowest.

    Args:
        thirds: by the name of a ranking, its three mean places; none where there are too few layers.
    """
    rows = []
    for ranking, places in thirds.items():
        named = dict(zip(("early", "middle", "late"), places, strict=False))
        by_place = sorted(named, key=lambda name: named[name].value)
        highest = lowest = "not shown"
        if named:
            bottom, *_, top = by_place
            if named[top].low > max(named[name].high for name in by_place[:-1]):
                highest = top
            if named[bottom].high < min(named[name].low for name in by_place[1:]):
                lowest = bottom
        row = {"ranked by": ranking} | {f"{name} third": f"{place:.2f}" for name, place in named.items()}
        rows.append(row | {"highest": highest, "lowest": lowest})
    return pd.DataFrame(rows)


def pruning_table(result: LanguageModelResult) -> pd.DataFrame:
    """Perplexity and accuracy of the pruned language models, a row a ratio and method, with marks.

    `beside the lowest` is worse where the interval of the perplexity is above that of the lowest at its ratio; `beside
    the majority` compares the interval of the accuracy with the majority accuracy.
    """
    rows = []
    for pruned in result.pruned:
        same_ratio = [each for each in result.pruned if each.ratio == pruned.ratio]
        lowest = min(same_ratio, key=lambda each: each.perplexity.value)
        behind = "worse" if pruned.perplexity.low > lowest.perplexity.high else "not shown"
        low, high = pruned.accuracy.low - result.majority_accuracy, pruned.accuracy.high - result.majority_accuracy
        rows.append(
            {
                "kept": f"{pruned.ratio:g}x: {len(pruned.layers)} layers",
                "selected by": pruned.method,
                "perplexity": f"{pruned.perplexity:,.0f}",
                "beside the lowest": "lowest" if pruned.layers == lowest.layers else behind,
                "accuracy": f"{pruned.accuracy:.0%}",
                "beside the majority": mark(Interval(value=low, low=low, high=high, n=result.evaluated)),
            }
        )
    rows += [
        {"kept": f"{float(ratio):g}x", "selected by": "not reached by leaving out layers"}
        for ratio, left in result.layers_left.items()
        if not left
    ]
    return pd.DataFrame(rows).fillna("")


def trust_table(truth: Grading, methods: dict[str, Method], layers: int, classes: int) -> pd.DataFrame:
    """Grades and cost of every method, fusion, search and baseline, a row each; the highest mean value comes first.

    `gain` is the value less the mean of all choices, and `percentile` the share of them that are worse.
    """
    rows, all_passes = {}, sum(method.passes(layers, classes) for method in methods.values())
    others = dict.fromkeys(BASELINES, ("nothing", 0.0)) | {SEARCH: ("labels", passes_of_all(layers))}
    for name in sort_by_value(truth, truth.summary):
        method, summary = methods.get(name), truth.summary[name]
        needs, passes = others.get(name, ("all scores", all_passes))
        rows[name] = {
            "gain (points)": summary.gain.points if summary.gain else "",
            "percentile": summary.percentile.value,
            "low": summary.percentile.low,
            "high": summary.percentile.high,
            "regret": summary.regret.value,
            "reversed ranking": summary.reversed_percentile.value if summary.reversed_percentile else None,
            "needs": method.needs if method else needs,
            "passes": method.passes(layers, classes) if method else passes,
        }
        if name in truth.ranked:
            row, shapley = truth.ranked.index(name), truth.ranked.index("shapley_value")
            rows[name]["tau with Shapley"] = truth.agreement[row][shapley]
    return pd.DataFrame(rows).T


def sort_by_value(truth: Grading, names: Iterable[str]) -> list[str]:
    """Selections in the order of their mean value over all sizes, the highest first."""
    return sorted(names, key=lambda name: (-mean(grade.value for grade in truth.grades[name].values()), name))


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


def expert_summary(expert: ExpertOpinions) -> pd.DataFrame:
    """Who was asked as an expert, how often, and how far two of the answers agree on average: one row."""
    taus = list(kendall_taus({str(i): ranks for i, ranks in enumerate(expert.ranks)}).values())
    return pd.DataFrame(
        {
            "answered by": [expert.answered_by],
            "asked": [expert.asked[:10]],
            "opinions": [len(expert.ranks)],
            "Kendall's tau between two": [f"{mean(map(float, taus)):.2f}" if taus else ""],
        }
    )


def fused_layers_table(result: FusionResult) -> pd.DataFrame:
    """The layers that each rule of fusion keeps at each ratio, and whether all rules keep the same: a row a rule.

    A ratio that leaving out layers alone does not reach has no layers.
    """
    columns = {}
    for ratio, size in result.layers_left.items():
        kept = {rule.replace("_", " "): layers[ratio] for rule, layers in result.kept.items()}
        same = "yes" if len({tuple(layers) for layers in kept.values()}) == 1 else "no"
        cells = {rule: ", ".join(map(str, layers)) for rule, layers in kept.items()} | {"all the same": same}
        columns[f"{float(ratio):g}x: {f'{size} layers' if size else 'not reached'}"] = (
            cells if size else dict.fromkeys(cells, "")
        )
    return pd.DataFrame(columns)


def pairs_table(result: FusionResult, methods: Sequence[str]) -> pd.DataFrame:
    """The two methods that agree most and the two that agree least: a row each, with Kendall's tau and its interval."""
    places = {name: result.ranked.index(name) for name in methods}
    matrices = result.agreement, result.agreement_low, result.agreement_high
    taus = {}
    for one, other in combinations(methods, 2):
        value, low, high = (matrix[places[one]][places[other]] for matrix in matrices)
        taus[f"{one} and {other}".replace("_", " ")] = Interval(value=value, low=low, high=high, n=0)
    most, least = max(taus, key=lambda pair: taus[pair].value), min(taus, key=lambda pair: taus[pair].value)
    return pd.DataFrame(
        {
            "methods": {"agree most": most, "agree least": least},
            "Kendall's tau": {"agree most": f"{taus[most]:.2f}", "agree least": f"{taus[least]:.2f}"},
        }
    )


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
                    BEST_HALF_LOSS: _best_half_losses([truth]),
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

    Of several seeds, values are combined by `combine_seeds` and percentiles by `mean_of_ends`; the rest are means.
    Empty where nothing was measured.

    Args:
        grades: `comparison.method_rows`.
    """
    cells: dict[str, dict[tuple[str, str], str]] = {}
    for (method, model), rows in grades.groupby(["method", "model"], sort=False):
        row = cells.setdefault(method.replace("_", " "), {})
        for measure, kind in (("passes", ".1f"), ("gain", "+.1%"), ("percentile", ".0%"), ("regret", ".1%")):
            if f"{measure} low" in rows:
                seeds = zip(rows[measure], rows[f"{measure} low"], rows[f"{measure} high"], strict=True)
                combine = mean_of_ends if measure == "percentile" else combine_seeds
                value = combine([Interval(value=value, low=low, high=high, n=0) for value, low, high in seeds])
            else:
                value = rows[measure].mean()
            row[model, measure] = "" if pd.isna(rows[measure]).any() else f"{value:{kind}}"
        for measure in ("stability", "agreement"):
            row[model, measure] = "" if pd.isna(rows[measure]).any() else f"{rows[measure].mean():.2f}"
    return pd.DataFrame(cells).T.rename_axis("method")


def answers_table(studies: dict[str, Runs]) -> pd.DataFrame:
    """The main results, a row a study and model; seeds are combined by `combine_seeds`.

    What fewer seeds have than were trained says how many.
    """
    rows = []
    for study, model, runs in iterate_models(studies):
        row: dict[str, Any] = {"study": study, "model": model, "seeds": len(runs)}
        row["accuracy"] = f"{combine_seeds([stages['training'].test.accuracy for stages in runs]):.1%}"
        row[GAIN] = combine_seeds([stages["training"].difference for stages in runs]).points
        if truths := [stages["ground_truth"] for stages in runs if "ground_truth" in stages]:
            few = name_seeds(len(truths), len(runs)) if len(truths) < len(runs) else ""
            row[RANDOM_HALF_LOSS] = combine_seeds([truth.random_half_loss for truth in truths]).points + few
            row[BEST_HALF_LOSS] = _best_half_losses(truths) + few
            row |= {heading: cell + few for heading, cell in _best_by_percentile(truths).items()}
        if compressed := [stages["compression"] for stages in runs if "compression" in stages]:
            few = name_seeds(len(compressed), len(runs)) if len(compressed) < len(runs) else ""
            row["accuracy kept after healing"] = _kept_after_healing(compressed) + few
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def marked_answers(runs: Runs) -> pd.DataFrame:
    """What the runs of a study answer: a row a question, a column a model, each cell a difference with its mark.

    Seeds are combined by `marks.marked_mean`, and a cell says how many there are. It is empty where a model has no
    results of the stage. The contrasts of healed models are those at the highest ratio with a healed baseline.
    """
    columns = {}
    for _, model, seeds in iterate_models({"": runs}):
        n = len(seeds)
        truths = [stages["ground_truth"] for stages in seeds if "ground_truth" in stages]
        smaller = [stages["compression"] for stages in seeds if "compression" in stages]
        columns[model] = {
            GAIN: marked_mean([stages["training"].difference for stages in seeds]),
            RANDOM_HALF_LOSS: marked_mean([truth.random_half_loss for truth in truths], lower_is_better=True, seeds=n),
            BEST_SCORE_GAIN: marked_mean([truth.summary["random"].behind_best for truth in truths], seeds=n),
            CHOICE_GAIN: _smallest_contrast(smaller, "choice_after", n),
            HEALING_GAIN: _smallest_contrast(smaller, "from_scratch", n),
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
        results = [stages["training"] for stages in runs if "training" in stages]
        if not results:  # it repeats the training of another study
            continue
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

    Runs count if the whole interval of the gain over the mean choice lies above zero or below it, and if that of the
    gain over the best position baseline is above zero; in runs before version 0.3, by the intervals of the percentiles.
    Runs of one model share their reviews and its architecture: a model counts as above chance if all of its runs are.
    What was not graded in every run is left out.
    """
    truths = {
        (model, study, seed): stages["ground_truth"].summary
        for study, runs in studies.items()
        for (model, seed), stages in runs.items()
        if "ground_truth" in stages
    }
    summaries, rows = [*truths.values()], []
    models = {model for model, *_ in truths}
    for kind, names in SELECTIONS.items():
        for name in names:
            if summaries and all(name in summary for summary in summaries):
                percentiles = [summary[name].percentile.value for summary in summaries]
                against_chance = {run: _mark_against_chance(summary[name]) for run, summary in truths.items()}
                missed = {model for (model, *_), known in against_chance.items() if known != "better"}
                rows.append(
                    {
                        "selected by": name.replace("_", " "),
                        "kind": kind,
                        "runs": len(percentiles),
                        "mean percentile": mean(percentiles),
                        "lowest percentile": min(percentiles),
                        "runs above chance": [*against_chance.values()].count("better"),
                        "runs below chance": [*against_chance.values()].count("worse"),
                        "runs above all baselines": sum(_is_above_baselines(summary, name) for summary in summaries),
                        "models above chance": f"{len(models - missed)} of {len(models)}",
                    }
                )
    rows.sort(key=lambda row: (row["runs above chance"], row["mean percentile"]), reverse=True)
    return pd.DataFrame(rows)


def scoreboard_table(studies: dict[str, Runs]) -> pd.DataFrame:
    """Mean percentile of each way to select layers: a row each, the best mean of all runs first, and a column a run.

    Its index has the name, the kind, the mean and the forward passes of a review, its columns study, model and seed.
    A range of passes is that of the depths. What was not graded in every run is left out.
    """
    truths = {
        (study, model, seed): stages["ground_truth"]
        for study, runs in studies.items()
        for (model, seed), stages in runs.items()
        if "ground_truth" in stages
    }
    depths = {len(truth.shapley) for truth in truths.values()}
    rows = {}
    for kind, names in SELECTIONS.items():
        for name in names:
            if truths and all(name in truth.summary for truth in truths.values()):
                row = {run: truth.summary[name].percentile.value for run, truth in truths.items()}
                passes = sorted({_passes(name, kind, truths.values(), depth) for depth in depths})
                cost = "\u2013".join(f"{each:,.3g}" for each in dict.fromkeys((passes[0], passes[-1])))
                rows[name.replace("_", " "), kind, mean(row.values()), cost] = row
    table = pd.DataFrame(rows).T
    table.index.names = ["selected by", "kind", "mean", "passes"]
    table.columns.names = ["study", "model", "seed"]
    return table.sort_index(level="mean", ascending=False, sort_remaining=False)


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
            head = {name: row[name] for name in ("model", "layers", "seeds")} | {
                "ratio": name_ratio(row["ratio"], row["reached"])
            }
            name, value = row["name"].replace("_", " "), "{kept:.1%} [{low:.1%}, {high:.1%}]".format(**row)
            cells.setdefault((row["model"], row["ratio"]), head)[name] = value
    columns = ["model", "ratio", "layers", "seeds", *(name.replace("_", " ") for name, _ in shown)]
    return pd.DataFrame(cells.values(), columns=columns).fillna("")


def marked_contrasts(plans: list[CompressionPlan], contrasts: dict[str, dict[str, Interval]]) -> pd.DataFrame:
    """Effects of the selection of layers and of healing on one model, with marks: a row a ratio."""
    rows = []
    for plan in plans:
        named = contrasts[str(plan.ratio)]
        row = {"ratio": name_ratio(plan.ratio, plan.reached), "layers": plan.layers}
        for name, heading in CONTRASTS.items():
            row[f"{heading} (points)"] = marked_mean([named[name]] if name in named else [])
        rows.append(row)
    return pd.DataFrame(rows)


def contrasts_table(studies: dict[str, Runs]) -> pd.DataFrame:
    """Effects of the selection of layers and of healing: a row a study and model, a seed and a ratio.

    Intervals of paired differences of accuracy, named as in `compression.paired_contrasts`; NaN where there is none.
    `guessing` is whether the model trained from scratch is not shown to beat the majority answer, `baselines` how many
    different selections the choice is compared with.
    """
    rows = []
    for model, seeds in group_by_model(studies, "compression").items():
        for seed, result in seeds.items():
            for plan in result.plans:
                contrasts = result.contrasts[str(plan.ratio)]
                row = {"model": model, "seed": seed, "ratio": name_ratio(plan.ratio, plan.reached)}
                row |= {"layers": plan.layers} | {name: contrasts.get(name) for name in CONTRASTS}
                row |= {"guessing": plan.ratio in result.guessing, "baselines": result.count_baselines(plan.ratio)}
                rows.append(row)
    return pd.DataFrame(rows)


def count_contrasts(contrasts: pd.DataFrame) -> pd.DataFrame:
    """A row a contrast: in how many smaller models it is measured, and how many have each mark.

    A model trained from scratch that only guesses is no rival: to beat it counts for nothing.

    Args:
        contrasts: `contrasts_table`.
    """
    rivals = contrasts[~contrasts["guessing"]] if len(contrasts) else contrasts
    counted = {
        heading: (rivals if name == "from_scratch" else contrasts).get(name, []) for name, heading in CONTRASTS.items()
    }
    return count_marks(counted)


def recommenders_table(results: dict[str, RecommenderResult]) -> pd.DataFrame:
    """NDCG@10 of every recommender, a column a study."""
    columns = {
        f"{study}: {result.data.source}": {
            shown: f"{result.metrics[name].ndcg_10:.4f}" for name, shown in name_recommenders(result).items()
        }
        for study, result in results.items()
    }
    return pd.DataFrame(columns).fillna("").rename_axis("NDCG@10")


def speed_table(result: CompressionResult, ratio: float) -> pd.DataFrame:
    """How many times as fast the smaller model is as the whole one: a row a batch and runtime."""
    times = {(each.batch, each.runtime, each.ratio): each.milliseconds for each in result.timings}
    rows = [
        {
            "batch": size,
            "runtime": runtime.replace("_", " "),
            "whole (ms)": f"{times[size, runtime, 1]:.2f}",
            "smaller (ms)": f"{times[size, runtime, ratio]:.2f}",
            "times as fast": f"{times[size, runtime, 1] / times[size, runtime, ratio]:.1f}",
            "than PyTorch whole": f"{times[size, 'pytorch', 1] / times[size, runtime, ratio]:.1f}",
        }
        for size, runtime in dict.fromkeys((size, runtime) for size, runtime, _ in times)
    ]
    return pd.DataFrame(rows)


def half_table(truth: Grading) -> pd.DataFrame:
    """Accuracy that half of the layers lose, in points: a row each for a random half and the best half.

    The best half is measured on reviews that did not select it. The last column is whether the whole interval lies
    above a loss of one point.
    """
    losses = {"a random half": truth.random_half_loss}
    if truth.best_half_loss:
        losses["the best half, on other reviews"] = truth.best_half_loss
    verdicts = {"better": "yes", "worse": "no", "not shown": "not shown"}
    return pd.DataFrame(
        {
            "layers kept": list(losses),
            "accuracy lost (points)": [each.points for each in losses.values()],
            "more than one point": [verdicts[mark(_less(each, MARGIN))] for each in losses.values()],
        }
    )


def selection_marks(truth: Grading) -> pd.DataFrame:
    """How the layers of each score, fusion and search compare: a row each, the highest mean value first.

    Differences are paired, and means over all sizes: from the mean of all choices, from the best position baseline,
    from the best score, whose value is that on examples that did not select it, and from the reversed ranking. The
    percentile describes the selection, with the interval of `grading.rank_interval`.
    """
    summary = truth.summary
    rows = []
    for name in sort_by_value(truth, set(summary) - set(BASELINES)):
        own = summary[name]
        rows.append(
            {
                "selected by": name.replace("_", " "),
                "gain over the mean choice (points)": own.gain.points if own.gain else "",
                "against the mean choice": _mark_against_chance(own),
                "gain over the best baseline (points)": own.gain_over_baseline.points if own.gain_over_baseline else "",
                "against the best baseline": mark(own.gain_over_baseline) if own.gain_over_baseline else "",
                "against the best score": mark(own.behind_best, lower_is_better=True),
                "mean percentile": f"{own.percentile:.0%}",
                "against the reversed ranking": mark(own.gain_over_reversed) if own.gain_over_reversed else "",
            }
        )
    return pd.DataFrame(rows)


def fused_regret_table(truth: Grading) -> pd.DataFrame:
    """Mean regret of the fused rankings, and of the best and the median single score: a row each.

    The last two columns have the value less that of the best score, paired, and its mark.
    """
    summary = {name: each for name, each in truth.summary.items() if name not in (*BASELINES, SEARCH)}
    single = sorted((name for name in summary if not is_fused(name)), key=lambda name: summary[name].regret.value)
    shown = {name: "fusion" for name in summary if is_fused(name)}
    shown |= {single[(len(single) - 1) // 2]: "median score"} | {single[0]: "best score, selected after the fact"}
    behind = {name: summary[name].behind_best for name in shown}
    return pd.DataFrame(
        {
            "selected by": [name.replace("_", " ") for name in shown],
            "kind": list(shown.values()),
            "mean regret (points)": [_unsigned(summary[name].regret) for name in shown],
            "less than the best score has (points)": [_unsigned(each) for each in behind.values()],
            "mark": [mark(each, lower_is_better=True) for each in behind.values()],
        }
    )


def interactions_table(truth: Grading) -> pd.DataFrame:
    """How many pairs of layers replace or need each other, and the strongest of them; empty without interactions."""
    groups: dict[str, dict[str, Interval]] = {"replace each other": {}, "need each other": {}, "not shown": {}}
    names = {"better": "need each other", "worse": "replace each other"}
    for pair, each in (truth.interactions or {}).items():
        groups[names.get(side := mark(each), side)][pair] = each
    rows = []
    for group, pairs in groups.items() if truth.interactions else ():
        strongest = max(pairs, key=lambda pair: abs(pairs[pair].value)) if pairs and group != "not shown" else None
        rows.append(
            {
                "two layers": group,
                "pairs": len(pairs),
                "strongest": strongest.replace("-", " and ") if strongest else "",
                "nats": f"{pairs[strongest]:+.3f}" if strongest else "",
            }
        )
    return pd.DataFrame(rows, columns=["two layers", "pairs", "strongest", "nats"])


def kept_table(
    plans: Sequence[CompressionPlan], candidates: Sequence[Candidate] | Sequence[SmallerRecommender], choice: str
) -> pd.DataFrame:
    """What the smaller models of a selection keep, as a share of the whole model's: a row a ratio.

    Where the non-inferiority test was made, the last column says whether they are shown to lose less than one point,
    with a p-value that is adjusted for all models of the run.
    """
    found = {(each.ratio, each.healed): each for each in candidates if each.name == choice}
    rows = []
    for plan in plans:
        healed = found[plan.ratio, True]
        row = {
            "ratio": name_ratio(plan.ratio, plan.reached),
            "layers": f"{plan.layers} of {plan.depth}",
            "kept, unhealed": f"{found[plan.ratio, False].retention:.1%}",
            "kept, healed": f"{healed.retention:.1%}",
        }
        if isinstance(healed, Candidate) and healed.adjusted_p is not None:
            row["healed loses less than one point"] = "yes" if healed.adjusted_p < SIGNIFICANCE else "not shown"
        rows.append(row)
    return pd.DataFrame(rows)


def contrasts_at(
    plans: Sequence[CompressionPlan],
    contrasts: Mapping[str, Mapping[str, Interval]],
    names: Mapping[str, str],
    guessing: Collection[float] = (),
) -> dict[str, Interval]:
    """Contrasts of `compression.paired_contrasts` for `marks_table`, by ratio; what was not measured is left out.

    Args:
        names: what is compared, in words, by the name of the contrast.
        guessing: ratios whose model trained from scratch only guesses, which is said.
    """
    return {
        f"{name_ratio(plan.ratio, plan.reached)}: {words}"
        f"{GUESSES if name == 'from_scratch' and plan.ratio in guessing else ''}": contrasts[str(plan.ratio)][name]
        for plan in plans
        for name, words in names.items()
        if name in contrasts[str(plan.ratio)]
    }


def name_budget(epochs: int) -> str:
    """A budget of healing in words.

    >>> name_budget(0), name_budget(1), name_budget(2)
    ('unhealed', '1 pass', '2 passes')
    """
    return f"{epochs} pass{'es' * (epochs > 1)}" if epochs else "unhealed"


def frontier_table(result: FrontierResult) -> pd.DataFrame:
    """How far choices of layers and seeds of healing differ, a row a budget.

    The last but one column is whether the whole interval of the variance of the choices less that of the seeds lies
    above zero.
    """
    verdicts = {"better": "yes", "worse": "no", "not shown": "not shown"}
    return pd.DataFrame(
        {
            "healing": [name_budget(budget.epochs) for budget in result.budgets],
            "spread of choices (points)": [_unsigned(budget.choice_spread) for budget in result.budgets],
            "spread of seeds (points)": [_unsigned(budget.seed_spread) for budget in result.budgets],
            "choices differ more": [verdicts[mark(budget.excess)] for budget in result.budgets],
            "tau with unhealed": [f"{budget.rank_correlation:.2f}" for budget in result.budgets],
        }
    )


def frontier_choices_table(result: FrontierResult) -> pd.DataFrame:
    """What each selected choice of layers is worth, unhealed and after all healing: a row a choice, and random ones.

    Accuracy less the mean of the random choices, with marks, and regret: that of the best on validation less its own.
    """
    first, last = result.budgets[0], result.budgets[-1]
    rows = [
        {
            "selected by": ", ".join(choice.names).replace("_", " "),
            "layers": ", ".join(map(str, choice.layers)),
            "unhealed less random (points)": marked_mean([first.gains[choice.names[0]]]),
            "healed less random (points)": marked_mean([last.gains[choice.names[0]]]),
            "regret, healed (points)": last.regrets[choice.names[0]].points,
        }
        for choice in result.choices
        if choice.names
    ]
    rows.append({"selected by": "random, mean", "regret, healed (points)": last.regrets[RANDOM].points})
    return pd.DataFrame(rows).fillna("")


def smaller_recommenders_table(results: dict[str, RecommenderResult]) -> pd.DataFrame:
    """NDCG@10 that healed and unhealed smaller models of the first selection keep: a row a study and ratio."""
    rows = []
    for study, result in results.items():
        kept = {(c.ratio, c.healed): f"{c.retention:.0%}" for c in result.candidates if c.name == result.choice}
        for plan in result.plans:
            row = {"study": study, "ratio": name_ratio(plan.ratio, plan.reached), "layers": plan.layers}
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
    """The best method, fusion, search and baseline by the mean percentile over the seeds."""
    cells = {}
    for kind, names in SELECTIONS.items():
        percentiles = {
            name: mean_of_ends([truth.summary[name].percentile for truth in truths])
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
            cells.append(f"{combine_seeds(kept):.1%} at {name_ratio(plan.ratio, plan.reached)}")
    return ", ".join(cells)


def _passes(name: str, kind: str, truths: Iterable[Grading], depth: int) -> float:
    """Forward passes of a review that a selection needs; a fusion needs those of all methods that were graded."""
    if kind == "baseline":
        return 0
    if kind == "search":
        return passes_of_all(depth)
    graded = {each for truth in truths for each in truth.summary if each in METHODS}
    return sum(METHODS[each].passes(depth, len(LABELS)) for each in ([name] if kind == "method" else graded))


def _smallest_contrast(results: list[CompressionResult], name: str, seeds: int) -> str:
    """A contrast at the highest ratio at which all seeds have it, with its mark and the ratio; empty if none has.

    With fewer baselines than five, their number is said; and so is a rival that only guesses.
    """
    for plan in sorted(results[0].plans if results else [], key=lambda plan: -plan.ratio):
        measured = [result.contrasts.get(str(plan.ratio), {}).get(name) for result in results]
        differences = [difference for difference in measured if difference]
        if len(differences) == len(results):
            baselines = min(result.count_baselines(plan.ratio) for result in results)
            few = f", {baselines} baseline{'s' * (baselines > 1)}" * (name == "choice_after" and baselines < 5)
            guess = GUESSES * (name == "from_scratch" and any(plan.ratio in result.guessing for result in results))
            shown = marked_mean(differences, seeds=seeds)
            return f"{shown}, at {name_ratio(plan.ratio, plan.reached)}{few}{guess}"
    return ""


def _percentiles_at(truths: list[GroundTruthResult], names: Iterable[str], layers: int) -> dict[str, Interval]:
    """The percentile with so many layers kept, for each name that was graded in all of these."""
    return {
        name: mean_of_ends([_percentile_interval(truth, name, layers) for truth in truths])
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


def _best_half_losses(truths: Sequence[Grading]) -> str:
    """Accuracy lost with the best half on other reviews, over seeds; without an interval where none was saved."""
    losses = [truth.best_half_loss for truth in truths if truth.best_half_loss]
    if len(losses) == len(truths):
        return combine_seeds(losses).points
    held_out = []
    for truth in truths:
        depth = len(truth.shapley)
        value = truth.sizes[depth // 2].best.held_out
        if value is None:
            return ""
        held_out.append(truth.sizes[depth].best.value - value)
    return f"{100 * mean(held_out):+.1f}"


def _mark_against_chance(summary: MethodSummary) -> str:
    """The mark of a gain over the mean choice; before version 0.3, of the percentile less one half."""
    return mark(summary.gain if summary.gain else _less(summary.percentile, 0.5))


def _is_above_baselines(summary: Mapping[str, MethodSummary], name: str) -> bool:
    """Whether a selection is shown to be better than the best baseline; before version 0.3, by separate intervals."""
    if summary[name].gain:
        gain = summary[name].gain_over_baseline
        return gain is not None and gain.low > 0
    return summary[name].percentile.low > max(summary[each].percentile.high for each in BASELINES)


def _less(interval: Interval, amount: float) -> Interval:
    return Interval(value=interval.value - amount, low=interval.low - amount, high=interval.high - amount, n=interval.n)


def _unsigned(interval: Interval) -> str:
    """An amount in points (hundredths)."""
    return f"{100 * interval.value:.1f} [{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
