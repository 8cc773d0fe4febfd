"""Runs side by side: this build and the recorded ones, what they measured, and where each number comes from."""

from math import comb
from statistics import mean, median

import pandas as pd
from pydantic import BaseModel

from layerwise.fusion import RULES
from layerwise.grading import CONTROLS, WELL
from layerwise.importance import METHODS
from layerwise.parameters import Parameters
from layerwise.recorded import Runs
from layerwise.results import ANEW, Graded, Interval, Recommender, Tested, TrainingResult, over_seeds, taus

# Of the parameters that training depends on, those of any model, and those that only one from scratch has.
OF_TRAINING = ("reviews", "train_reviews", "max_length", "epochs", "learning_rate", "batch_size", "layer_drop", "bf16")
OF_SCRATCH = ("layers", "hidden_size", "heads", "vocabulary_size", "dropout")


def origins(studies: dict[str, Runs]) -> pd.DataFrame:
    """Where numbers come from: a row a study and subject. `hours` are those of all its stages and seeds together.

    `scored` and `graded` say of how many seeds the layers were, and on how many reviews; `compressed` of how many. The
    numbers of reviews are the first seed's, of `learned from` and `tested on` too.
    """
    rows = []
    for study, subject, runs in _subjects(studies):
        (first, *_), made = runs, [result.provenance for stages in runs for result in stages.values()]
        trained = first["1_training"]
        there = trained.data.splits["train"].reviews
        learned = min(trained.provenance.parameters["train_reviews"] or there, there)
        rows.append(
            {
                "study": study,
                "subject": subject,
                "seeds": len(runs),
                "layers": trained.model.layers,
                "million parameters": round(trained.model.parameters / 1e6, 1),
                "data": trained.data.source,
                "learned from": f"{learned:,}",
                "scored": _on(runs, "3_advanced_importance"),
                "graded": _on(runs, "5_ground_truth"),
                "compressed": sum("6_compression" in stages for stages in runs),
                "tested on": trained.test.accuracy.n,
                "commit": " ".join(dict.fromkeys(each.commit for each in made)),
                "device": made[0].device,
                "hours": round(sum(each.seconds for each in made) / 3600, 2),
                "finished": max(each.finished for each in made)[:10],
            }
        )
    return pd.DataFrame(rows)


def of_stage(studies: dict[str, Runs], stage: str) -> dict[str, dict[int, BaseModel]]:
    """What a stage found, for each study and subject by the seeds that went through it."""
    found: dict[str, dict[int, BaseModel]] = {}
    for study, runs in studies.items():
        for (subject, seed), stages in runs.items():
            if stage in stages:
                found.setdefault(f"{study}: {subject}", {})[seed] = stages[stage]
    return found


def graded(studies: dict[str, Runs]) -> pd.DataFrame:
    """What the ground truth of each run says: a row a run, that is a study, a subject and a seed.

    What half of the layers cost, chosen blindly and at best, is in points of accuracy; a model `needs its depth` if it
    is more than one when they are chosen blindly. `early`, `middle` and `late` are the mean places of the thirds of the
    depth in the ranking by Shapley values, as `fusion.thirds` has them, with 95 % intervals over reviews, empty of
    fewer than three layers. `above zero` and `below zero` count the pairs of methods whose Kendall's tau is, with its
    whole interval. Percentiles are means over all sizes, of the method and of the control that have the highest;
    `above chance` are the methods whose interval is.
    """
    rows = []
    for run, seeds in of_stage(studies, "5_ground_truth").items():
        for seed, truth in seeds.items():
            row = {"run": run, "seed": seed, "layers": len(truth.shapley), "graded on": truth.examples}
            row |= {
                "half, blindly, costs": truth.half_by_chance.points,
                "half, at best, costs": truth.half_at_best.points,
                "needs its depth": {True: "yes", False: "hardly", None: "within noise"}[truth.needs_depth],
            }
            places = [f"{third:.2f}" for third in truth.thirds] if truth.thirds else [""] * 3
            row |= dict(zip(("early", "middle", "late"), places, strict=True))
            pairs = taus(truth, METHODS)
            row |= {
                "pairs": len(pairs),
                "above zero": sum(tau.low > 0 for tau in pairs),
                "below zero": sum(tau.high < 0 for tau in pairs),
                "median tau": f"{median(tau.value for tau in pairs):.2f}",
            }
            of = {name: said.percentile for name, said in truth.summary.items()}
            best, control = (
                max((name for name in names if name in of), key=lambda name: of[name].value)
                for names in (METHODS, CONTROLS)
            )
            above = [name.replace("_", " ") for name in METHODS if name in of and of[name].low > 0.5]
            rows.append(
                row
                | {
                    "best score": best.replace("_", " "),
                    "its percentile": f"{of[best]:.0%}",
                    "best control": control,
                    "the control's": f"{of[control]:.0%}",
                    "above chance": ", ".join(above) or "none",
                }
            )
    return pd.DataFrame(rows)


