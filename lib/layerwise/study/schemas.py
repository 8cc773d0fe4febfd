"""Typed results of the stages, as they are saved in JSON: numbers with intervals, and provenance."""

from typing import ClassVar, Literal

from pydantic import BaseModel
from pydantic.dataclasses import dataclass

from layerwise.budget import CompressionPlan, ModelSize
from layerwise.grading import Grading, is_baseline
from layerwise.statistics import MARGIN, Interval, Stability
from layerwise.study.artifacts import Provenance
from layerwise.study.data.quality import InteractionReport, QualityReport, UnlabelledReport

# Names of the compression baselines, which use no layers of the whole model or all of them.
FROM_SCRATCH, TRUNCATED, LINEAR, MAJORITY, TRIMMED = COMPRESSION_BASELINES = (
    "trained_from_scratch",
    "truncated_pretrained",
    "linear_classifier",
    "majority_answer",
    "vocabulary_trimmed",
)

# Names of sub-networks of the frontier that no score selects: the best and the worst unhealed, and random ones.
BEST, WORST, RANDOM = "best_subset", "worst_subset", "random"


class Score(BaseModel):
    """Accuracy on a split."""

    accuracy: Interval


class TrainingResult(BaseModel):
    """Result of the stage training.

    `difference` is the accuracy of the model less that of the linear baseline on the same test reviews; `pretraining`
    describes the texts of masked language modelling, if there was any.
    """

    stage: Literal["training"] = "training"
    data: QualityReport
    pretraining: UnlabelledReport | None = None
    model: ModelSize
    history: list[dict]
    train: Score
    validation: Score
    test: Score
    baseline: Score
    difference: Interval
    provenance: Provenance


class LayerScoreResult(BaseModel):
    """Mean scores of each method, one for each layer, with their intervals and the stability of the ranking."""

    examples: int
    scores: dict[str, list[float]]
    intervals: dict[str, list[tuple[float, float]]]
    stability: dict[str, Stability]
    provenance: Provenance


class CoreImportanceResult(LayerScoreResult):
    """Result of the stage core_importance."""

    stage: Literal["core_importance"] = "core_importance"
    fisher_per_parameter: list[float]
    accuracy_drop: list[float]
    accuracy_drop_intervals: list[tuple[float, float]]


class SanityCheck(BaseModel):
    """Scores of a method on models whose correct answer is known (see `importance.sanity.sanity_check`).

    `scores` are those of the model with planted layers.
    """

    scores: list[float]
    zero: bool
    last: bool
    untrained_tau: float


class AdvancedImportanceResult(LayerScoreResult):
    """Result of the stage advanced_importance.

    `convergence` is the mean error of conductance along its path, as a share of the change of the margin.
    """

    stage: Literal["advanced_importance"] = "advanced_importance"
    convergence: float
    planted: list[int]
    sanity_examples: int
    sanity: dict[str, SanityCheck]


class PrunedModel(BaseModel):
    """A language model that keeps some layers: the method of selection, and its quality on other reviews."""

    method: str
    ratio: float
    layers: list[int]
    perplexity: Interval
    accuracy: Interval


class LanguageModelResult(BaseModel):
    """Result of the stage language_model: layers are scored on one split, pruned models evaluated on another.

    `angular_distance` of the layers i to j - 1 is entry [i][j]; `thirds` are the mean places of early, middle and late
    layers in a ranking; `majority_accuracy` is that of always giving the most frequent answer.
    """

    shared: ClassVar[bool] = True  # by all models and seeds of a profile
    stage: Literal["language_model"] = "language_model"
    model: ModelSize
    scored: int
    evaluated: int
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
    majority_accuracy: float
    pruned: list[PrunedModel]
    provenance: Provenance


class ExpertOpinions(BaseModel):
    """Opinions of a chat model: for each layer the rank and confidence in every opinion, and the reasons."""

    answered_by: str
    asked: str
    ranks: list[list[int]]
    confidence: list[list[float]]
    reasons: list[list[str]]


class FusionResult(BaseModel):
    """Result of the stage fusion: many rankings fused into one.

    `concordance` is Kendall's W of the methods, without and with the expert; `random_concordance` that of as many
    random rankings: mean, and the ends of 95 %. `kept` are the layers that each rule keeps at each ratio; `no_opinion`
    says why there is no expert.
    """

    stage: Literal["fusion"] = "fusion"
    concordance: dict[str, Interval]
    random_concordance: list[float] = []  # not saved before version 0.2
    scores: dict[str, list[float]]
    intervals: dict[str, list[tuple[float, float]]]
    ranked: list[str]
    agreement: list[list[float]]
    agreement_low: list[list[float]]
    agreement_high: list[list[float]]
    layers_left: dict[str, int]
    kept: dict[str, dict[str, list[int]]]
    thirds: dict[str, list[Interval]]
    expert: ExpertOpinions | None
    no_opinion: str | None
    provenance: Provenance


