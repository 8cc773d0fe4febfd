"""What a stage leaves behind: typed results with intervals and provenance, and the facts that its page quotes."""

import platform
import statistics
import subprocess
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Literal

import myst_nb
import numpy as np
import torch
from pandas.io.formats.style import Styler
from pydantic import BaseModel
from scipy import stats

from layerwise.errors import InputError
from layerwise.parameters import Parameters, project_path
from layerwise.reports import InteractionReport, QualityReport, UnlabelledReport

CONFIDENCE = 0.95
MARGIN = 0.01  # of accuracy: a smaller loss hardly matters, and a model that loses less is not inferior
VERSIONS_OF = ("torch", "transformers", "datasets", "duckdb", "numpy", "scipy", "scikit-learn")
ONCE = ("4_llama", "7_recommender")  # stages that depend on no subject
ANEW, LINEAR, TRIMMED = RIVALS = ("learned_anew", "linear_classifier", "vocabulary_trimmed")  # they choose no layers
_STARTED = time.time()


class Interval(BaseModel):
    """An estimate from n examples with its 95 % interval, which f"{found:.1%}" shows both."""

    value: float
    low: float
    high: float
    n: int

    def __format__(self, kind: str) -> str:
        return f"{self.value:{kind}} [{self.low:{kind}}, {self.high:{kind}}]"

    @property
    def points(self) -> str:
        """A difference of accuracies, in points."""
        return f"{100 * self.value:+.1f} [{100 * self.low:+.1f}, {100 * self.high:+.1f}]"


class Provenance(BaseModel):
    """Where numbers come from: everything but `finished` and `seconds` is the same when the run is repeated."""

    commit: str
    parameters: dict
    reviews_sha256: str
    device: str
    threads: int
    versions: dict[str, str]
    finished: str
    seconds: float


class Model(BaseModel):
    """The model under study, in numbers."""

    base_model: str
    architecture: str
    layers: int
    hidden_size: int
    vocabulary_size: int
    parameters: int
    parameters_per_layer: list[int]


class Score(BaseModel):
    """Accuracy on a split."""

    accuracy: Interval


class TrainingResult(BaseModel):
    """Stage 1. `difference` is the model's accuracy less the linear baseline's on the same test reviews, `warm_up` the
    texts whose masked words were learned first."""

    stage: Literal["1_training"] = "1_training"
    data: QualityReport
    warm_up: UnlabelledReport | None = None
    model: Model
    history: list[dict]
    train: Score
    validation: Score
    test: Score
    baseline: Score
    difference: Interval
    provenance: Provenance


class Tested(Interval):
    """A figure that was claimed, and what a study measured for a subject: whether its interval lies above the claim,
    below it, or has it within."""

    claim: str
    said: float
    study: str
    subject: str
    seeds: int
    verdict: Literal["above", "below", "within"]


class ComparisonResult(BaseModel):
    """Stage 8: a row a run, a row a run and method, the agreement of seeds by subject and method; over all seeds of a
    subject, a row a smaller model and the contrasts between them; claims beside what this run and the recorded ones
    measured."""

    stage: Literal["8_comparison"] = "8_comparison"
    rows: list[dict]
    grades: list[dict]
    seed_tau: dict[str, dict[str, float]]
    compression: list[dict] = []  # none in runs that were recorded before there was a stage 6
    contrasts: dict[str, dict[str, dict[str, Interval]]] = {}
    claims: list[Tested] = []  # none in runs that were recorded before claims were tested
    provenance: Provenance


class Stability(BaseModel):
    """How sure a ranking of layers is, over bootstrap samples of the examples.

    `ranks` and `rank_intervals` hold one entry a layer, rank 1 being the most important; `kendall_tau` is the mean
    correlation of a resampled ranking with the one of all examples.
    """

    ranks: list[int]
    rank_intervals: list[tuple[float, float]]
    kendall_tau: float


class Scores(BaseModel):
    """Scores, a float a layer a method, with their intervals and the stability of their ranking."""

    examples: int
    scores: dict[str, list[float]]
    intervals: dict[str, list[tuple[float, float]]]
    stability: dict[str, Stability]
    provenance: Provenance