def claimed(tested: list[Tested]) -> pd.DataFrame:
    """Claims beside what was measured: a row a claim, a column a study and subject; empty where nothing was."""
    rows: dict[str, dict[str, str]] = {}
    for each in tested:
        row = rows.setdefault(each.claim, {"figure": each.claim, "claimed": f"{each.said:.1%}"})
        measured = f"{each.value:.1%}" if each.low == each.high else f"{each:.1%}"  # what was counted has no interval
        row[f"{each.study}: {each.subject}"] = f"{measured}: {each.verdict}"
    return pd.DataFrame(rows.values()).fillna("")


def methods(grades: pd.DataFrame) -> pd.DataFrame:
    """Cost, grade, stability and agreement: a row a method, each subject's beside the other's.

    Grades over several seeds are as `over_seeds` says, the rest are means; empty where there is none.
    """
    cells: dict[str, dict[tuple[str, str], str]] = {}
    for (method, subject), rows in grades.groupby(["method", "subject"], sort=False):
        row = cells.setdefault(method.replace("_", " "), {})
        for measure, kind in (("passes", ".1f"), ("percentile", ".0%"), ("regret", ".1%")):
            if f"{measure} low" in rows:
                seeds = zip(rows[measure], rows[f"{measure} low"], rows[f"{measure} high"], strict=True)
                found = over_seeds([Interval(value=value, low=low, high=high, n=0) for value, low, high in seeds])
            else:
                found = rows[measure].mean()
            row[subject, measure] = "" if pd.isna(rows[measure]).any() else f"{found:{kind}}"
        for measure in ("stability", "agreement"):
            row[subject, measure] = "" if pd.isna(rows[measure]).any() else f"{rows[measure].mean():.2f}"
    return pd.DataFrame(cells).T.rename_axis("method")


