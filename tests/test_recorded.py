"""The recorded runs can be read by the code of today, and say where they come from."""

import json

import pytest
from conftest import ROOT

from layerwise import recorded, results

RECORDED = sorted((ROOT / "results").rglob("*.json"))


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: str(file.relative_to(ROOT / "results")))
def test_a_recorded_result_has_the_layout_of_its_stage_and_its_provenance(file):
    found = recorded.read(file)
    assert found.provenance.commit not in ("", "unknown") and len(found.provenance.reviews_sha256) == 64
    assert "with changes" not in found.provenance.commit
    assert not any("/" in str(value) for value in found.provenance.parameters.values())


@pytest.mark.parametrize(("subject", "seeds"), [("scratch", 3), ("minilm", 1)])
def test_the_recorded_table_of_compression_is_that_of_its_seeds(subject, seeds):
    folder = ROOT / "results" / "compression" / subject
    rows = json.loads((folder / "8_comparison.json").read_text())["compression"]
    runs = [
        results.Compression.model_validate_json((folder / f"seed{seed}" / "6_compression.json").read_text())
        for seed in range(seeds)
    ]
    assert {(row["subject"], row["seeds"]) for row in rows} == {(subject, seeds)}
    for row, *candidates in zip(rows, *(run.candidates for run in runs), strict=True):
        assert {(c.name, c.ratio, c.healed) for c in candidates} == {(row["name"], row["ratio"], row["healed"])}
        kept = [candidate.retention.value for candidate in candidates]
        assert (row["lowest"], row["highest"]) == (pytest.approx(min(kept)), pytest.approx(max(kept)))
        assert row["accuracy"] == pytest.approx(sum(c.accuracy.value for c in candidates) / seeds)


def test_the_recorded_comparison_grades_every_method_for_every_subject_and_seed():
    rows = json.loads((ROOT / "results" / "pilot" / "8_comparison.json").read_text())["grades"]
    runs = {(row["subject"], row["seed"]) for row in rows}
    assert runs == {(subject, seed) for subject in ("scratch", "minilm") for seed in range(3)}
    for row in rows:
        assert 0 <= row["percentile low"] <= row["percentile high"] <= 1, row
        folder = ROOT / "results" / "pilot" / row["subject"] / f"seed{row['seed']}"
        truth = results.GroundTruth.model_validate_json((folder / "5_ground_truth.json").read_text())
        assert truth.summary[row["method"]].percentile.value == row["percentile"]


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


@pytest.mark.parametrize("study", ["electronics", "electronics_cpu"])
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
