"""Claims and runs side by side: where a measurement lies beside a claim, and that tables repeat what was recorded."""

import re
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from scipy.stats import rankdata

from layerwise import claims, comparison, recorded, results, stories
from layerwise.errors import InputError
from layerwise.fusion import RULES
from layerwise.grading import CONTROLS
from layerwise.importance import METHODS
from layerwise.results import Interval


def trained(test: tuple[float, float, float]) -> dict:
    """The results of a run that has only been trained, with this test accuracy and its interval."""
    value, low, high = test
    found = SimpleNamespace(accuracy=Interval(value=value, low=low, high=high, n=100))
    data = SimpleNamespace(unique_text_ratio=0.9, rows=1000)
    return {"1_training": SimpleNamespace(test=found, train=found, validation=found, baseline=found, data=data)}


@pytest.mark.parametrize(
    ("test", "verdict"),
    [((0.91, 0.89, 0.93), "above"), ((0.85, 0.82, 0.88), "below"), ((0.89, 0.87, 0.91), "within")],
)
def test_a_claim_is_judged_by_where_the_whole_interval_lies(test, verdict):
    (found,) = (
        each for each in claims.beside("here", {("scratch", 0): trained(test)}) if each.claim == "accuracy, test"
    )
    assert (found.verdict, found.said, found.value) == (verdict, 0.888, test[0])


def test_over_seeds_a_figure_is_their_mean_and_its_interval_covers_all_of_theirs():
    runs = {("scratch", 0): trained((0.86, 0.84, 0.88)), ("scratch", 1): trained((0.90, 0.88, 0.92))}
    (found,) = (each for each in claims.beside("here", runs) if each.claim == "accuracy, test")
    assert (found.seeds, found.value, found.low, found.high) == (2, pytest.approx(0.88), 0.84, 0.92)
    assert found.verdict == "within"
    alike = Interval(value=0.999825, low=0.999825, high=0.999825, n=8)
    assert results.over_seeds([alike] * 5) == alike  # and not a last digit below it


def test_what_a_study_did_not_measure_is_left_out_and_not_made_up():
    found = claims.beside("here", {("scratch", 0): trained((0.9, 0.8, 1.0))})
    assert not [each for each in found if each.claim.startswith("accuracy at")]
    there = claims.beside("electronics_cpu", recorded.studies()["electronics_cpu"])
    row = comparison.claimed(found + there).set_index("figure")
    assert row.loc["accuracy at 2.5x, healed", "here: scratch"] == ""
    assert row.loc["accuracy at 2.5x, healed", "electronics_cpu: scratch"]


def test_the_compressed_accuracy_beside_a_claim_is_that_of_the_recorded_candidates():
    runs = recorded.studies()["electronics_cpu"]
    for healed, name in ((True, "accuracy at 2.5x, healed"), (False, "accuracy at 2.5x, as it is")):
        (found,) = (e for e in claims.beside("it", runs) if e.claim == name and e.subject == "scratch")
        mine = [
            candidate.accuracy.value
            for (subject, _), stages in runs.items()
            if subject == "scratch" and "6_compression" in stages
            for candidate in stages["6_compression"].candidates
            if (candidate.name, candidate.ratio, candidate.healed) == (stages["6_compression"].choice, 2.5, healed)
        ]
        assert found.value == pytest.approx(sum(mine) / len(mine)) and found.seeds == len(mine) > 1


def test_a_ratio_that_was_not_reached_is_set_beside_no_claim_about_it():
    key = ("scratch", 0)
    stages = recorded.studies()["electronics_cpu"][key]
    found = {e.claim for e in claims.beside("it", {key: stages})}
    result = stages["6_compression"].model_copy(deep=True)
    for plan in result.plans:
        plan.reached = plan.ratio - 0.01
    left = {e.claim for e in claims.beside("it", {key: stages | {"6_compression": result}})}
    assert found - left and all(name.startswith("accuracy at") for name in found - left)
    assert not {name for name in left if name.startswith("accuracy at")}