def answers(studies: dict[str, Runs]) -> pd.DataFrame:
    """What each study answers, a row a study and subject; over several seeds as `over_seeds` says."""
    rows = []
    for study, subject, runs in _subjects(studies):
        row = {"study": study, "subject": subject}
        row["accuracy"] = f"{over_seeds([stages['1_training'].test.accuracy for stages in runs]):.1%}"
        row["less linear, points"] = over_seeds([stages["1_training"].difference for stages in runs]).points
        if truths := [stages["5_ground_truth"] for stages in runs if "5_ground_truth" in stages]:
            row["half, blindly, points lost"] = over_seeds([truth.half_by_chance for truth in truths]).points
            row["half, at best, points lost"] = over_seeds([truth.half_at_best for truth in truths]).points
            for column, names in (("best score", METHODS), ("best vote", RULES), ("best control", CONTROLS)):
                means = {
                    name: over_seeds([truth.summary[name].percentile for truth in truths])
                    for name in names
                    if all(name in truth.summary for truth in truths)
                }
                if means:
                    best = max(means, key=lambda name: means[name].value)
                    row[column] = f"{best.replace('_', ' ')}: {means[best]:.0%}"
        if compressed := [stages["6_compression"] for stages in runs if "6_compression" in stages]:
            said = []
            for plan in compressed[0].plans:
                kept = [
                    candidate.retention
                    for result in compressed
                    for candidate in result.candidates
                    if (candidate.name, candidate.ratio, candidate.healed) == (result.choice, plan.ratio, True)
                ]
                if kept:
                    said.append(f"{over_seeds(kept):.1%} at {plan.at}")
            row["kept, healed"] = ", ".join(said)
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def tried(studies: dict[str, Runs]) -> pd.DataFrame:
    """What other settings of training gain and cost: a row a study, for each subject and device.

    The first study of a subject on a device is what the others are compared with; where it is alone it is left out.
    `settings` are the parameters that differ between them: all of these of the first, and of the others those that they
    have otherwise; `gain` is the accuracy on validation, by which one chooses, less that of the first, in points;
    `hours` are those of a seed.
    """
    found: dict[tuple[str, str], dict[str, list[TrainingResult]]] = {}
    for study, subject, runs in _subjects(studies):
        trained = [stages["1_training"] for stages in runs]
        device = trained[0].provenance.device.partition(" (")[0]
        found.setdefault((subject, device), {})[study] = trained
    rows = []
    for (subject, device), ways in found.items():
        if len(ways) < 2:
            continue
        names = (*OF_TRAINING, *OF_SCRATCH) if subject == "scratch" else OF_TRAINING
        settings = {study: _settings(trained[0], names) for study, trained in ways.items()}
        usual, *_ = settings.values()
        differ = [name for name in usual if len({one[name] for one in settings.values()}) > 1]
        reference = None
        for study, trained in ways.items():
            accuracy = over_seeds([result.validation.accuracy for result in trained])
            own, first = settings[study], reference is None
            said = [f"{name} {own[name]}" for name in differ if first or own[name] != usual[name]]
            reference = reference or accuracy
            apart = accuracy.low > reference.high or accuracy.high < reference.low
            rows.append(
                {
                    "subject": subject,
                    "device": device,
                    "study": study,
                    "settings": ", ".join(said) or "the same",
                    "seeds": len(trained),
                    "validation": f"{accuracy:.1%}",
                    "gain": "" if first else f"{100 * (accuracy.value - reference.value):+.1f}",
                    "intervals": "" if first else "apart" if apart else "overlap",
                    "test, minus linear": over_seeds([result.difference for result in trained]).points,
                    "hours": f"{mean(result.provenance.seconds for result in trained) / 3600:.2f}",
                }
            )
    return pd.DataFrame(rows)


def trusted(studies: dict[str, Runs]) -> pd.DataFrame:
    """In how many runs each score, vote and control is shown to choose better than chance: a row each, the best first.

    A run is a study, a subject and a seed; its percentile is that of `percentiles`. `above chance` and `below chance`
    count the runs whose whole interval lies above one half or below it, `above controls` those whose interval lies
    above the intervals of all controls. Who was not asked in every run is left out.
    """
    summaries = [truth.summary for seeds in of_stage(studies, "5_ground_truth").values() for truth in seeds.values()]
    controls = [max(summary[each].percentile.high for each in CONTROLS) for summary in summaries]
    rows = []
    for kind, names in (("score", METHODS), ("vote", RULES), ("control", CONTROLS)):
        for name in names:
            if summaries and all(name in summary for summary in summaries):
                found = [summary[name].percentile for summary in summaries]
                rows.append(
                    {
                        "choice by": name.replace("_", " "),
                        "kind": kind,
                        "runs": len(found),
                        "mean percentile": mean(each.value for each in found),
                        "lowest": min(each.value for each in found),
                        "above chance": sum(each.low > 0.5 for each in found),
                        "below chance": sum(each.high < 0.5 for each in found),
                        "above controls": sum(
                            each.low > control for each, control in zip(found, controls, strict=True)
                        ),
                    }
                )
    rows.sort(key=lambda row: (row["above chance"], row["mean percentile"]), reverse=True)
    return pd.DataFrame(rows)


