import re
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from layerwise import figures, recorded
from layerwise.fusion import agreement
from layerwise.grading import CONTROLS
from layerwise.parameters import Parameters
from layerwise.results import (
    ANEW,
    Candidate,
    Compression,
    CoreImportance,
    Exported,
    Interval,
    Metrics,
    Plan,
    Provenance,
    Pruned,
    Recommender,
    SmallerRecommender,
    Stability,
    Timing,
    accuracy,
    difference,
    intervals,
    provenance,
)
from layerwise.stories import (
    anew_story,
    choice_story,
    depth_story,
    language_model_story,
    plans_story,
    pruning_story,
    recommenders_story,
    retention_story,
    rivals_story,
    smaller_story,
    speed_story,
    thirds_story,
    trust_story,
    verdict,
)


def test_the_accuracy_interval_is_wilson_s():
    found = accuracy(np.array([True] * 90 + [False] * 10))
    z, p, n = stats.norm.ppf(0.975), 0.9, 100
    centre, half = (p + z**2 / (2 * n)), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    np.testing.assert_allclose([found.low, found.high], (centre + np.array([-half, half])) / (1 + z**2 / n))
    assert (found.value, found.n) == (0.9, 100)


def test_the_bootstrap_interval_of_a_mean_agrees_with_student_s():
    scores = np.random.default_rng(0).normal([0.0, 1.0, 5.0], 2.0, size=(400, 3))
    pairs, _ = intervals(scores, samples=4000, seed=0)
    for layer, (low, high) in enumerate(pairs):
        expected = stats.ttest_1samp(scores[:, layer], 0).confidence_interval()
        assert (low, high) == pytest.approx(tuple(expected), abs=0.03)


def test_a_paired_difference_is_surer_than_the_two_accuracies_apart():
    first = np.array([True] * 180 + [False] * 20)
    second = first.copy()
    second[:8] = False  # worse on eight reviews, better on none
    found = difference(first, second, samples=2000, seed=0)
    assert found.low > 0 and found.value == pytest.approx(0.04)
    assert accuracy(first).low < accuracy(second).high


def test_intervals_are_the_same_for_the_same_seed_only():
    scores = np.random.default_rng(0).normal(size=(50, 3))
    assert intervals(scores, 200, seed=1) == intervals(scores, 200, seed=1) != intervals(scores, 200, seed=2)


def test_a_ranking_far_beyond_its_noise_is_stable_and_one_of_pure_noise_is_not():
    noise = np.random.default_rng(0).normal(size=(200, 6))
    _, clear = intervals(noise + 10 * np.arange(6), 200, seed=0)
    _, chance = intervals(noise, 200, seed=0)
    assert clear.kendall_tau == pytest.approx(1) and clear.ranks == [6, 5, 4, 3, 2, 1]
    assert clear.rank_intervals == [(r, r) for r in (6, 5, 4, 3, 2, 1)]
    assert chance.kendall_tau < 0.8 and max(high - low for low, high in chance.rank_intervals) >= 3


@pytest.mark.parametrize(
    ("low", "high", "claim"),
    [(0.01, 0.03, "A beats B by 2.0 points"), (-0.05, -0.01, "A loses to B by 3.0 points"), (-0.01, 0.02, "no winner")],
)
def test_a_verdict_claims_no_more_than_its_interval(low, high, claim):
    assert claim in verdict(Interval(value=(low + high) / 2, low=low, high=high, n=100), "A", "B")


def test_the_story_of_depth_names_the_layers_whose_intervals_leave_zero_out():
    nothing = Provenance(
        commit="", parameters={}, reviews_sha256="", device="", threads=1, versions={}, finished="", seconds=0
    )
    result = CoreImportance(
        examples=10,
        scores={"ablation": [0.2, 0.0, -0.2]},
        intervals={"ablation": [(0.1, 0.3), (-0.1, 0.1), (-0.3, -0.1)]},
        stability={"ablation": Stability(ranks=[1, 2, 3], rank_intervals=[(1, 1), (2, 2), (3, 3)], kendall_tau=1)},
        fisher_per_parameter=[1, 1, 1],
        accuracy_drop=[0.05, 0.0, -0.01],
        accuracy_drop_intervals=[(0.01, 0.09), (0, 0), (-0.03, 0.01)],
        provenance=nothing,
    )
    story = depth_story(result)
    assert "1 layer (0) of 3 lower" in story and "1 layer (2) raise" in story and "for 1 the interval" in story
    assert "at layer 0, is 5.0 points (95 % interval +1.0 to +9.0)" in story


