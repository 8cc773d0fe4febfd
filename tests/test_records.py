"""Recorded runs are read by the current code, with their old names, and say how they were made."""

import json
import re
import shutil
import subprocess

import pytest
from conftest import ROOT

from layerwise.study import records
from layerwise.study.artifacts import make_provenance
from layerwise.study.config import Parameters
from layerwise.study.schemas import FROM_SCRATCH
from layerwise.study.stages import STAGES

RESULTS = ROOT / "results"
RECORDED = sorted(RESULTS.rglob("*.json"))


@pytest.mark.parametrize("file", RECORDED, ids=lambda file: str(file.relative_to(RESULTS)))
def test_a_recorded_result_has_the_layout_of_its_stage_and_its_provenance(file):
    provenance = records.load_record(file).provenance
    assert provenance.commit not in ("", "unknown") and len(provenance.reviews_sha256) == 64
    assert "with changes" not in provenance.commit
    assert not any("/" in str(value) for value in provenance.parameters.values())


@pytest.fixture
def read(tmp_path):
    """Reads a recorded file as JSON with the names it was written with, and as the result that its old name gives."""

    def read_both(name: str, old_stage: str) -> tuple:
        copy = shutil.copy(RESULTS / name, tmp_path / f"{old_stage}.json")
        return json.loads(copy.read_text()), records.load_record(copy)

    return read_both


def same(old: dict, interval) -> bool:
    return old == vars(interval)


def test_a_ground_truth_that_was_recorded_with_old_names_is_read_with_the_same_numbers(read):
    old, truth = read("electronics/scratch/seed0/ground_truth.json", "5_ground_truth")
    assert same(old["half_by_chance"], truth.random_half_loss)
    assert old["half_at_best"] and truth.best_half_loss is None  # of the best half on the reviews that selected it
    assert old["summary"].keys() == truth.summary.keys() and len(truth.summary) > 15
    for name, summary in truth.summary.items():
        for key, now in (("behind", "behind_best"), ("regret", "regret"), ("percentile", "percentile")):
            assert same(old["summary"][name][key], getattr(summary, now)), name
    assert (old["stage"], truth.stage) == ("5_ground_truth", "ground_truth")
    assert old["provenance"]["parameters"] == truth.provenance.parameters


def test_smaller_models_that_were_recorded_with_old_names_are_read_with_the_same_numbers(read):
    old, result = read("electronics_cpu/scratch/seed0/compression.json", "6_compression")
    assert old["contrasts"].keys() == result.contrasts.keys()
    for ratio, contrasts in old["contrasts"].items():
        assert contrasts.keys() - {"anew"} == result.contrasts[ratio].keys() - {"from_scratch"}
        for name, interval in contrasts.items():
            assert same(interval, result.contrasts[ratio]["from_scratch" if name == "anew" else name]), name
    names = [FROM_SCRATCH if each["name"] == "learned_anew" else each["name"] for each in old["candidates"]]
    assert names == [each.name for each in result.candidates] and FROM_SCRATCH in names
    assert all(same(a["accuracy"], b.accuracy) for a, b in zip(old["candidates"], result.candidates, strict=True))
    assert old["exported"]
    for before, after in zip(old["exported"], result.exported, strict=True):
        for runtime, metrics in before["judged"].items():
            assert same(metrics["accuracy"], after.metrics[runtime].accuracy)


def test_a_language_model_that_was_recorded_with_old_names_is_read_with_the_same_numbers(read):
    old, result = read("electronics/language_model.json", "4_llama")
    assert (old["commonest_label"], old["judged"]) == (result.majority_accuracy, result.evaluated)
    for before, after in zip(old["pruned"], result.pruned, strict=True):
        assert (before["way"], before["layers"]) == (after.method, after.layers)
        assert same(before["perplexity"], after.perplexity) and same(before["accuracy"], after.accuracy)


def test_a_recommender_that_was_recorded_with_old_names_is_read_with_the_same_numbers(read):
    old, result = read("electronics_cpu/recommender.json", "7_recommender")
    assert same(old["truth"]["half_by_chance"], result.truth.random_half_loss)
    assert same(old["contrasts"]["4.0"]["anew"], result.contrasts["4.0"]["from_scratch"])
    assert old["provenance"]["parameters"]["subjects"] == result.provenance.parameters["models"]


def test_a_pretraining_that_was_recorded_with_old_names_is_read_with_the_same_parameters(read):
    old, result = read("mlm_pretraining/scratch/seed0/training.json", "1_training")
    assert (old["warm_up"]["texts"], old["warm_up"]["sha256"]) == (result.pretraining.texts, result.pretraining.sha256)
    before, after = old["provenance"]["parameters"], result.provenance.parameters
    renamed = {"warm_up": "pretraining_texts", "warm_up_epochs": "pretraining_epochs"}
    assert {renamed.get(name, name): value for name, value in before.items()} == after
    assert after["pretraining_epochs"] == 2 and after.keys() <= Parameters.model_fields.keys()