def percentiles(studies: dict[str, Runs]) -> dict[str, dict[str, Interval]]:
    """The mean percentile of each method's choices, for each study and subject; over several seeds as `over_seeds`.

    Methods that not all seeds of a subject have are left out.
    """
    found = {subject: [*seeds.values()] for subject, seeds in of_stage(studies, "5_ground_truth").items()}
    return {
        subject: {
            name: over_seeds([truth.summary[name].percentile for truth in truths])
            for name in truths[0].summary
            if all(name in truth.summary for truth in truths)
        }
        for subject, truths in found.items()
    }


def fused(studies: dict[str, Runs]) -> pd.DataFrame:
    """How the votes of all methods choose at each ratio: percentiles among all choices of so many layers.

    A row a study, subject and ratio: `layers` kept, how many `choices` of so many there are, the percentile of each
    rule of fusion as an Interval, and the single method, `best`, that has the highest, `single`; `good scores` says how
    many of the methods choose well. Seeds without votes or ground truth, and ratios that keep no layer or every one,
    are left out.
    """
    rows = []
    for study, subject, runs in _subjects(studies):
        runs = [stages for stages in runs if {"5_ground_truth", "4_llm_and_fusion"} <= stages.keys()]
        for ratio, layers in runs[0]["4_llm_and_fusion"].layers_left.items() if runs else ():
            truths, depth = [stages["5_ground_truth"] for stages in runs], runs[0]["1_training"].model.layers
            if 0 < layers < depth:
                at = {
                    name: over_seeds([_percentile(truth, name, layers) for truth in truths])
                    for name in (*RULES, *METHODS)
                    if all(name in truth.grades for truth in truths)
                }
                scores = [name for name in METHODS if name in at]
                best, good = max(scores, key=lambda name: at[name].value), sum(at[n].value >= WELL for n in scores)
                row = {"study": study, "subject": subject, "ratio": float(ratio), "layers": layers}
                row |= {"choices": comb(depth, layers)} | {rule: at[rule] for rule in RULES if rule in at}
                rows.append(row | {"best": best, "single": at[best], "good scores": f"{good} of {len(scores)}"})
    return pd.DataFrame(rows)


def smaller(studies: dict[str, Runs]) -> list[dict]:
    """What each smaller model keeps: a row a study and subject, ratio, choice of layers, healed or not.

    Over several seeds the value is the mean, and the interval reaches from the lowest end of theirs to the highest.
    """
    rows = []
    for subject, seeds in of_stage(studies, "6_compression").items():
        found = [*seeds.values()]
        depths = {plan.ratio: plan.layers for plan in found[0].plans}
        of_seeds = [{(c.name, c.ratio, c.healed): c for c in result.candidates} for result in found]
        for name, ratio, healed in of_seeds[0]:
            mine = [each[name, ratio, healed] for each in of_seeds if (name, ratio, healed) in each]
            if ratio in depths and len(mine) == len(found):
                kept = over_seeds([candidate.retention for candidate in mine])
                rows.append(
                    {
                        "subject": subject,
                        "ratio": ratio,
                        "layers": depths[ratio],
                        "name": name,
                        "healed": healed,
                        "seeds": len(mine),
                        "accuracy": over_seeds([candidate.accuracy for candidate in mine]),
                        "kept": kept.value,
                        "low": kept.low,
                        "high": kept.high,
                    }
                )
    return rows


def kept(smaller: list[dict], healed: bool) -> pd.DataFrame:
    """What each choice of layers keeps of the whole model's accuracy, a row a subject and ratio of `smaller`.

    A column a choice that was healed anywhere: what it keeps as it is; or healed, and beside it what learned anew.
    """
    choices = dict.fromkeys(row["name"] for row in smaller if row["healed"])
    shown = [(name, healed) for name in choices] + [(ANEW, False)] * healed
    cells: dict[tuple, dict[str, str | int]] = {}
    for row in sorted(smaller, key=lambda row: (row["subject"], row["ratio"])):
        if (row["name"], row["healed"]) in shown:
            head = {name: row[name] for name in ("subject", "layers", "seeds")} | {"ratio": f"{row['ratio']:g}x"}
            name, value = row["name"].replace("_", " "), "{kept:.1%} [{low:.1%}, {high:.1%}]".format(**row)
            cells.setdefault((row["subject"], row["ratio"]), head)[name] = value
    columns = ["subject", "ratio", "layers", "seeds", *(name.replace("_", " ") for name, _ in shown)]
    return pd.DataFrame(cells.values(), columns=columns).fillna("")