class PrecisionCheck(BaseModel):
    """Sub-networks evaluated in a lower precision and in float32, on the same reviews.

    Attributes:
        precision: the lower one.
        subnetworks, examples: how many were compared, on how many reviews.
        differing: share of all predictions that differ.
        mean_difference, largest_difference: of the accuracies of a sub-network, without sign.
    """

    precision: str
    subnetworks: int
    examples: int
    differing: float
    mean_difference: float
    largest_difference: float


@dataclass(frozen=True, kw_only=True)
class GroundTruthResult(Grading):
    """Result of the stage ground_truth.

    Attributes:
        accuracy: of the whole model.
        precision: what a lower precision changed; None where the table was computed in float32.
    """

    stage: Literal["ground_truth"] = "ground_truth"
    accuracy: Interval
    precision: PrecisionCheck | None = None
    provenance: Provenance

    @property
    def needs_depth(self) -> bool | None:
        """Whether a random half of the layers costs more than a point of accuracy; None if that is within noise."""
        loss = self.random_half_loss
        return True if loss.low > MARGIN else False if loss.high < MARGIN else None


class CompressionMetrics(BaseModel):
    """A smaller model compared with the whole one on the same test reviews.

    `retention` is the ratio of their accuracies, `difference` its accuracy less that of the whole model, and `p_value`
    that of the non-inferiority test, for predictions that are correct or not.
    """

    accuracy: Interval
    retention: Interval
    difference: Interval
    p_value: float | None


class Candidate(CompressionMetrics):
    """A smaller model: by whom its layers were selected, and whether it was healed.

    The linear classifier has no ratio, and a model trained from scratch has no layers of the whole model. `adjusted_p`
    is the p-value for all healed models and baselines of the run together (Holm, 1979); None for the others.
    """

    name: str
    ratio: float | None
    layers: list[int] | None
    healed: bool
    adjusted_p: float | None = None  # not saved before version 0.3


class ExportedModel(BaseModel):
    """An exported model: its size, the MACs of a review of so many tokens, and for each runtime bytes and metrics.

    `largest_difference` is that of the logits to those of PyTorch.
    """

    ratio: float
    folder: str
    layers: list[int]
    parameters: int
    tokens: int
    macs: int
    bytes: dict[str, int]
    metrics: dict[str, CompressionMetrics]
    largest_difference: dict[str, float]


class Latency(BaseModel):
    """Milliseconds of a batch of so many reviews on one thread of the CPU: median and quartiles."""

    ratio: float
    runtime: str
    batch: int
    milliseconds: float
    low: float
    high: float
    reviews_per_second: float


class CompressionResult(BaseModel):
    """Result of the stage compression; the models of `choice` are exported. All but `timings` is reproducible.

    `trimmed_vocabulary` is the number of tokens of the trimmed vocabulary, `rivals` the number of layers of the best
    model trained from scratch at each ratio.
    """

    stage: Literal["compression"] = "compression"
    choice: str
    whole: Interval
    plans: list[CompressionPlan]
    trimmed_vocabulary: int | None = None  # not saved before version 0.2
    candidates: list[Candidate]
    rivals: dict[str, int] = {}  # before version 0.3 as many as the smaller model has
    contrasts: dict[str, dict[str, Interval]]
    exported: list[ExportedModel]
    timings: list[Latency]
    provenance: Provenance

    def from_scratch(self, layers: int) -> Interval | None:
        """Accuracy of the model of so many layers that was trained from scratch; None if there is none."""
        ratios = [plan.ratio for plan in self.plans if self.rivals.get(str(plan.ratio), plan.layers) == layers]
        found = {each.ratio: each.accuracy for each in self.candidates if each.name == FROM_SCRATCH}
        return next((found[ratio] for ratio in ratios if ratio in found), None)

    @property
    def guessing(self) -> list[float]:
        """The ratios whose model trained from scratch is not shown to beat the majority answer.

        Before version 0.3 reviews were balanced, and there was no majority to be compared with.
        """
        ratios = []
        for each in self.candidates:
            if each.name == FROM_SCRATCH and each.ratio:
                gain = self.contrasts[str(each.ratio)].get("majority")
                if (gain.low if gain else each.accuracy.low - 0.5) <= 0:
                    ratios.append(each.ratio)
        return ratios

    def count_baselines(self, ratio: float) -> int:
        """With how many different healed baselines the choice at a ratio is compared."""
        healed = [each for each in self.candidates if each.ratio == ratio and each.healed and is_baseline(each.name)]
        return len({tuple(each.layers or each.name) for each in healed})