@pytest.mark.parametrize("study", ["electronics_cpu", "movielens"])
def test_a_recorded_recommender_is_compared_with_every_baseline_and_its_smaller_versions_with_it(study):
    result = records.load_shared_stage("recommender")[study]
    whole = result.metrics["transformer"].ndcg_10
    for name, difference in result.differences.items():
        assert difference.value == pytest.approx(whole.value - result.metrics[name].ndcg_10.value)
    for plan in result.plans:
        smaller = result.metrics[f"transformer_{plan.ratio:g}x"].ndcg_10.value
        (row,) = (c for c in result.candidates if (c.name, c.ratio, c.healed) == (result.choice, plan.ratio, True))
        assert row.ndcg_10.value == pytest.approx(smaller)
        assert row.retention.value == pytest.approx(smaller / whole.value)


@pytest.mark.parametrize("study", records.REFERENCE_STUDIES)
def test_the_reference_run_is_of_one_file_of_reviews_in_the_published_protocol_and_skips_no_stage(study):
    reference = records.load_studies([study])[study]
    order = [stage for stage in records.KINDS if not STAGES[stage].shared]
    hashes = set()
    for (model, seed), stages in reference.items():
        recorded = [stage for stage in order if stage in stages]
        assert recorded == order[: len(recorded)], (model, seed)
        data, parameters = stages["training"].data, stages["training"].provenance.parameters
        assert (parameters["balanced"], parameters["min_characters"], parameters["max_characters"]) == (True, 10, 1000)
        splits = {name: split.reviews for name, split in data.splits.items()}
        assert sum(splits.values()) == pytest.approx(20_000, rel=0.01)
        assert splits["train"] / 20_000 == pytest.approx(0.7, abs=0.01)
        assert stages["training"].test.accuracy.n == splits["test"] == pytest.approx(3000, rel=0.01)
        hashes |= {result.provenance.reviews_sha256 for result in stages.values()}
    assert len(hashes) == 1


def test_the_hours_of_a_study_are_those_of_its_stages_and_of_what_runs_once_for_all_its_models():
    files = [*ROOT.glob("results/electronics_cpu/*/seed*/*.json"), *ROOT.glob("results/electronics_cpu/*.json")]
    seconds = [json.loads(file.read_text())["provenance"]["seconds"] for file in files]
    assert records.total_hours(records.load_studies(["electronics_cpu"])) == pytest.approx(sum(seconds) / 3600)


def test_the_page_of_the_recorded_runs_names_every_study_of_classifiers_and_the_reference_run_first():
    studies = Parameters.model_fields["studies"].default
    assert (
        set(studies) == records.load_studies().keys()
        and studies[: len(records.REFERENCE_STUDIES)] == records.REFERENCE_STUDIES
    )


def test_a_model_that_two_studies_trained_counts_once_and_what_only_the_second_measured_is_kept():
    studies = records.load_studies(["electronics", "electronics_compressed", "electronics_cpu"])
    first, again = studies["electronics"], studies["electronics_compressed"]
    for run, stages in again.items():
        one, other = first[run]["training"], stages["training"]
        assert (one.history, one.train, one.validation, one.test) == (
            other.history,
            other.train,
            other.validation,
            other.test,
        )
    truths = [study["scratch", 0]["ground_truth"] for study in (first, again)]
    assert truths[0].sizes == truths[1].sizes and truths[0].shapley == truths[1].shapley
    assert truths[0].summary["ablation"] != truths[1].summary["ablation"]  # scored on other numbers of reviews
    distinct = records.leave_out_repeats(studies)
    kept = {run: [*stages] for run, stages in distinct["electronics_compressed"].items()}
    assert kept == {("scratch", 0): ["compression"], ("scratch", 1): ["ground_truth", "compression"]}
    assert distinct["electronics"] == first and distinct["electronics_cpu"] == studies["electronics_cpu"]
    alone = {"electronics_compressed": again}
    assert records.leave_out_repeats(alone) == alone


def test_a_commit_has_changes_where_the_code_has_and_not_where_data_or_runs_lie_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("Snakefile", "lib/algorithm.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("committed = True\n")
    who = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    for words in (["init", "--quiet"], ["add", "."], [*who, "commit", "--quiet", "--message", "all"]):
        subprocess.run(["git", *words], check=True)

    def commit() -> str:
        return make_provenance(Parameters(), "").commit

    (tmp_path / "reviews.csv").write_text("text,rating\n")
    assert re.fullmatch(r"[0-9a-f]{12}", commit())
    (tmp_path / "lib" / "algorithm.py").write_text("committed = False\n")
    assert commit().endswith(" with changes")