class CoreImportance(Scores):
    """Stage 2."""

    stage: Literal["2_core_importance"] = "2_core_importance"
    fisher_per_parameter: list[float]
    accuracy_drop: list[float]
    accuracy_drop_intervals: list[tuple[float, float]]


class Sanity(BaseModel):
    """What a method says of models whose right answer is known.

    `scores` are those of the model with planted layers, `last` whether the planted ones are nearest to zero, and
    `untrained_tau` is Kendall's correlation of the ranking with that of the same architecture with random weights.
    """

    scores: list[float]
    zero: bool
    last: bool
    untrained_tau: float


class AdvancedImportance(Scores):
    """Stage 3. `convergence` is conductance's mean error along its path, as a share of the change of the margin."""

    stage: Literal["3_advanced_importance"] = "3_advanced_importance"
    convergence: float
    planted: list[int]
    sanity_examples: int
    sanity: dict[str, Sanity]


class Pruned(BaseModel):
    """A language model that keeps only some layers: how it was chosen, and what it is worth on other reviews."""

    way: str
    ratio: float
    layers: list[int]
    perplexity: Interval
    accuracy: Interval


class LanguageModel(BaseModel):
    """Stage 4, of the language model alone: scored on one split, pruned models judged on another. `angular_distance` of
    the layers i to j - 1 is entry [i][j]; `thirds` are the mean places of early, middle and late layers in a ranking;
    `commonest_label` is the accuracy of always giving the same answer."""

    stage: Literal["4_llama"] = "4_llama"
    model: Model
    scored: int
    judged: int
    block_influence: list[float]
    block_influence_intervals: list[tuple[float, float]]
    angular_distance: list[list[float]]
    perplexity: Interval
    accuracy: Interval
    perplexity_without_each: list[Interval]
    accuracy_without_each: list[Interval]
    thirds: dict[str, list[Interval]]
    layers_left: dict[str, int]
    perplexity_unpruned: Interval
    accuracy_unpruned: Interval
    commonest_label: float
    pruned: list[Pruned]
    provenance: Provenance


class Expert(BaseModel):
    """Opinions of a chat model: for each layer the rank and the confidence of every opinion, and its reasons."""

    answered_by: str
    asked: str
    ranks: list[list[int]]
    confidence: list[list[float]]
    reasons: list[list[str]]


class Fusion(BaseModel):
    """Stage 4: one ranking made of many. `concordance` is Kendall's W, of the methods and with the expert; `kept` are
    the layers that each rule keeps at each ratio; `no_opinion` says why there is no expert."""

    stage: Literal["4_llm_and_fusion"] = "4_llm_and_fusion"
    concordance: dict[str, Interval]
    scores: dict[str, list[float]]
    intervals: dict[str, list[tuple[float, float]]]
    ranked: list[str]
    agreement: list[list[float]]
    agreement_low: list[list[float]]
    agreement_high: list[list[float]]
    layers_left: dict[str, int]
    kept: dict[str, dict[str, list[int]]]
    thirds: dict[str, list[Interval]]
    expert: Expert | None
    no_opinion: str | None
    provenance: Provenance


class Choice(BaseModel):
    """Layers, and the accuracy of the sub-network that keeps them. `held_out` is what it is worth on other examples."""

    layers: list[int]
    value: float
    held_out: float | None = None


class Size(BaseModel):
    """The sub-networks of one size. `quantiles` of their accuracy: 0, 5, 25, 50, 75, 95 and 100 %.

    Of a table that is a sample, `subsets`, `mean` and `quantiles` are of those that were drawn by chance.
    """

    subsets: int
    best: Choice
    greedy: Choice
    mean: float
    quantiles: list[float]


class GradeOfSize(BaseModel):
    """What a method's choice of so many layers is worth; a random choice has no `layers`, its grade is expected."""

    layers: list[int] | None
    value: float
    regret: float
    percentile: float
    value_interval: tuple[float, float]
    regret_interval: tuple[float, float]
    percentile_interval: tuple[float, float]


class Summary(BaseModel):
    """A method over all sizes from 1 to L - 1: the means of its grades.

    `behind` is the accuracy by which its choices are worse than those of the method with the best mean percentile,
    `reversed_percentile` the percentile of the least important layers instead of the most important.
    """

    regret: Interval
    percentile: Interval
    behind: Interval
    reversed_percentile: Interval | None


