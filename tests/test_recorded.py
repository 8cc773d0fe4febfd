"""The recorded runs can be read by the code of today, and say where they come from."""

import json

import pytest
from conftest import ROOT

from layerwise import results

KINDS = {
    kind.model_fields["stage"].default: kind
    for kind in (
        results.TrainingResult,
        results.CoreImportance,
        results.AdvancedImportance,
        results.LanguageModel,
        results.Fusion,
        results.GroundTruth,
        results.Compression,
        results.ComparisonResult,
    )
}
RECORDED = sorted((ROOT / "results").rglob("*.json"))


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: str(file.relative_to(ROOT / "results")))
def test_a_recorded_result_has_the_layout_of_its_stage_and_its_provenance(file):
    found = KINDS[file.stem].model_validate_json(file.read_text())
    assert found.provenance.commit not in ("", "unknown") and len(found.provenance.reviews_sha256) == 64
    assert "with changes" not in found.provenance.commit
    assert not any("/" in str(value) for value in found.provenance.parameters.values())


def test_the_recorded_comparison_grades_every_method_for_every_subject_and_seed():
    rows = json.loads((ROOT / "results" / "electronics" / "8_comparison.json").read_text())["grades"]
    runs = {(row["subject"], row["seed"]) for row in rows}
    assert runs == {(subject, seed) for subject in ("scratch", "minilm") for seed in range(3)}
    for row in rows:
        assert 0 <= row["percentile low"] <= row["percentile high"] <= 1, row
        folder = ROOT / "results" / "electronics" / row["subject"] / f"seed{row['seed']}"
        truth = results.GroundTruth.model_validate_json((folder / "5_ground_truth.json").read_text())
        assert truth.summary[row["method"]].percentile.value == row["percentile"]