def test_the_answers_of_a_recorded_study_are_those_of_its_files():
    studies = recorded.studies()
    table = comparison.answers(studies).set_index(["study", "subject"])
    runs = [stages for (subject, _), stages in studies["electronics"].items() if subject == "minilm"]
    accuracy = results.over_seeds([stages["1_training"].test.accuracy for stages in runs])
    assert table.loc[("electronics", "minilm"), "accuracy"] == f"{accuracy:.1%}"
    truths = [stages["5_ground_truth"] for stages in runs]
    means = {
        name: results.over_seeds([truth.summary[name].percentile for truth in truths])
        for name in METHODS
        if name in truths[0].summary
    }
    best = max(means, key=lambda name: means[name].value)
    assert table.loc[("electronics", "minilm"), "best score"] == f"{best}: {means[best]:.0%}"
    healed = recorded.studies()["electronics_cpu"]
    kept = results.over_seeds(
        [
            candidate.retention
            for (subject, _), stages in healed.items()
            if subject == "scratch" and "6_compression" in stages
            for candidate in stages["6_compression"].candidates
            if (candidate.name, candidate.ratio, candidate.healed) == ("best_subset", 4.0, True)
        ]
    )
    assert table.loc[("electronics_cpu", "scratch"), "kept, healed"].endswith(f", {kept:.1%} at 4x")


def test_where_numbers_come_from_names_commit_device_and_time_of_every_study():
    rows = comparison.origins(recorded.studies())
    assert rows[["commit", "device", "finished", "data"]].map(bool).all(axis=None) and (rows["hours"] > 0).all()
    assert set(rows["study"]) == recorded.studies().keys()
    stages = rows.set_index(["study", "subject"])[["seeds", "scored", "graded", "compressed"]]
    assert stages.loc[("electronics", "minilm")].tolist() == [3, "3 on 1,001", "3 on 1,007", 2]
    assert stages.loc[("more_words", "scratch")].tolist() == [3, "", "", 0]


def test_cost_and_grade_of_a_method_stand_beside_each_other_with_intervals_and_empty_where_there_is_none():
    row = {"subject": "scratch", "method": "block_influence", "passes": 1.0, "stability": 0.5, "agreement": 0.25}
    grade = {"percentile": 0.6, "percentile low": 0.4, "percentile high": 0.8}
    lost = {"regret": 0.01, "regret low": 0.0, "regret high": 0.02}
    control = {"method": "first", "passes": None, "stability": None, "agreement": None}
    rows = [{**row, **grade, **lost, "seed": 0}, {**row, **grade, **lost, "seed": 1, "percentile": 0.8}]
    found = comparison.methods(pd.DataFrame([*rows, {**rows[0], **control}]))
    assert found.loc["block influence", "scratch"].tolist() == [
        "1.0",
        "70% [40%, 80%]",
        "1.0% [0.0%, 2.0%]",
        "0.50",
        "0.25",
    ]
    assert found.loc["first", "scratch"].tolist() == ["", "60% [40%, 80%]", "1.0% [0.0%, 2.0%]", "", ""]
    report = comparison.markdown("Title", {"Trust": [found.reset_index()]}, "foot")
    assert re.search(r"\| method +\| scratch passes +\| scratch percentile +\|", report)


def test_the_report_holds_tables_sentences_and_figures_under_their_headings():
    table = pd.DataFrame({"figure": ["accuracy"], "claimed": ["88.8%"]})
    report = comparison.markdown("Title", {"First": [table, "A sentence."], "Second": ["some.png"]}, "Made here.")
    assert report.index("# Title") < report.index("## First") < report.index("| accuracy") < report.index("A sentence.")
    assert "![Second](some.png)" in report and report.endswith("---\n\nMade here.\n") and "88.8%" in report


def test_the_stories_of_claims_and_agreement_count_what_the_intervals_bear():
    tested = [e for study, runs in recorded.studies().items() for e in claims.beside(study, runs)]
    said = stories.claims_story("them", tested)
    for verdict in ("above", "below", "within"):
        assert str(sum(each.verdict == verdict for each in tested)) in said
    truth = SimpleNamespace(
        examples=9,
        ranked=["fisher", "shap", "shapley_value", "ablation"],
        agreement=[[1, 0.5, 0, -0.6], [0.5, 1, 0, 0.1], [0, 0, 1, 0], [-0.6, 0.1, 0, 1]],
        agreement_low=[[1, 0.2, 0, -0.9], [0.2, 1, 0, -0.3], [0, 0, 1, 0], [-0.9, -0.3, 0, 1]],
        agreement_high=[[1, 0.8, 0, -0.2], [0.8, 1, 0, 0.5], [0, 0, 1, 0], [-0.2, 0.5, 0, 1]],
    )
    said = stories.agreement_story(truth, claims.SIX)
    assert "Of the 3 pairs of methods 1 have a Kendall's tau above zero and 1 one below it" in said and "0.10" in said