class Graded(BaseModel):
    """What all sub-networks say of methods and layers, in accuracy or, of a recommender, in NDCG.

    `half_by_chance` and `half_at_best` are what is lost by keeping half of the layers, chosen blindly or, on the same
    examples, best. `agreement` is a matrix of Kendall's tau in the order of `ranked`. `thirds` are the mean places of
    early, middle and late layers in the order of the Shapley values; fewer than three layers have none."""

    examples: int
    subsets: int
    complete: bool
    sizes: dict[int, Size]
    grades: dict[str, dict[int, GradeOfSize]]
    summary: dict[str, Summary]
    shapley: list[float]
    shapley_intervals: list[tuple[float, float]]
    leave_one_out: list[float]
    leave_one_out_intervals: list[tuple[float, float]]
    interactions: dict[str, Interval] | None
    ranked: list[str]
    agreement: list[list[float]]
    agreement_low: list[list[float]]
    agreement_high: list[list[float]]
    half_by_chance: Interval
    half_at_best: Interval
    thirds: list[Interval]  # fewer than three layers have none


class GroundTruth(Graded):
    """Stage 5. `accuracy` is that of the whole model."""

    stage: Literal["5_ground_truth"] = "5_ground_truth"
    accuracy: Interval
    provenance: Provenance

    @property
    def needs_depth(self) -> bool | None:
        """Whether half of the layers, chosen blindly, cost a point of accuracy; None where that is within the noise."""
        loss = self.half_by_chance
        return True if loss.low > MARGIN else False if loss.high < MARGIN else None


class Plan(BaseModel):
    """How a ratio of parameters is reached: so many layers of all, with the whole vocabulary or with a trimmed one."""

    ratio: float
    layers: int
    depth: int
    trimmed: bool
    reached: float

    @property
    def at(self) -> str:
        """The ratio in words: the one that was asked for or, where that cannot be reached, the nearest."""
        return f"{min(self.ratio, self.reached):.3g}x"


class Judgement(BaseModel):
    """A smaller model beside the whole one, on the same test reviews: `retention` is the ratio of their accuracies,
    `difference` its accuracy less that of the whole, `p_value` that of the test against being a point worse."""

    accuracy: Interval
    retention: Interval
    difference: Interval
    p_value: float


class Candidate(Judgement):
    """A smaller model and how it came about: whose choice of layers, and whether it was healed. The linear classifier
    has no ratio, and what learned anew has no layers of the whole model."""

    name: str
    ratio: float | None
    layers: list[int] | None
    healed: bool


class Exported(BaseModel):
    """A model in a folder of its own: sizes, multiplications with additions for a review of so many tokens, and for
    each runtime its bytes, its worth, and the largest difference of its logits to those of PyTorch."""

    ratio: float
    folder: str
    layers: list[int]
    parameters: int
    tokens: int
    macs: int
    bytes: dict[str, int]
    judged: dict[str, Judgement]
    largest_difference: dict[str, float]


class Timing(BaseModel):
    """Milliseconds a batch of so many reviews on one thread of the CPU: median and quartiles."""

    ratio: float
    runtime: str
    batch: int
    milliseconds: float
    low: float
    high: float
    reviews_per_second: float


class Compression(BaseModel):
    """Stage 6. `choice` is whose models are exported; all but `timings` is the same when it is repeated."""

    stage: Literal["6_compression"] = "6_compression"
    choice: str
    whole: Interval
    plans: list[Plan]
    candidates: list[Candidate]
    contrasts: dict[str, dict[str, Interval]]
    exported: list[Exported]
    timings: list[Timing]
    provenance: Provenance

    @property
    def guessing(self) -> list[Candidate]:
        """Those that learned anew and are not shown to have learned more than to guess."""
        return [each for each in self.candidates if each.name == ANEW and each.accuracy.low <= 0.5]


class Metrics(BaseModel):
    """What a recommender is worth: means over users."""

    hit_rate_10: Interval
    ndcg_10: Interval
    mrr: Interval


class SmallerRecommender(BaseModel):
    """A smaller recommender and how it came about. `retention` and `difference` are of NDCG@10, to the whole model's;
    what learned anew has no layers of it."""

    name: str
    ratio: float
    layers: list[int] | None
    healed: bool
    ndcg_10: Interval
    retention: Interval
    difference: Interval


