"""Claims and runs side by side: where a measurement lies beside a claim, and that tables repeat what was recorded."""

import re
from types import SimpleNamespace

import pandas as pd
import pytest

from layerwise import claims, comparison, recorded, results, stories
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


def test_what_a_study_did_not_measure_is_left_out_and_not_made_up():
    found = claims.beside("here", {("scratch", 0): trained((0.9, 0.8, 1.0))})
    assert not [each for each in found if each.claim.startswith("accuracy at")]
    row = comparison.claimed(found + claims.beside("compression", recorded.studies()["compression"])).set_index(
        "figure"
    )
    assert row.loc["accuracy at 2.5x, healed", "here: scratch"] == ""
    assert row.loc["accuracy at 2.5x, healed", "compression: scratch"]


def test_the_compressed_accuracy_beside_a_claim_is_that_of_the_recorded_candidates():
    runs = recorded.studies()["compression"]
    for healed, name in ((True, "accuracy at 2.5x, healed"), (False, "accuracy at 2.5x, as it is")):
        (found,) = (e for e in claims.beside("it", runs) if e.claim == name and e.subject == "scratch")
        mine = [
            candidate.accuracy.value
            for (subject, _), stages in runs.items()
            for candidate in stages["6_compression"].candidates
            if subject == "scratch"
            and (candidate.name, candidate.ratio, candidate.healed) == (stages["6_compression"].choice, 2.5, healed)
        ]
        assert found.value == pytest.approx(sum(mine) / len(mine)) and found.seeds == len(mine) == 3


def test_the_answers_of_a_recorded_study_are_those_of_its_files():
    studies = recorded.studies()
    table = comparison.answers(studies).set_index(["study", "subject"])
    accuracies = [
        stages["1_training"].test.accuracy
        for (subject, _), stages in studies["electronics"].items()
        if subject == "minilm"
    ]
    assert table.loc[("electronics", "minilm"), "accuracy"] == f"{results.over_seeds(accuracies):.1%}"
    truths = [s["5_ground_truth"] for (subject, _), s in studies["electronics"].items() if subject == "minilm"]
    means = {
        name: results.over_seeds([truth.summary[name].percentile for truth in truths])
        for name in METHODS
        if name in truths[0].summary
    }
    best = max(means, key=lambda name: means[name].value)
    assert table.loc[("electronics", "minilm"), "best score"] == f"{best}: {means[best]:.0%}"


def test_where_numbers_come_from_names_commit_device_and_time_of_every_study():
    rows = comparison.origins(recorded.studies())
    assert rows[["commit", "device", "finished", "data"]].map(bool).all(axis=None) and (rows["hours"] > 0).all()
    assert set(rows["study"]) == recorded.studies().keys()


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
        ranked=["fisher", "shap", "shapley_value", "ablation"],
        agreement=[[1, 0.5, 0, -0.6], [0.5, 1, 0, 0.1], [0, 0, 1, 0], [-0.6, 0.1, 0, 1]],
        agreement_low=[[1, 0.2, 0, -0.9], [0.2, 1, 0, -0.3], [0, 0, 1, 0], [-0.9, -0.3, 0, 1]],
        agreement_high=[[1, 0.8, 0, -0.2], [0.8, 1, 0, 0.5], [0, 0, 1, 0], [-0.2, 0.5, 0, 1]],
    )
    said = stories.agreement_story(truth, claims.SIX)
    assert "Of the 3 pairs of 3 methods 1 rank the layers alike and 1 the other way round" in said and "0.10" in said


def test_an_interval_shows_itself_in_the_format_of_its_value():
    found = Interval(value=0.5, low=0.412, high=0.6, n=3)
    assert f"{found:.1%}" == "50.0% [41.2%, 60.0%]" and f"{found:+.2f}" == "+0.50 [+0.41, +0.60]"