def test_an_interval_shows_itself_in_the_format_of_its_value():
    found = Interval(value=0.5, low=0.412, high=0.6, n=3)
    assert f"{found:.1%}" == "50.0% [41.2%, 60.0%]" and f"{found:+.2f}" == "+0.50 [+0.41, +0.60]"


def test_settings_that_were_tried_are_those_that_differ_and_gain_over_the_first_study_of_their_subject_and_device():
    studies = recorded.studies(["electronics", "electronics_cpu", "warm_up", "warm_up_wide", "fewer_reviews"])
    table = comparison.tried(studies)
    settings = table.set_index(["subject", "device", "study"])["settings"].to_dict()
    assert settings == {
        ("scratch", "NVIDIA H200", "electronics"): "warm-up none",
        ("scratch", "NVIDIA H200", "warm_up_wide"): "warm-up 5 x 41,063 texts",
        ("minilm", "CPU", "electronics_cpu"): "train reviews all, bf16 False",
        ("minilm", "CPU", "fewer_reviews"): "train reviews 6000, bf16 True",
        ("scratch", "CPU", "electronics_cpu"): "warm-up none",
        ("scratch", "CPU", "warm_up"): "warm-up 2 x 41,063 texts",
    }
    assert (table["intervals"] == "").tolist() == (table["gain"] == "").tolist() == 3 * [True, False]
    assert set(table["intervals"]) == {"", "overlap"}
    few, many = (
        results.over_seeds(
            [found["1_training"].validation.accuracy for (name, _), found in studies[study].items() if name == "minilm"]
        )
        for study in ("fewer_reviews", "electronics_cpu")
    )
    assert table.set_index("study").loc["fewer_reviews", "gain"] == f"{100 * (few.value - many.value):+.1f}"
    (last,) = comparison.tried(recorded.studies(["warm_up", "electronics_cpu"])).tail(1).to_dict("records")
    assert (last["study"], last["settings"]) == ("electronics_cpu", "warm-up none")
    words = comparison.tried(recorded.studies(["electronics_cpu", "more_words"])).set_index("study")["settings"]
    assert words["more_words"] == "bf16 True, vocabulary size 12000"
    assert comparison.tried(recorded.studies(["electronics_cpu"])).empty  # there is nothing to compare it with