class Recommender(Scores):
    """Stage 7. `start` is the NDCG@10 on validation before training, `trials` that of the baselines with each setting;
    `differences` are the NDCG@10 of the whole Transformer less that of each baseline, on the same test users."""

    stage: Literal["7_recommender"] = "7_recommender"
    data: InteractionReport
    model: Model
    start: float
    history: list[dict]
    trials: list[dict]
    metrics: dict[str, Metrics]
    differences: dict[str, Interval]
    truth: Graded
    choice: str
    plans: list[Plan]
    candidates: list[SmallerRecommender]
    contrasts: dict[str, dict[str, Interval]]


def accuracy(correct: np.ndarray) -> Interval:
    """Share of True in (examples,), with Wilson's interval."""
    found = stats.binomtest(int(correct.sum()), len(correct))
    low, high = found.proportion_ci(CONFIDENCE, method="wilson")
    return Interval(value=found.statistic, low=low, high=high, n=len(correct))


def difference(first: np.ndarray, second: np.ndarray, samples: int, seed: int) -> Interval:
    """Mean of first - second, both (examples,) and paired by example, with its bootstrap interval."""
    paired = first.astype(float) - second.astype(float)
    (low,), (high,) = _bootstrap(paired[:, None], samples, seed).confidence_interval
    return Interval(value=paired.mean(), low=low, high=high, n=len(paired))


def intervals(scores: np.ndarray, samples: int, seed: int) -> tuple[list[tuple[float, float]], Stability]:
    """Bootstrap over the examples of scores (examples, layers), all layers resampled together.

    Returns:
        A 95 % percentile interval of the mean of each layer, and the stability of the layers' ranking.
    """
    found = _bootstrap(scores, samples, seed)
    means = found.bootstrap_distribution.T  # (samples, layers)
    ranks = stats.rankdata(-means, axis=1)
    low, high = np.quantile(ranks, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    taus = [stats.kendalltau(scores.mean(0), resampled).statistic for resampled in means]
    pairs = list(zip(*(edge.tolist() for edge in found.confidence_interval), strict=True))
    return pairs, Stability(
        ranks=stats.rankdata(-scores.mean(0), method="ordinal").tolist(),
        rank_intervals=list(zip(low, high, strict=True)),
        kendall_tau=float(np.mean(taus)),
    )


def taus(truth: Graded, methods: Iterable[str]) -> list[Interval]:
    """Kendall's tau of every pair of these methods that were ranked, with its interval over examples."""
    places = [truth.ranked.index(method) for method in methods if method in truth.ranked]
    values, lows, highs = truth.agreement, truth.agreement_low, truth.agreement_high
    return [
        Interval(value=values[i][j], low=lows[i][j], high=highs[i][j], n=truth.examples)
        for i, j in combinations(places, 2)
    ]


def over_seeds(found: list[Interval]) -> Interval:
    """The mean of what several seeds found, and the interval from the lowest end of theirs to the highest."""
    return Interval(
        value=statistics.mean(each.value for each in found),  # exact: the mean of equal values is that value
        low=min(each.low for each in found),
        high=max(each.high for each in found),
        n=found[0].n,
    )


def estimate(distribution: np.ndarray, n: int) -> Interval:
    """An estimate and its percentile interval from (R,): the first is of the n examples, the others of resamples."""
    low, high = bounds(distribution)
    return Interval(value=float(distribution[0]), low=low, high=high, n=n)


def bounds(distribution: np.ndarray) -> list:
    """Percentile intervals from (R, ...), the first row left out: pairs (..., 2)."""
    edges = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    return np.moveaxis(np.quantile(distribution[1:], edges, axis=0), 0, -1).tolist()


def comparison_row(subject: str, seed: int, result: TrainingResult) -> dict:
    """A run in one row of a table: its accuracy on the test split, and how far that is from the linear baseline's."""
    test, less = result.test.accuracy, result.difference
    return {
        "subject": subject,
        "seed": seed,
        "layers": result.model.layers,
        "million parameters": result.model.parameters / 1e6,
        "accuracy": test.value,
        "low": test.low,
        "high": test.high,
        "less linear": less.value,
        "less linear, low": less.low,
        "less linear, high": less.high,
    }


def describe(model, base_model: str, layers) -> Model:
    """The numbers of a model with these layers."""
    sizes = [sum(weight.numel() for weight in layer.parameters()) for layer in layers]
    return Model(
        base_model=base_model.rstrip("/").rsplit("/", 1)[-1],
        architecture=type(model).__name__,
        layers=len(sizes),
        hidden_size=model.config.hidden_size,
        vocabulary_size=model.config.vocab_size,
        parameters=model.num_parameters(),
        parameters_per_layer=sizes,
    )


def provenance(parameters: Parameters, reviews_sha256: str) -> Provenance:
    """Of the notebook that is running and the parameters that it declares. Paths are reduced to their names."""
    said = parameters.model_dump(exclude_unset=True, exclude={"runs"})
    for name in {"source", "base_model", "warm_up", "llm", "interactions"} & {n for n, value in said.items() if value}:
        said[name] = said[name].rstrip("/").rsplit("/", 1)[-1]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU ({platform.machine()})"
    return Provenance(
        commit=_commit(),
        parameters=said,
        reviews_sha256=reviews_sha256,
        device=device,
        threads=torch.get_num_threads(),
        versions={name: version(name) for name in VERSIONS_OF},
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.time() - _STARTED, 1),
    )


