"""Comparisons of runs: how measurements compare with claims, and that tables hold the recorded numbers."""

import re
from dataclasses import replace
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from scipy.stats import rankdata

from layerwise import grading, statistics
from layerwise.budget import CompressionPlan
from layerwise.errors import InputError
from layerwise.grading import BASELINES
from layerwise.importance import METHODS
from layerwise.ranking import FUSION_RULES
from layerwise.report import marks, tables, text
from layerwise.statistics import Interval
from layerwise.study import claims, comparison, records


def interval(low: float, high: float) -> Interval:
    return Interval(value=(low + high) / 2, low=low, high=high, n=9)


def trained(test: tuple[float, float, float]) -> dict:
    """The results of a run that has only been trained, with this accuracy and its interval on every split."""
    value, low, high = test
    score = SimpleNamespace(accuracy=Interval(value=value, low=low, high=high, n=100))
    data = SimpleNamespace(unique_text_ratio=0.9, rows=1000)
    return {"training": SimpleNamespace(test=score, train=score, validation=score, baseline=score, data=data)}


def check_test_accuracy(runs: dict):
    """The check of the claim about test accuracy."""
    (checked,) = (each for each in claims.check_claims("here", runs) if each.claim == "accuracy, test")
    return checked


@pytest.mark.parametrize(
    ("test", "verdict"),
    [((0.91, 0.89, 0.93), "above"), ((0.85, 0.82, 0.88), "below"), ((0.89, 0.87, 0.91), "within")],
)
def test_a_claim_is_checked_against_the_whole_interval(test, verdict):
    checked = check_test_accuracy({("scratch", 0): trained(test)})
    assert (checked.verdict, checked.claimed, checked.value) == (verdict, 0.888, test[0])


def test_over_seeds_a_figure_is_their_mean_and_its_interval_grows_with_their_spread():
    different = (0.86, 0.84, 0.88), (0.90, 0.88, 0.92), (0.88, 0.86, 0.90)
    checked = check_test_accuracy({("scratch", seed): trained(each) for seed, each in enumerate(different)})
    assert (checked.seeds, checked.value, checked.verdict) == (3, pytest.approx(0.88), "within")
    alike = check_test_accuracy({("scratch", seed): trained((0.88, 0.86, 0.90)) for seed in range(3)})
    assert (alike.low, alike.high) == (pytest.approx(0.86), pytest.approx(0.90))
    assert checked.high - checked.low > alike.high - alike.low


def test_what_a_study_did_not_measure_is_left_out_and_not_made_up():
    here = claims.check_claims("here", {("scratch", 0): trained((0.9, 0.8, 1.0))})
    assert not [each for each in here if each.claim.startswith("accuracy at")]
    recorded = claims.check_claims("electronics_cpu", records.load_studies()["electronics_cpu"])
    row = tables.claims_table(here + recorded).set_index("figure")
    assert row.loc["accuracy at 2.5x, healed", "here: scratch"] == ""
    assert row.loc["accuracy at 2.5x, healed", "electronics_cpu: scratch"]


def test_the_compressed_accuracy_compared_with_a_claim_is_that_of_the_recorded_candidates():
    runs = records.load_studies()["electronics_cpu"]
    for healed, name in ((True, "accuracy at 2.5x, healed"), (False, "accuracy at 2.5x, unhealed")):
        (checked,) = (e for e in claims.check_claims("it", runs) if e.claim == name and e.model == "scratch")
        accuracies = [
            candidate.accuracy.value
            for (model, _), stages in runs.items()
            if model == "scratch" and "compression" in stages
            for candidate in stages["compression"].candidates
            if (candidate.name, candidate.ratio, candidate.healed) == (stages["compression"].choice, 2.5, healed)
        ]
        assert checked.value == pytest.approx(sum(accuracies) / len(accuracies))
        assert checked.seeds == len(accuracies) > 1