def voted(*ratios: tuple[str, int], percentiles: dict[str, float]) -> dict:
    """The results of a run of twelve layers whose methods and votes have these percentiles at every size."""
    grade = {
        name: results.GradeOfSize(
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
        "1_training": SimpleNamespace(model=SimpleNamespace(layers=12)),
        "4_llm_and_fusion": SimpleNamespace(layers_left=dict(ratios)),
        "5_ground_truth": SimpleNamespace(
            examples=9,
            grades={name: dict.fromkeys(range(13), each) for name, each in grade.items()},
        ),
    }


def test_a_vote_is_told_to_choose_well_where_it_does_and_else_who_does_better():
    votes = dict.fromkeys(("borda", "reciprocal_rank", "kemeny"), 0.7)
    run = voted(("1.35", 9), ("4.0", 0), percentiles=votes | {"shap": 0.97, "fisher": 0.2})
    other = voted(("1.35", 9), percentiles=votes | {"borda": 0.8, "shap": 0.93, "fisher": 0.99})
    (row,) = comparison.fused({"mine": {("scratch", 0): run, ("scratch", 1): other}}).to_dict("records")
    assert (row["ratio"], row["layers"], row["best"]) == (1.35, 9, "shap")  # no layer is left at 4.0x
    assert f"{row['borda']:.2f}" == "0.75 [0.65, 0.85]" and row["single"].value == pytest.approx(0.95)
    said = stories.votes_story([row])
    assert "at none" in said and "the best single score is above it at 1.35x" in said and row["choices"] == 220
    assert "9 layers or 220 choices, borda 75% [65%, 85%] beside shap 95% [88%, 102%]" in said
    assert said.endswith("so many of its voters stand at 90% or above: at 1.35x 1 of 2.")
    good = voted(("1.35", 9), percentiles=votes | {"kemeny": 0.96, "shap": 0.9})
    said = stories.votes_story(comparison.fused({"mine": {("scratch", 0): good}}).to_dict("records"))
    assert "at 1.35x, and with its whole interval at 1.35x; the best single score is above it at none" in said
    trained = {"1_training": run["1_training"]}
    assert comparison.fused({"mine": {("scratch", 0): trained}}).empty
    assert len(comparison.fused({"mine": {("scratch", 0): good, ("scratch", 1): trained}})) == 1


def test_what_smaller_models_keep_and_where_methods_stand_is_the_mean_of_the_seeds_of_a_recorded_study():
    studies = recorded.studies(recorded.REFERENCE)
    runs = [stages for (name, _), stages in studies["electronics_cpu"].items() if name == "scratch"]
    found = [stages["6_compression"] for stages in runs if "6_compression" in stages]
    rows = [row for row in comparison.smaller(studies) if row["subject"] == "electronics_cpu: scratch"]
    assert {(row["name"], row["ratio"], row["healed"]) for row in rows} == {
        (c.name, c.ratio, c.healed) for c in found[0].candidates if c.ratio
    }
    for row in rows:
        same = [
            c.retention
            for r in found
            for c in r.candidates
            if all(getattr(c, k) == row[k] for k in ("name", "ratio", "healed"))
        ]
        assert row["seeds"] == len(found)
        assert (row["low"], row["high"]) == (min(c.low for c in same), max(c.high for c in same))
        assert row["kept"] == pytest.approx(sum(c.value for c in same) / len(found))
    (best,) = [row for row in rows if (row["name"], row["ratio"], row["healed"]) == ("best_subset", 4.0, True)]
    for healed in (False, True):
        shown = comparison.kept(rows, healed)
        assert list(shown["ratio"]) == ["1.35x", "1.8x", "2.5x", "4x"] and ("learned anew" in shown) == healed
        assert not (shown == "").any(axis=None)
    assert shown["best subset"][3] == f"{best['kept']:.1%} [{best['low']:.1%}, {best['high']:.1%}]"
    assert comparison.kept([], healed=True).empty
    truths = [s["5_ground_truth"] for (name, _), s in studies["electronics"].items() if name == "minilm"]
    assert comparison.percentiles(studies)["electronics: minilm"]["shap"] == results.over_seeds(
        [truth.summary["shap"].percentile for truth in truths]
    )


def test_choices_and_rivals_of_each_smaller_model_are_counted_where_their_intervals_lie_apart_from_zero():
    studies = recorded.studies(recorded.REFERENCE)
    rows = comparison.contrasts(studies).to_dict("records")
    stages = [found for seeds in comparison.of_stage(studies, "6_compression").values() for found in seeds.values()]
    said = [found for stage in stages for found in stage.contrasts.values()]
    assert len(rows) == len(said) > 10
    for row, found in zip(rows, said, strict=True):
        assert {
            name: row[name] for name in ("choice_before", "choice_after", "anew", "linear")
        }.items() <= found.items()
    assert [row["guessing"] for row in rows] == [
        plan.ratio in [candidate.ratio for candidate in stage.guessing] for stage in stages for plan in stage.plans
    ]
    story = stories.contrasts_story(rows)
    for name, start in (("choice_after", "and healed"), ("linear", "linear classifier")):
        better, worse = (sum(found[name].low > 0 for found in said), sum(found[name].high < 0 for found in said))
        assert f"{start} better in {better} and worse in {worse} of {len(said)}" in story
    guess = rows[0] | {"guessing": True}
    assert stories.contrasts_story([guess]).endswith(f"more than to guess at {guess['ratio']} of {guess['run']}.")
    bare = [row | {"choice_before": None, "choice_after": None, "guessing": False} for row in rows]
    assert "worse in none of 0 models as they are" in stories.contrasts_story(bare)
    assert stories.contrasts_story([]) == "None of these studies measured it."


def test_each_graded_run_has_its_thirds_signs_and_best_score_beside_the_best_control():
    runs = recorded.studies()["electronics"]
    rows = comparison.graded({"electronics": runs}).set_index(["run", "seed"])
    graded = {run: stages for run, stages in runs.items() if "5_ground_truth" in stages}
    assert len(rows) == len(graded) > 3
    for (subject, seed), stages in graded.items():
        truth, row = stages["5_ground_truth"], rows.loc[(f"electronics: {subject}", seed)]
        place = rankdata(truth.shapley) - 1  # of those that add less
        early = np.array_split(place / (len(place) - 1), 3)[0].mean()
        low, high = (truth.half_by_chance.low, truth.half_by_chance.high)
        assert row["needs its depth"] == ("yes" if low > 0.01 else "hardly" if high < 0.01 else "within noise")
        assert row["early"].startswith(f"{early:.2f} [") and row["graded on"] == truth.examples == 1007
        pairs = [
            (truth.agreement_low[i][j], truth.agreement_high[i][j])
            for i, one in enumerate(truth.ranked)
            for j, other in enumerate(truth.ranked)
            if i < j and {one, other} <= METHODS.keys()
        ]
        assert (row["pairs"], row["above zero"]) == (45, sum(low > 0 for low, _ in pairs)) and len(pairs) == 45
        assert row["below zero"] == sum(high < 0 for _, high in pairs)
        means = {name: said.percentile.value for name, said in truth.summary.items()}
        best = row["best score"].replace(" ", "_")
        assert means[best] == max(means[name] for name in METHODS)
        assert means[row["best control"]] == max(means[name] for name in ("first", "last", "even", "random"))


def test_who_is_to_be_trusted_is_told_by_the_runs_in_which_the_whole_interval_lies_above_chance_or_above_the_controls():
    def graded(**percentiles: tuple[float, float]) -> dict:
        names = dict.fromkeys([*METHODS, *RULES, *CONTROLS], (0.5, 0.5)) | percentiles
        summary = {
            name: SimpleNamespace(percentile=Interval(value=(low + high) / 2, low=low, high=high, n=9))
            for name, (low, high) in names.items()
        }
        return {"5_ground_truth": SimpleNamespace(summary=summary)}

    runs = {
        ("a", 0): graded(shap=(0.8, 0.9), kemeny=(0.6, 0.8), first=(0.55, 0.7), fisher=(0.1, 0.2)),
        ("a", 1): graded(shap=(0.4, 0.9), kemeny=(0.6, 0.8)),
        ("b", 0): {},
    }
    table = comparison.trusted({"mine": runs})
    assert table["choice by"].head(3).tolist() == ["kemeny", "shap", "first"] and set(table["runs"]) == {2}
    counts = table.set_index("choice by")[["above chance", "below chance", "above controls"]]
    assert counts.loc[["kemeny", "shap", "first", "fisher"]].to_numpy().tolist() == [
        [2, 0, 1],
        [1, 0, 1],
        [1, 0, 0],
        [0, 1, 0],
    ]
    shares = table.set_index("choice by").loc["shap", ["mean percentile", "lowest"]]
    assert shares.tolist() == pytest.approx([0.75, 0.65])
    said = stories.trusted_story(table.to_dict("records"))
    assert "Of 2 recorded runs" in said and "kemeny 2 and shap 1; " in said and "first the most, 1" in said
    assert "below chance: fisher 1." in said and said.endswith("all four controls: kemeny and shap 1.")
    assert comparison.trusted({"mine": {("b", 0): {}}}).empty
    assert stories.trusted_story([]) == "None of these studies measured it."


def test_seeds_are_counted_by_whether_they_win_and_a_hull_of_intervals_is_no_verdict():
    def by(low, high):
        return results.Interval(value=(low + high) / 2, low=low, high=high, n=9)

    assert stories.verdict_of_seeds([by(0.01, 0.03)], "A", "B") == stories.verdict(by(0.01, 0.03), "A", "B")
    said = stories.verdict_of_seeds([by(-0.02, -0.01), by(-0.03, -0.01), by(-0.02, 0.004)], "A", "B")
    assert said.startswith(
        "Of 3 seeds A beats B with none and loses to it with 2, their 95 % intervals apart from zero"
    )
    assert said.endswith("mean difference is -1.4 points, and the intervals reach from -3.0 to +0.4.")


@pytest.mark.parametrize("study", recorded.studies())
def test_the_chapter_of_the_recorded_runs_can_be_made_of_each_study_alone(study, tmp_path):
    cells = nbformat.read(ROOT / "notebooks" / "9_reference.ipynb", as_version=4).cells
    notebook = {"__name__": "__main__"}
    for cell in cells:
        if cell.cell_type == "code":
            exec(cell.source, notebook)
            if "parameters" in cell.metadata.get("tags", []):
                notebook |= {"runs": str(tmp_path), "studies": [study]}
    assert notebook["studies"].keys() == {study} and (tmp_path / "quick" / "9_reference_accuracy.png").is_file()


def test_a_study_that_is_not_recorded_is_answered_with_those_that_are():
    with pytest.raises(InputError, match="no study 'mine' is recorded; choose from: .*warm_up"):
        recorded.studies(["warm_up", "mine"])
