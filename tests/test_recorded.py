"""The recorded runs can be read by the code of today, and say where they come from."""

import json

import pytest
from conftest import ROOT

from layerwise import recorded, results
from layerwise.parameters import Parameters

RECORDED = sorted((ROOT / "results").rglob("*.json"))


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: str(file.relative_to(ROOT / "results")))
def test_a_recorded_result_has_the_layout_of_its_stage_and_its_provenance(file):
    found = recorded.read(file)
    assert found.provenance.commit not in ("", "unknown") and len(found.provenance.reviews_sha256) == 64
    assert "with changes" not in found.provenance.commit
    assert not any("/" in str(value) for value in found.provenance.parameters.values())


@pytest.mark.parametrize("data", ["electronics_cpu", "movielens"])
def test_a_recorded_recommender_is_compared_with_every_baseline_and_its_smaller_versions_with_it(data):
    found = recorded.once("7_recommender")[data]
    whole = found.metrics["transformer"].ndcg_10
    for name, difference in found.differences.items():
        assert difference.value == pytest.approx(whole.value - found.metrics[name].ndcg_10.value)
    for plan in found.plans:
        smaller = found.metrics[f"transformer_{plan.ratio:g}x"].ndcg_10.value
        (row,) = (c for c in found.candidates if (c.name, c.ratio, c.healed) == (found.choice, plan.ratio, True))
        assert row.ndcg_10.value == pytest.approx(smaller)
        assert row.retention.value == pytest.approx(smaller / whole.value)


@pytest.mark.parametrize("study", recorded.REFERENCE)
def test_the_reference_run_is_of_one_file_of_reviews_in_the_published_protocol_and_skips_no_stage(study):
    reference = recorded.studies([study])[study]
    order = [stage for stage in recorded.KINDS if stage not in results.ONCE]
    hashes = set()
    for (subject, seed), stages in reference.items():
        made = [stage for stage in order if stage in stages]
        assert made == order[: len(made)], (subject, seed)
        data, said = stages["1_training"].data, stages["1_training"].provenance.parameters
        assert (said["balanced"], said["min_characters"], said["max_characters"]) == (True, 10, 1000)
        splits = {name: split.reviews for name, split in data.splits.items()}
        assert sum(splits.values()) == pytest.approx(20_000, rel=0.01)
        assert splits["train"] / 20_000 == pytest.approx(0.7, abs=0.01)
        assert stages["1_training"].test.accuracy.n == splits["test"] == pytest.approx(3000, rel=0.01)
        hashes |= {result.provenance.reviews_sha256 for result in stages.values()}
    assert len(hashes) == 1


def test_the_hours_of_a_study_are_those_of_its_stages_and_of_what_runs_once_for_all_its_subjects():
    files = [*ROOT.glob("results/electronics_cpu/*/seed*/*.json"), *ROOT.glob("results/electronics_cpu/[47]_*.json")]
    seconds = [json.loads(file.read_text())["provenance"]["seconds"] for file in files]
    assert recorded.hours(recorded.studies(["electronics_cpu"])) == pytest.approx(sum(seconds) / 3600)


def test_the_chapter_of_the_recorded_runs_names_every_study_of_classifiers_and_the_reference_run_first():
    studies = Parameters.model_fields["studies"].default
    assert set(studies) == recorded.studies().keys() and studies[: len(recorded.REFERENCE)] == recorded.REFERENCE