@pytest.mark.parametrize(
    ("early", "middle", "late", "claim"),
    [
        ((0.7, 0.8), (0.4, 0.5), (0.4, 0.6), "the early layers stand highest, intervals apart."),
        ((0.5, 0.6), (0.1, 0.2), (0.5, 0.6), "the middle layers stand lowest, intervals apart."),
        ((0.7, 0.8), (0.4, 0.5), (0.1, 0.2), "the early layers stand highest and the late layers stand lowest,"),
        ((0.4, 0.6), (0.5, 0.7), (0.3, 0.5), "no third stands apart from the others."),
    ],
)
def test_a_third_is_called_high_or_low_only_where_its_interval_is_apart(early, middle, late, claim):
    thirds = [Interval(value=sum(pair) / 2, low=pair[0], high=pair[1], n=9) for pair in (early, middle, late)]
    assert thirds_story(thirds).startswith(claim)


def test_a_score_whose_interval_reaches_chance_is_not_told_for_those_whose_interval_does_not():
    stages = recorded.studies()["electronics"]["scratch", 0]
    truth = stages["5_ground_truth"]
    below = [name for name, said in truth.summary.items() if said.percentile.low <= 0.5 and name not in CONTROLS]
    top = max((name for name in truth.summary), key=lambda name: truth.summary[name].percentile.value)
    assert top == "ablation" and below == ["ablation", "mutual_information"]
    assert trust_story(truth).startswith("Over all sizes ablation has the highest mean percentile")
    assert trust_story(truth).endswith("Not shown to choose better than chance: ablation and mutual information.")
    none = truth.model_copy(update={"summary": {n: truth.summary[n] for n in (*below, *CONTROLS)}})
    assert trust_story(none).startswith("No score is shown to choose better than chance. The highest mean percentile")


def test_the_story_of_pruning_names_every_way_that_keeps_the_best_layers_and_who_is_apart_from_them():
    def around(value):
        return Interval(value=value, low=0.9 * value, high=1.1 * value, n=9)

    choices = [
        Pruned(way=way, ratio=2.0, layers=layers, perplexity=around(perplexity), accuracy=around(accuracy))
        for way, layers, perplexity, accuracy in (
            ("greedy", [0, 1], 30, 0.9),
            ("first", [0, 1], 30, 0.9),
            ("best block", [0, 3], 90, 0.5),
        )
    ]
    result = SimpleNamespace(
        pruned=choices,
        perplexity_unpruned=around(10),
        accuracy_unpruned=around(0.65),
        commonest_label=0.6,
        scored=20,
        judged=9,
        thirds={by: [around(0.9), around(0.5), around(0.1)] for by in ("block influence", "left out alone")},
        provenance=SimpleNamespace(parameters={"max_length": 64}),
        model=SimpleNamespace(layers=4),
        layers_left={"2.0": 2, "9.0": 0},
    )
    assert pruning_story(result) == (
        "At 2x the model keeps 2 of 4 layers; the lowest perplexity is that of greedy and first, 3 times that of the "
        "whole model; higher with intervals apart: best block. Shown to answer better than the commonest label: greedy "
        "and first. Leaving out layers alone does not reach 9.0x."
    )
    told = language_model_story(result)
    assert told.startswith("On 9 reviews, 64 tokens of each at the most, its perplexity is 10 [9, 11]; ")
    assert "65.0% [58.5%, 71.5%], not shown to answer better than the commonest label, which gets 60.0%." in told
    assert told.count("the early layers stand highest") == 2 and told.endswith(pruning_story(result))