def contrasts(studies: dict[str, Runs]) -> pd.DataFrame:
    """What the choice of layers, and having been large, are worth: a row a study, subject, seed and ratio.

    Intervals of paired differences of accuracy, as `compression.contrasts` has them, NaN where there is none: of the
    first choice and blind ones, before healing and after it, and of the healed model and its rivals. `guessing` is
    whether the one that learned anew is not shown to have learned more than that.
    """
    rows = []
    for run, seeds in of_stage(studies, "6_compression").items():
        for seed, result in seeds.items():
            guessing = {candidate.ratio for candidate in result.guessing}
            for plan in result.plans:
                found = result.contrasts[str(plan.ratio)]
                row = {"run": run, "seed": seed, "ratio": plan.at, "layers": plan.layers}
                row |= {name: found.get(name) for name in ("choice_before", "choice_after", "anew", "linear")}
                rows.append(row | {"guessing": plan.ratio in guessing})
    return pd.DataFrame(rows)


def recommenders(found: dict[str, Recommender]) -> pd.DataFrame:
    """NDCG@10 of every recommender, a column a study."""
    columns = {
        f"{study}: {result.data.source}": {name: f"{each.ndcg_10:.4f}" for name, each in result.metrics.items()}
        for study, result in found.items()
    }
    return pd.DataFrame(columns).fillna("").rename_axis("NDCG@10").rename(index=lambda name: name.replace("_", " "))


def markdown(title: str, sections: dict[str, list[str | pd.DataFrame]], foot: str) -> str:
    """A document for those who read no notebooks: under each heading paragraphs, tables, and figures by their files."""
    parts = [f"# {title}"]
    for heading, contents in sections.items():
        parts.append(f"## {heading}")
        for content in contents:
            if isinstance(content, pd.DataFrame):
                heads = [" ".join(filter(None, name)) if isinstance(name, tuple) else name for name in content]
                parts.append(content.set_axis(heads, axis=1).to_markdown(index=False, disable_numparse=True))
            else:
                parts.append(f"![{heading}]({content})" if content.endswith(".png") else content)
    return "\n\n".join([*parts, "---", foot]) + "\n"


def _settings(trained: TrainingResult, names: tuple[str, ...]) -> dict[str, str]:
    """How a model was trained, in words; what there was no parameter for yet was as it is by default."""
    set_to = {name: field.default for name, field in Parameters.model_fields.items()} | trained.provenance.parameters
    said = {name.replace("_", " "): "all" if set_to[name] is None else f"{set_to[name]}" for name in names}
    warm_up = f"{set_to['warm_up_epochs']} x {trained.warm_up.texts:,} texts" if trained.warm_up else "none"
    return said | {"warm-up": warm_up}


def _on(runs: list[dict[str, BaseModel]], stage: str) -> str:
    """How many seeds went through a stage, and on how many reviews; empty where none did."""
    found = [stages[stage].examples for stages in runs if stage in stages]
    return f"{len(found)} on {found[0]:,}" if found else ""


def _percentile(truth: Graded, name: str, layers: int) -> Interval:
    grade = truth.grades[name][layers]
    low, high = grade.percentile_interval
    return Interval(value=grade.percentile, low=low, high=high, n=truth.examples)


def _subjects(studies: dict[str, Runs]):
    """Study, subject, and the results of each of its seeds."""
    for study, runs in studies.items():
        for subject in dict.fromkeys(subject for subject, _ in runs):
            yield study, subject, [stages for (name, _), stages in runs.items() if name == subject]