class FrontierChoice(BaseModel):
    """A sub-network of the frontier: who selects it, and whether it was drawn as a random one.

    `accuracy` at each budget is a mean over the seeds of healing; `by_seed` has each of them.
    """

    layers: list[int]
    names: list[str]
    random: bool
    accuracy: list[Interval]
    by_seed: list[list[float]]


class FrontierBudget(BaseModel):
    """What the choice of layers is worth after so many epochs of healing.

    `choice_spread` and `seed_spread` are standard deviations of accuracy, between the choices and between the seeds of
    one choice; `excess` is the variance of the choices less that of the seeds. `rank_correlation` is Kendall's tau with
    the unhealed accuracy on the selection split. `best` are the layers with the best metric on validation after this
    healing. By the names of choices and of the mean of the random ones: `gains`, accuracy less that of the random ones,
    and `regrets`, accuracy of the best less theirs.
    """

    epochs: int
    choice_spread: Interval
    seed_spread: Interval
    excess: Interval
    rank_correlation: Interval
    best: list[int]
    gains: dict[str, Interval]
    regrets: dict[str, Interval]

    @property
    def choice_matters(self) -> bool:
        """Whether choices are shown to differ more than seeds."""
        return self.excess.low > 0


class FrontierResult(BaseModel):
    """Result of the stage frontier: some or all of the `subsets` sub-networks of `layers` layers, healed.

    `whole` is the accuracy of the whole model on the same test reviews; an epoch has `reviews` training reviews.
    """

    stage: Literal["frontier"] = "frontier"
    layers: int
    depth: int
    subsets: int
    seeds: int
    reviews: int
    whole: Interval
    choices: list[FrontierChoice]
    budgets: list[FrontierBudget]
    provenance: Provenance

    @property
    def noise_from(self) -> int | None:
        """Epochs from which on choices are not shown to differ more than seeds; None if they are at the last budget."""
        shown = [budget.epochs for budget in self.budgets if budget.choice_matters]
        first = max(shown, default=-1) + 1
        return first if first < len(self.budgets) else None


class RecommenderMetrics(BaseModel):
    """Metrics of a recommender: means over users."""

    hit_rate_10: Interval
    ndcg_10: Interval
    mrr: Interval


class SmallerRecommender(BaseModel):
    """A smaller recommender; `retention` and `difference` are of NDCG@10, compared with the whole model.

    A model trained from scratch has no layers of the whole model.
    """

    name: str
    ratio: float
    layers: list[int] | None
    healed: bool
    ndcg_10: Interval
    retention: Interval
    difference: Interval


class RecommenderResult(LayerScoreResult):
    """Result of the stage recommender.

    `start` is the NDCG@10 on validation before training, `trials` that of the baselines with each setting;
    `differences` are the NDCG@10 of the whole Transformer less that of each baseline, on the same test users.
    """

    shared: ClassVar[bool] = True  # by all models and seeds of a profile
    stage: Literal["recommender"] = "recommender"
    data: InteractionReport
    model: ModelSize
    start: float
    history: list[dict]
    trials: list[dict]
    metrics: dict[str, RecommenderMetrics]
    differences: dict[str, Interval]
    truth: Grading
    choice: str
    plans: list[CompressionPlan]
    candidates: list[SmallerRecommender]
    contrasts: dict[str, dict[str, Interval]]


@dataclass(frozen=True, kw_only=True)
class CheckedClaim(Interval):
    """A published figure, and what a study measured: its interval is above the claim, below it, or contains it."""

    claim: str
    claimed: float
    study: str
    model: str
    seeds: int
    verdict: Literal["above", "below", "within"]


class ComparisonResult(BaseModel):
    """Result of the stage comparison: a row a run; a row a run and method; the agreement of seeds.

    Over all seeds of a model: a row a smaller model, and the contrasts between them. Claims are compared with the
    measurements of this run and of the recorded ones.
    """

    shared: ClassVar[bool] = True  # by all models and seeds of a profile
    stage: Literal["comparison"] = "comparison"
    rows: list[dict]
    grades: list[dict]
    seed_tau: dict[str, dict[str, float]]
    compression: list[dict] = []  # none in runs that were recorded before there was a stage compression
    contrasts: dict[str, dict[str, dict[str, Interval]]] = {}
    claims: list[CheckedClaim] = []  # none in runs that were recorded before claims were checked
    provenance: Provenance