def test_agreement_of_a_ranking_with_itself_is_one_and_with_its_reverse_minus_one():
    found = agreement({"a": [1, 2, 3], "b": [10, 20, 30], "c": [3, 2, 1]})
    assert found["a", "b"] == pytest.approx(1) and found["a", "c"] == found["b", "c"] == pytest.approx(-1)


def interval(low: float, high: float) -> Interval:
    return Interval(value=(low + high) / 2, low=low, high=high, n=100)


def test_a_commit_has_changes_where_the_code_has_and_not_where_data_or_runs_lie_beside_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("Snakefile", "lib/algorithm.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("committed = True\n")
    who = ["-c", "user.name=A", "-c", "user.email=a@b.c"]
    for words in (["init", "--quiet"], ["add", "."], [*who, "commit", "--quiet", "--message", "all"]):
        subprocess.run(["git", *words], check=True)

    def commit() -> str:
        return provenance(Parameters(), "").commit

    (tmp_path / "reviews.csv").write_text("text,rating\n")
    assert re.fullmatch(r"[0-9a-f]{12}", commit())
    (tmp_path / "lib" / "algorithm.py").write_text("committed = False\n")
    assert commit().endswith(" with changes")


def test_the_story_of_ratios_names_those_that_need_fewer_words_and_those_that_cannot_be_reached():
    plans = [
        Plan(ratio=1.5, layers=3, depth=6, trimmed=False, reached=1.6),
        Plan(ratio=9.0, layers=1, depth=6, trimmed=True, reached=5.25),
    ]
    assert plans_story(plans[:1]) == "Of 6 layers 3 at 1.5x are left."
    assert plans_story(plans).endswith(
        "does not reach 9x: there the vocabulary is trimmed too, which leaves room for more layers. "
        "9x cannot be reached; the nearest is 5.25x."
    )


def test_the_story_of_the_choice_says_where_it_is_shown_to_help_and_where_not():
    contrasts = {
        "1.5": {"choice_before": interval(0.01, 0.03), "choice_after": interval(-0.01, 0.01)},
        "3.0": {"choice_before": interval(0.02, 0.04), "choice_after": interval(-0.03, -0.01)},
        "4.0": {"healing": interval(0, 1)},  # of all layers there is nothing to choose
    }
    assert choice_story("best_subset", contrasts) == (
        "Before healing it is shown to help at 1.5x and 3x, after healing at none (and to harm at 3x). "
        "The accuracy of best subset less that of the blind choices that were healed beside it, in points, with "
        "intervals that do not hold the luck of those few: "
        "before +2.0 (+1.0 to +3.0) at 1.5x and +3.0 (+2.0 to +4.0) at 3x; "
        "after +0.0 (-1.0 to +1.0) at 1.5x and -2.0 (-3.0 to -1.0) at 3x."
    )
    contrasts["3.0"]["choice_before"] = interval(0, 0)
    assert choice_story("best_subset", contrasts).endswith("At 3x nothing tells them apart before healing.")
    assert choice_story("best_subset", {"4.0": contrasts["4.0"]}).startswith(
        "No choice that looks at nothing was healed"
    )


def test_the_stories_of_what_is_kept_claim_no_more_than_intervals_and_tests_do():
    def candidate(ratio: float, p_value: float, name: str = "best_subset") -> Candidate:
        shares = {
            "accuracy": interval(0.8, 0.9),
            "retention": interval(0.97, 0.99),
            "difference": interval(-0.03, -0.01),
        }
        return Candidate(name=name, ratio=ratio, layers=[0], healed=True, p_value=p_value, **shares)

    result = Compression.model_construct(
        choice="best_subset",
        plans=[Plan(ratio=ratio, layers=1, depth=6, trimmed=False, reached=ratio) for ratio in (2.0, 3.0)],
        candidates=[candidate(2.0, 0.024), candidate(3.0, 0.026), candidate(3.0, 0.001, "first")],
        contrasts={
            "2.0": {"anew": interval(0.01, 0.03), "linear": interval(-0.02, 0.02)},
            "3.0": {"anew": interval(-0.01, 0.03), "linear": interval(-0.04, -0.02)},
        },
        timings=[
            Timing(ratio=r, runtime=name, batch=1, milliseconds=ms, low=ms, high=ms, reviews_per_second=1000 / ms)
            for r, name, ms in (
                (1, "pytorch", 8),
                (1, "onnx", 4),
                (3, "pytorch", 2),
                (3, "onnx", 2),
                (3, "onnx_int8", 1),
            )
        ],
        exported=[Exported.model_construct(ratio=r, parameters=60 // r, macs=90 // r**2) for r in (1, 3)],
    )
    kept = retention_story(result)
    assert "98.0% at 2x (97.0% to 99.0%)" in kept and kept.endswith("lose less than one point, p below 0.025: 2x.")
    anew, linear = rivals_story(result).split(". Healed")[0], rivals_story(result)
    assert "Shown to be better at 2x, worse at none" in anew and linear.endswith("better at none, worse at 3x.")
    assert "to guess" not in linear
    result.candidates.append(candidate(2.0, 1.0, ANEW).model_copy(update={"accuracy": interval(0.45, 0.53)}))
    assert rivals_story(result).endswith("is not shown to have learned more than to guess: 49.0% at 2x.")
    result.plans[0].reached = 1.79
    assert "98.0% at 1.79x (97.0% to 99.0%)" in retention_story(result)
    speed = speed_story(result, 3.0)
    assert speed.endswith("3.0 times fewer parameters, and 9.0 times fewer multiplications.")
    assert (
        "4.0 times as fast in PyTorch and 2.0 times in onnxruntime at a batch of 1" in speed and "8.0 times as" in speed
    )
    result.timings.clear()
    assert speed_story(result, 3.0) == "This run exported no model, so nothing was timed."
    assert figures.latency(result).axes[0].texts[0].get_text() == "no model was exported"


def test_the_stories_of_recommenders_name_a_winner_only_where_the_interval_does():
    def metrics(value: float) -> Metrics:
        return Metrics(**dict.fromkeys(Metrics.model_fields, interval(value - 0.01, value + 0.01)))

    def smaller(ratio: float, healed: bool) -> SmallerRecommender:
        kept = interval(0.96, 1.0) if healed else interval(0.5, 0.7)
        found = {"ndcg_10": interval(0.03, 0.05), "retention": kept, "difference": interval(-0.01, 0.0)}
        return SmallerRecommender(name="best_subset", ratio=ratio, layers=[0], healed=healed, **found)

    values = {"transformer": 0.05, "popularity": 0.02, "als": 0.05, "item_neighbours": 0.08}
    result = Recommender.model_construct(
        choice="best_subset",
        metrics={name: metrics(value) for name, value in values.items()},
        differences={
            "popularity": interval(0.02, 0.04),
            "als": interval(-0.01, 0.01),
            "item_neighbours": interval(-0.05, -0.01),
        },
        plans=[Plan(ratio=ratio, layers=1, depth=6, trimmed=False, reached=ratio) for ratio in (2.0, 4.0)],
        candidates=[smaller(ratio, healed) for ratio in (2.0, 4.0) for healed in (False, True)],
        contrasts={"2.0": {"healing": interval(0, 1)}, "4.0": {"anew": interval(-0.03, -0.01)}},
    )
    said = recommenders_story(result)
    assert said.startswith("NDCG@10 of the Transformer is 0.0500 (95 % interval 0.0400 to 0.0600).")
    assert "beats popularity (0.0200) by 150% (+0.0300, interval +0.0200 to +0.0400)" in said
    assert "It cannot be told apart from als (0.0500" in said and "It loses to item neighbours (0.0800) by 38%" in said
    kept = smaller_story(result)
    assert "as it is, 60% at 2x (50% to 70%) and 60% at 4x" in kept and kept.endswith("98% at 4x (96% to 100%).")
    assert anew_story(result).endswith(
        "in hundredths: -2.0 (-3.0 to -1.0) at 4x. Shown to be better at none, worse at 4x."
    )