def save(result: BaseModel, folder: Path, **arrays: np.ndarray) -> None:
    """Write a stage's result to `<stage>.json` in the folder, and what is too long for it to `<stage>.npz`.

    Each file is written whole or not at all.
    """
    file = folder / f"{result.stage}.json"
    part = file.with_suffix(".part")
    try:
        if arrays:
            with part.open("wb") as stream:
                np.savez_compressed(stream, **arrays)
            part.replace(file.with_suffix(".npz"))
        part.write_text(result.model_dump_json(indent=1) + "\n")
        part.replace(file)
    except OSError as error:
        raise InputError(f"cannot write {file}: {error.strerror}") from error


def load(kind: type[BaseModel], stage: str, parameters: Parameters) -> BaseModel:
    """The result that an earlier stage saved for the same run."""
    return kind.model_validate_json(_left_by(stage, parameters, ".json").read_text())


def load_arrays(stage: str, parameters: Parameters) -> dict[str, np.ndarray]:
    """The arrays that an earlier stage saved with its result."""
    with np.load(_left_by(stage, parameters, ".npz"), allow_pickle=False) as arrays:
        return dict(arrays)


def glue(**facts: str | float | Styler) -> None:
    """Hand facts and tables to the prose of the pages, which quote them by name."""
    for name, fact in facts.items():
        myst_nb.glue(name.replace("_", "-"), fact, display=False)


def made_with(provenance: Provenance, data: str, subject: str | None = None) -> str:
    """One line for the foot of a page: profile, subject, data, seed, commit, device, date."""
    said = provenance.parameters
    subjects = [subject] if subject else said.get("subjects") or [said.get("base_model") or said["llm"]]
    seeds = said.get("seeds") or [said["seed"]]
    return (
        f"profile {said['profile']}, subject {subjects}, seed {seeds}, {data}, commit {provenance.commit}, "
        f"{provenance.device}, threads: {provenance.threads}, {provenance.finished[:10]}"
    )


def _left_by(stage: str, parameters: Parameters, suffix: str) -> Path:
    file = parameters.run_dir / f"{stage}{suffix}"
    if stage in ONCE:
        file = parameters.profile_dir / file.name
    if not file.is_file():
        raise InputError(f"there is no {file.name} in {file.parent}: run the notebook {stage} first")
    return file


def _bootstrap(scores: np.ndarray, samples: int, seed: int):
    return stats.bootstrap(
        (scores,),
        np.mean,
        axis=0,
        n_resamples=samples,
        batch=100,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(seed),
    )


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=project_path("."), capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        commit = git("rev-parse", "--short=12", "HEAD")
    except FileNotFoundError:
        commit = ""
    changes = git("status", "--porcelain", "--", "lib", "notebooks", "profiles", "Snakefile")  # data and runs are none
    return f"{commit}{' with changes' if changes else ''}" if commit else "unknown"