def test_a_study_that_repeats_a_training_adds_its_compressed_accuracy_to_the_claims_and_no_row_of_settings():
    studies = records.leave_out_repeats(records.load_studies(["electronics", "electronics_compressed"]))
    checked = claims.check_claims("electronics_compressed", studies["electronics_compressed"])
    assert [each.claim for each in checked] == ["accuracy at 2.5x, unhealed", "accuracy at 2.5x, healed"]
    assert {each.seeds for each in checked} == {2}
    assert tables.settings_table(studies).empty


def test_a_ratio_that_was_not_reached_is_compared_with_no_claim_about_it():
    key = ("scratch", 0)
    stages = records.load_studies()["electronics_cpu"][key]
    checked = {e.claim for e in claims.check_claims("it", {key: stages})}
    missed = [replace(plan, reached=plan.ratio - 0.01) for plan in stages["compression"].plans]
    result = stages["compression"].model_copy(update={"plans": missed})
    left = {e.claim for e in claims.check_claims("it", {key: stages | {"compression": result}})}
    assert checked - left and all(name.startswith("accuracy at") for name in checked - left)
    assert not {name for name in left if name.startswith("accuracy at")}


def test_the_answers_of_a_recorded_study_are_those_of_its_files():
    studies = records.load_studies()
    table = tables.answers_table(studies).set_index(["study", "model"])
    runs = [stages for (model, _), stages in studies["electronics"].items() if model == "minilm"]
    accuracy = statistics.combine_seeds([stages["training"].test.accuracy for stages in runs])
    assert table.loc[("electronics", "minilm"), "accuracy"] == f"{accuracy:.1%}"
    truths = [stages["ground_truth"] for stages in runs]
    means = {
        name: statistics.mean_of_ends([truth.summary[name].percentile for truth in truths])
        for name in METHODS
        if name in truths[0].summary
    }
    best = max(means, key=lambda name: means[name].value)
    assert table.loc[("electronics", "minilm"), "best method"] == f"{best}: {means[best]:.0%}"
    runs_on_cpu = studies["electronics_cpu"]
    kept = statistics.combine_seeds(
        [
            candidate.retention
            for (model, _), stages in runs_on_cpu.items()
            if model == "scratch" and "compression" in stages
            for candidate in stages["compression"].candidates
            if (candidate.name, candidate.ratio, candidate.healed) == ("best_subset", 4.0, True)
        ]
    )
    assert table.loc[("electronics_cpu", "scratch"), "accuracy kept after healing"].endswith(f", {kept:.1%} at 4x")
    assert table.loc[("electronics", "scratch"), "seeds"] == 5  # of which two are graded
    assert table.loc[("electronics", "scratch"), tables.RANDOM_HALF_LOSS].endswith(", 2 of 5 seeds")
    depth = len(truths[0].shapley)
    held_out = [truth.sizes[depth].best.value - truth.sizes[depth // 2].best.held_out for truth in truths]
    assert table.loc[("electronics", "minilm"), tables.BEST_HALF_LOSS] == f"{100 * np.mean(held_out):+.1f}"


def test_the_table_of_provenance_names_commit_device_and_time_of_every_study():
    rows = tables.provenance_table(records.load_studies())
    assert rows[["commit", "device", "finished", "data"]].map(bool).all(axis=None) and (rows["hours"] > 0).all()
    assert set(rows["study"]) == records.load_studies().keys()
    columns = ["seeds", "scored (seeds on reviews)", "graded (seeds on reviews)", "compressed (seeds)"]
    stages = rows.set_index(["study", "model"])[columns]
    assert stages.loc[("electronics", "minilm")].tolist() == [3, "3 on 1,001", "3 on 1,007", 2]
    assert stages.loc[("electronics_compressed", "scratch")].tolist() == [2, "2 on 200", "2 on 1,007", 2]
    assert stages.loc[("more_words", "scratch")].tolist() == [3, "", "", 0]


def test_the_table_of_methods_has_cost_and_grades_with_intervals_and_is_empty_where_there_is_none():
    row = {"model": "scratch", "method": "block_influence", "passes": 1.0, "stability": 0.5, "agreement": 0.25}
    grade = {"percentile": 0.6, "percentile low": 0.4, "percentile high": 0.8}
    regret = {"regret": 0.01, "regret low": 0.0, "regret high": 0.02}
    regret |= {"gain": 0.01, "gain low": -0.01, "gain high": 0.03}
    baseline = {"method": "first", "passes": None, "stability": None, "agreement": None}
    rows = [{**row, **grade, **regret, "seed": 0}, {**row, **grade, **regret, "seed": 1, "percentile": 0.8}]
    table = tables.methods_table(pd.DataFrame([*rows, {**rows[0], **baseline}]))
    assert table.loc["block influence", "scratch"].tolist() == [
        "1.0",
        "+1.0% [-1.0%, +3.0%]",
        "70% [40%, 80%]",
        "1.0% [0.0%, 2.0%]",
        "0.50",
        "0.25",
    ]
    assert table.loc["first", "scratch"].tolist() == [
        "",
        "+1.0% [-1.0%, +3.0%]",
        "60% [40%, 80%]",
        "1.0% [0.0%, 2.0%]",
        "",
        "",
    ]
    report = text.write_markdown("Title", {"Trust": [table.reset_index()]}, "foot")
    assert re.search(r"\| method +\| scratch passes +\| scratch gain +\| scratch percentile +\|", report)


def test_the_report_holds_tables_sentences_and_figures_under_their_headings():
    table = pd.DataFrame({"figure": ["accuracy"], "claimed": ["88.8%"]})
    report = text.write_markdown("Title", {"First": [table, "A sentence."], "Second": ["some.png"]}, "Made here.")
    assert report.index("# Title") < report.index("## First") < report.index("| accuracy") < report.index("A sentence.")
    assert "![Second](some.png)" in report and report.endswith("---\n\nMade here.\n") and "88.8%" in report


def test_the_table_of_settings_has_those_that_differ_and_the_gain_over_the_first_study_of_the_model_and_device():
    studies = records.load_studies(
        ["electronics", "electronics_cpu", "mlm_pretraining", "mlm_pretraining_wide", "fewer_reviews"]
    )
    table = tables.settings_table(studies)
    settings = table.set_index(["model", "device", "study"])["settings"].to_dict()
    assert settings == {
        ("scratch", "NVIDIA H200", "electronics"): "pretraining none",
        ("scratch", "NVIDIA H200", "mlm_pretraining_wide"): "pretraining 5 x 41,063 texts",
        ("minilm", "CPU", "electronics_cpu"): "train reviews all, bf16 False",
        ("minilm", "CPU", "fewer_reviews"): "train reviews 6000, bf16 True",
        ("scratch", "CPU", "electronics_cpu"): "pretraining none",
        ("scratch", "CPU", "mlm_pretraining"): "pretraining 2 x 41,063 texts",
    }
    assert (table["intervals"] == "").tolist() == (table["gain (points)"] == "").tolist() == 3 * [True, False]
    assert set(table["intervals"]) == {"", "overlap"}
    few, many = (
        statistics.combine_seeds(
            [stages["training"].validation.accuracy for (name, _), stages in studies[study].items() if name == "minilm"]
        )
        for study in ("fewer_reviews", "electronics_cpu")
    )
    assert table.set_index("study").loc["fewer_reviews", "gain (points)"] == f"{100 * (few.value - many.value):+.1f}"
    (last,) = (
        tables.settings_table(records.load_studies(["mlm_pretraining", "electronics_cpu"])).tail(1).to_dict("records")
    )
    assert (last["study"], last["settings"]) == ("electronics_cpu", "pretraining none")
    settings = tables.settings_table(records.load_studies(["electronics_cpu", "more_words"])).set_index("study")[
        "settings"
    ]
    assert settings["more_words"] == "bf16 True, vocabulary size 12000"
    assert tables.settings_table(records.load_studies(["electronics_cpu"])).empty  # there is nothing to compare it with


def fused(*ratios: tuple[str, int], percentiles: dict[str, float]) -> dict:
    """The results of a run of twelve layers whose methods and fusions have these percentiles at every size."""
    grades = {
        name: grading.SizeGrade(
            layers=None,
            value=0.5,
            regret=0,
            percentile=value,
            value_interval=(0, 1),
            regret_interval=(0, 0),
            percentile_interval=(value - 0.05, value + 0.05),
        )
        for name, value in percentiles.items()
    }
    return {
        "training": SimpleNamespace(model=SimpleNamespace(layers=12)),
        "fusion": SimpleNamespace(layers_left=dict(ratios)),
        "ground_truth": SimpleNamespace(
            examples=9,
            grades={name: dict.fromkeys(range(13), each) for name, each in grades.items()},
        ),
    }


def test_a_fused_ranking_has_its_percentile_beside_the_best_method_and_the_count_of_good_ones():
    rules = dict.fromkeys(("borda", "reciprocal_rank", "kemeny"), 0.7)
    run = fused(("1.35", 9), ("4.0", 0), percentiles=rules | {"shap": 0.97, "fisher": 0.2})
    other = fused(("1.35", 9), percentiles=rules | {"borda": 0.8, "shap": 0.93, "fisher": 0.99})
    (row,) = tables.fusion_table({"mine": {("scratch", 0): run, ("scratch", 1): other}}).to_dict("records")
    assert (row["ratio"], row["layers"], row["best method"]) == (1.35, 9, "shap")  # no layer is left at 4.0x
    assert f"{row['borda']:.2f}" == "0.75 [0.70, 0.80]" and row["best percentile"].value == pytest.approx(0.95)
    assert (row["sub-networks"], row["good methods"]) == (220, "1 of 2")
    good = fused(("1.35", 9), percentiles=rules | {"kemeny": 0.96, "shap": 0.9})
    only_trained = {"training": run["training"]}
    assert tables.fusion_table({"mine": {("scratch", 0): only_trained}}).empty
    assert len(tables.fusion_table({"mine": {("scratch", 0): good, ("scratch", 1): only_trained}})) == 1


def test_the_accuracy_kept_by_smaller_models_and_the_percentile_of_methods_are_means_of_the_seeds_of_a_recorded_study():
    studies = records.load_studies(records.REFERENCE_STUDIES)
    runs = [stages for (name, _), stages in studies["electronics_cpu"].items() if name == "scratch"]
    results = [stages["compression"] for stages in runs if "compression" in stages]
    rows = [row for row in comparison.retention_rows(studies) if row["model"] == "electronics_cpu: scratch"]
    assert {(row["name"], row["ratio"], row["healed"]) for row in rows} == {
        (c.name, c.ratio, c.healed) for c in results[0].candidates if c.ratio
    }
    for row in rows:
        same = [
            c.retention
            for result in results
            for c in result.candidates
            if all(getattr(c, k) == row[k] for k in ("name", "ratio", "healed"))
        ]
        assert row["seeds"] == len(results)
        combined = statistics.combine_seeds(same)
        assert (row["low"], row["high"]) == (combined.low, combined.high)
        assert row["kept"] == pytest.approx(sum(c.value for c in same) / len(results))
    (best,) = [row for row in rows if (row["name"], row["ratio"], row["healed"]) == ("best_subset", 4.0, True)]
    for healed in (False, True):
        shown = tables.retention_table(rows, healed)
        assert list(shown["ratio"]) == ["1.35x", "1.8x", "2.5x", "4x"] and ("trained from scratch" in shown) == healed
        assert not (shown == "").any(axis=None)
    assert shown["best subset"][3] == f"{best['kept']:.1%} [{best['low']:.1%}, {best['high']:.1%}]"
    assert tables.retention_table([], healed=True).empty
    truths = [s["ground_truth"] for (name, _), s in studies["electronics"].items() if name == "minilm"]
    assert comparison.mean_percentiles(studies)["electronics: minilm"]["shap"] == statistics.mean_of_ends(
        [truth.summary["shap"].percentile for truth in truths]
    )


def test_a_row_of_contrasts_holds_the_paired_differences_of_its_model_seed_and_ratio():
    studies = records.load_studies(records.REFERENCE_STUDIES)
    rows = tables.contrasts_table(studies).to_dict("records")
    groups = records.group_by_model(studies, "compression").values()
    results = [result for seeds in groups for result in seeds.values()]
    contrasts = [named for result in results for named in result.contrasts.values()]
    names = ("choice_before", "choice_after", "from_scratch", "linear")
    assert len(rows) == len(contrasts) > 10
    for row, named in zip(rows, contrasts, strict=True):
        assert {name: row[name] for name in names}.items() <= named.items()
    assert [row["guessing"] for row in rows] == [
        plan.ratio in result.guessing for result in results for plan in result.plans
    ]
    assert {row["baselines"] for row in rows} == {1}  # the recorded runs healed one random draw


def test_to_beat_a_rival_that_guesses_counts_for_nothing():
    gain = interval(0.1, 0.2)
    rows = pd.DataFrame({"from_scratch": [gain, gain, gain], "linear": [gain] * 3, "guessing": [True, False, True]})
    counted = tables.count_contrasts(rows).set_index("compared")
    assert counted.loc[tables.CONTRASTS["from_scratch"], ["measured", "better"]].tolist() == [1, 1]
    assert counted.loc[tables.CONTRASTS["linear"], ["measured", "better"]].tolist() == [3, 3]
    assert tables.count_contrasts(tables.contrasts_table({}))["measured"].sum() == 0
    plans = [CompressionPlan(ratio=2.0, layers=1, depth=4, trimmed=False, reached=2.0)]
    names = {"from_scratch": "less trained from scratch"}
    shown = tables.contrasts_at(plans, {"2.0": {"from_scratch": gain}}, names, guessing=[2.0])
    assert list(shown) == ["2x: less trained from scratch, which only guesses"]


def test_each_graded_run_has_its_thirds_its_signs_of_tau_and_its_best_method_and_baseline():
    runs = records.load_studies()["electronics"]
    rows = tables.ground_truth_table({"electronics": runs}).set_index(["model", "seed"])
    graded = {run: stages for run, stages in runs.items() if "ground_truth" in stages}
    assert len(rows) == len(graded) > 3
    for (model, seed), stages in graded.items():
        truth, row = stages["ground_truth"], rows.loc[(f"electronics: {model}", seed)]
        place = rankdata(truth.shapley) - 1  # layers that add less
        early = np.array_split(place / (len(place) - 1), 3)[0].mean()
        low, high = (truth.random_half_loss.low, truth.random_half_loss.high)
        assert row["needs its depth"] == ("yes" if low > 0.01 else "hardly" if high < 0.01 else "within noise")
        assert row["early"].startswith(f"{early:.2f} [") and row["reviews"] == truth.examples == 1007
        pairs = [
            (truth.agreement_low[i][j], truth.agreement_high[i][j])
            for i, one in enumerate(truth.ranked)
            for j, other in enumerate(truth.ranked)
            if i < j and {one, other} <= METHODS.keys()
        ]
        assert (row["pairs of methods"], row["tau above zero"]) == (45, sum(low > 0 for low, _ in pairs)) and len(
            pairs
        ) == 45
        assert row["tau below zero"] == sum(high < 0 for _, high in pairs)
        means = {name: summary.percentile.value for name, summary in truth.summary.items()}
        best = row["best method"].replace(" ", "_")
        assert means[best] == max(means[name] for name in METHODS)
        assert means[row["best baseline"]] == max(means[name] for name in ("first", "last", "even", "random"))


def test_runs_are_counted_in_which_the_whole_interval_lies_above_chance_or_above_all_baselines():
    def graded(**percentiles: tuple[float, float]) -> dict:
        names = dict.fromkeys([*METHODS, *FUSION_RULES, *BASELINES], (0.5, 0.5)) | percentiles
        summary = {
            name: SimpleNamespace(percentile=Interval(value=(low + high) / 2, low=low, high=high, n=9), gain=None)
            for name, (low, high) in names.items()
        }
        return {"ground_truth": SimpleNamespace(summary=summary)}

    runs = {
        ("a", 0): graded(shap=(0.8, 0.9), kemeny=(0.6, 0.8), first=(0.55, 0.7), fisher=(0.1, 0.2)),
        ("a", 1): graded(shap=(0.4, 0.9), kemeny=(0.6, 0.8)),
        ("b", 0): {},
    }
    table = tables.runs_above_chance_table({"mine": runs}).set_index("selected by")
    assert table.index[:3].tolist() == ["kemeny", "shap", "first"] and set(table["runs"]) == {2}
    counts = table[["runs above chance", "runs below chance", "runs above all baselines"]]
    assert counts.loc[["kemeny", "shap", "first", "fisher"]].to_numpy().tolist() == [
        [2, 0, 1],
        [1, 0, 1],
        [1, 0, 0],
        [0, 1, 0],
    ]
    assert table.loc[["kemeny", "shap"], "models above chance"].tolist() == ["1 of 1", "0 of 1"]
    gains = {"gain": interval(-0.1, 0.1), "gain_over_baseline": interval(0.01, 0.02)}
    for runs_of_model in runs.values():  # as they are saved now: the gain counts, and not the percentile
        if runs_of_model:
            vars(runs_of_model["ground_truth"].summary["kemeny"]).update(gains)
    by_gain = tables.runs_above_chance_table({"mine": runs}).set_index("selected by").loc["kemeny"]
    assert by_gain[["runs above chance", "runs above all baselines"]].tolist() == [0, 2]
    shares = table.loc["shap", ["mean percentile", "lowest percentile"]]
    assert shares.tolist() == pytest.approx([0.75, 0.65])
    assert tables.runs_above_chance_table({"mine": {("b", 0): {}}}).empty


@pytest.mark.parametrize("study", records.load_studies())
def test_the_page_of_the_recorded_runs_can_be_made_of_each_study_alone(study, tmp_path):
    cells = nbformat.read(ROOT / "notebooks" / "recorded_runs.ipynb", as_version=4).cells
    notebook = {"__name__": "__main__"}
    for cell in cells:
        if cell.cell_type == "code":
            exec(cell.source, notebook)
            if "parameters" in cell.metadata.get("tags", []):
                notebook |= {"runs": str(tmp_path), "studies": [study]}
    assert notebook["studies"].keys() == {study} and (tmp_path / "quick" / "recorded_runs_accuracy.png").is_file()


def test_a_study_that_is_not_recorded_is_answered_with_those_that_are():
    with pytest.raises(InputError, match="no study 'mine' is recorded; choose from: .*mlm_pretraining"):
        records.load_studies(["mlm_pretraining", "mine"])


def test_a_mark_says_on_which_side_of_zero_the_whole_interval_lies_and_how_many_seeds_it_is_from():
    gain, loss, unsure = (interval(0.01, 0.03), interval(-0.03, -0.01), interval(-0.01, 0.01))
    assert [marks.mark(each) for each in (gain, loss, unsure)] == list(marks.MARKS)
    assert [marks.mark(each, lower_is_better=True) for each in (gain, loss, unsure)] == ["worse", "better", "not shown"]
    assert marks.marked_mean([gain, gain]) == "+2.0 [+1.0, +3.0], better, 2 seeds"
    assert marks.marked_mean([loss, unsure, loss]).endswith(", not shown, 3 seeds")
    assert marks.marked_mean([loss], seeds=5) == "-2.0 [-3.0, -1.0], worse, 1 of 5 seeds"
    assert marks.marked_mean([loss]) == "-2.0 [-3.0, -1.0], worse" and marks.marked_mean([]) == ""
    counts = marks.count_marks({"one": [gain, loss, unsure, gain, None, float("nan")], "none": []}).set_index(
        "compared"
    )
    assert counts.loc["one"].to_dict() == {"measured": 4, "better": 2, "worse": 1, "not shown": 1}
    assert counts.loc["none"].tolist() == [0, 0, 0, 0]
    table = marks.marks_table({"shorter": loss}, unit="layers", lower_is_better=True)
    assert table.loc[0].tolist() == ["shorter", "-2.0 [-3.0, -1.0]", "better"]


def test_the_marked_answers_of_a_recorded_study_are_those_of_its_files_and_empty_where_nothing_was_measured():
    runs = records.load_studies(["electronics_cpu"])["electronics_cpu"]
    answers = tables.marked_answers(runs)
    results = [stages["compression"] for (model, _), stages in runs.items() if model == "scratch"]
    differences = [result.contrasts["4.0"]["choice_after"] for result in results]
    assert answers.loc[tables.CHOICE_GAIN, "scratch"] == f"{marks.marked_mean(differences)}, at 4x, 1 baseline"
    assert answers.loc[tables.CHOICE_GAIN, "minilm"] == answers.loc[tables.HEALING_GAIN, "minilm"] == ""
    truth = runs["minilm", 0]["ground_truth"]
    behind = truth.summary["random"].behind_best
    assert answers.loc[tables.BEST_SCORE_GAIN, "minilm"] == f"{behind.points}, {marks.mark(behind)}"
    assert truth.random_half_loss.low > 0 and answers.loc[tables.RANDOM_HALF_LOSS, "minilm"].endswith(", worse")
    assert answers.loc[tables.GAIN, "minilm"].endswith(", better")


def test_a_ratio_that_was_not_reached_is_named_by_the_one_that_was_beside_the_one_asked_for():
    runs = records.load_studies(["electronics_cpu"])["electronics_cpu"]
    result = runs["scratch", 0]["compression"]
    plans = [replace(plan, reached=2.75) if plan.ratio == 4 else plan for plan in result.plans]
    table = tables.marked_contrasts(plans, result.contrasts)
    assert table["ratio"].iloc[-1] == "2.75x (asked for 4x)"
    difference = result.contrasts["4.0"]["linear"]
    shown = table["healed less linear classifier (points)"].iloc[-1]
    assert shown == f"{difference.points}, {marks.mark(difference)}"
    missed = {("scratch", 0): runs["scratch", 0] | {"compression": result.model_copy(update={"plans": plans})}}
    assert tables.marked_answers(missed).loc[tables.HEALING_GAIN, "scratch"].endswith(", at 2.75x (asked for 4x)")
    kept = tables.retention_table(comparison.retention_rows({"mine": missed}), healed=True)
    assert kept["ratio"].iloc[-1] == "2.75x (asked for 4x)"


def test_verdicts_on_a_published_figure_are_counted_over_the_models_that_measured_it():
    runs = {
        name: {("scratch", 0): trained(test)}
        for name, test in {"low": (0.8, 0.7, 0.85), "high": (0.9, 0.89, 0.95)}.items()
    }
    checked = [each for study, run in runs.items() for each in claims.check_claims(study, run)]
    assert tables.recorded_verdicts(checked)["accuracy, test"] == "below 1, above 1"
    assert "accuracy at 2.5x, healed" not in tables.recorded_verdicts(checked)


def test_the_tables_of_pruned_language_models_and_smaller_recommenders_hold_the_recorded_numbers():
    language = records.load_shared_stage("language_model")
    pruned = tables.pruned_table(language)
    assert len(pruned) == sum(1 + len(result.pruned) for result in language.values())
    first = next(iter(language.values()))
    assert pruned.loc[0, ["layers", "accuracy"]].tolist() == [first.model.layers, f"{first.accuracy_unpruned:.1%}"]
    assert pruned.loc[1, "perplexity"] == f"{first.pruned[0].perplexity:.3g}"
    recommenders = records.load_shared_stage("recommender")
    smaller = tables.smaller_recommenders_table(recommenders)
    (study, result), *_ = recommenders.items()
    (healed,) = (
        c for c in result.candidates if (c.name, c.ratio, c.healed) == (result.choice, result.plans[0].ratio, True)
    )
    assert smaller.loc[0, ["study", "kept, healed"]].tolist() == [study, f"{healed.retention:.0%}"]
