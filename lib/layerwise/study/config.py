"""Parameters of notebooks: one schema, checked before anything runs."""

import os
import warnings
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from layerwise.errors import InputError

LABELS = ("negative", "positive")
SPLITS = ("train", "validation", "analysis", "selection", "test")
# What the reviews and their splits depend on: the same for all models and seeds of a profile.
DATA_PARAMETERS = (
    *("source", "text_column", "rating_column", "product_column", "negative", "positive"),
    *("reviews", "balanced", "min_characters", "max_characters", "fractions"),
)
# Training from scratch needs many epochs at a high rate; a pretrained model needs few at a low one.
SCRATCH_RECIPE = {"epochs": 8, "learning_rate": 5e-4}
PRETRAINED_RECIPE = {"epochs": 3, "learning_rate": 1e-4}
PRETRAINED_ARCHITECTURE_RATE = 2e-4  # from random weights: its layers tolerate less than those of `scratch`

Fraction = Annotated[float, Field(gt=0, lt=1)]


class Recipe(BaseModel):
    """How a model is trained: at most so many epochs, and the folder where finished and unfinished work is cached.

    After a warm-up the learning rate falls along a cosine until the last epoch, or stays with `constant_rate`.
    """

    model_config = ConfigDict(frozen=True)

    cache: Path
    seed: int
    epochs: int
    learning_rate: float
    batch_size: int
    patience: int
    bf16: bool
    layer_drop: float
    constant_rate: bool = False

    @property
    def settings(self) -> str:
        """All that decides the weights, as JSON."""
        return self.model_dump_json(exclude={"cache"})


class Parameters(BaseModel):
    """Everything a notebook can be asked to do differently. The defaults are the profile `quick`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    profile: str = Field("quick", pattern=r"^[\w.-]+$", description="names the folder of the run")
    runs: str = Field("runs", min_length=1, description="folder that all runs are written under")
    base_model: str = Field(
        "scratch",
        min_length=1,
        description="model under study: scratch, minilm, smollm2-12, or a Hugging Face id or folder",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="of training and of the bootstrap; the splits never change")

    models: list[str] = Field(["scratch", "minilm"], min_length=1, description="base models that are compared")
    seeds: list[Annotated[int, Field(ge=0)]] = Field([0], min_length=1, description="the seeds that are compared")

    studies: list[str] = Field(
        [
            "electronics",
            "electronics_cpu",
            "electronics_compressed",
            "more_words",
            "all_reviews",
            "fewer_reviews",
            "mlm_pretraining",
            "mlm_pretraining_wide",
            "layer_drop",
        ],
        min_length=1,
        description="recorded studies that are reported on",
    )

    source: str = Field("embedded", min_length=1, description="embedded, hub, or a .parquet, .csv or .jsonl file")
    text_column: str = Field("text", min_length=1, description="column of a file that holds the texts")
    rating_column: str = Field("rating", min_length=1, description="column of a file that holds ratings or labels")
    product_column: str | None = Field(
        None,
        min_length=1,
        description="column whose values stay in one split; null takes parent_asin or asin, if there",
    )
    negative: float | str = Field(2.0, description="negative up to this rating; or the word that labels them")
    positive: float | str = Field(4.0, description="positive from this rating on; or the word that labels them")
    reviews: int | None = Field(None, ge=50, description="how many reviews to sample; null takes all")
    balanced: bool = Field(False, description="sample as many negative as positive reviews")
    min_characters: int = Field(10, ge=1, description="shorter texts are dropped")
    max_characters: int = Field(1000, ge=1, description="longer texts are dropped")
    fractions: list[Fraction] = Field(
        [0.55, 0.1, 0.1, 0.1, 0.15], min_length=5, max_length=5, description=f"of the splits {', '.join(SPLITS)}"
    )
    train_reviews: int | None = Field(None, ge=10, description="train on only so many; null takes the whole split")

    layers: int = Field(12, ge=2, le=96, description="depth of the model from scratch")
    hidden_size: int = Field(64, ge=8, le=8192, description="width of the model from scratch")
    heads: int = Field(4, ge=1, description="attention heads of the model from scratch")
    vocabulary_size: int = Field(4000, ge=100, le=200_000, description="subwords of the model from scratch")
    dropout: float = Field(0.3, ge=0, lt=1, description="of the model from scratch")
    max_length: int = Field(64, ge=8, le=8192, description="tokens a review; longer ones are cut")
    layer_drop: float = Field(0.0, ge=0, lt=1, description="probability that a training step leaves a layer out")

    epochs: int | None = Field(None, ge=1, description="at most; null takes 8 from scratch, 3 pretrained")
    learning_rate: float | None = Field(
        None, gt=0, lt=1, description="peak; null takes 5e-4 from scratch, 1e-4 pretrained"
    )
    batch_size: int = Field(32, ge=1, description="reviews a step and device")
    evaluation_batch_size: int = Field(
        32, ge=1, description="reviews a forward pass where layers are scored and graded"
    )
    patience: int = Field(3, ge=1, description="evaluations without a better accuracy before training stops")
    bf16: bool = Field(False, description="train in bfloat16 mixed precision")
    pretraining_texts: str | None = Field(
        None, min_length=1, description="file of texts without labels, for masked language modelling before training"
    )
    pretraining_epochs: int = Field(1, ge=1, description="epochs of masked language modelling")

    analysis_reviews: int | None = Field(None, ge=10, description="score so many reviews; null takes the whole split")
    sanity_reviews: int = Field(32, ge=10, description="so many of them score models whose right answer is known")
    selection_reviews: int | None = Field(
        None, ge=10, description="grade on so many reviews; null takes the whole split"
    )
    precision: Literal["float32", "tf32", "bfloat16"] = Field(
        "float32", description="that all sub-networks are evaluated in; a lower one is compared with float32"
    )
    exhaustive_layers: int = Field(16, ge=1, le=20, description="evaluate all sub-networks up to this depth")
    permutations: int = Field(100, ge=1, le=100_000, description="random orders of the layers of a deeper model")
    ratios: list[Annotated[float, Field(gt=1, le=1000)]] = Field(
        [1.35, 1.8, 2.5, 4.0], min_length=1, description="of compression: parameters of the whole model to those kept"
    )
    heal: list[str] = Field(
        ["best_subset", "borda", "random_1", "random_2", "random_3", "random_4", "random_5"],
        min_length=1,
        description="by whom the layers of healed models are selected; the models of the first are exported",
    )
    export_models: bool = Field(
        True, description="export the healed models, and measure them in each runtime on the CPU"
    )
    heal_epochs: int = Field(3, ge=1, description="passes over the training reviews that heal a compressed model")
    frontier_layers: int | None = Field(
        None, ge=1, description="layers that the sub-networks of the frontier keep; null takes half of them"
    )
    frontier_random: int | None = Field(
        4, ge=2, description="random sub-networks of the frontier, beside the selected ones; null heals all of the size"
    )
    frontier_epochs: int = Field(2, ge=1, description="passes that heal them; after each, all are evaluated")
    frontier_reviews: int | None = Field(
        None, ge=10, description="training reviews of such a pass; null takes the whole split"
    )
    frontier_seeds: int = Field(2, ge=2, description="how often each sub-network of the frontier is healed")

    llm: str = Field(
        "smollm2",
        min_length=1,
        description="a causal language model: smollm2, smollm2-12, or a Hugging Face id or folder",
    )
    llm_reviews: int | None = Field(None, ge=10, description="reviews it reads of each split; null takes all")
    greedy_reviews: int = Field(16, ge=1, description="reviews that greedy pruning selects by")
    expert_model: str | None = Field(None, min_length=1, description="chat model asked as an expert; null asks nobody")
    expert_samples: int = Field(3, ge=1, le=100, description="how often the expert is asked the same")
    expert_timeout: int = Field(120, ge=1, description="seconds to wait for the expert's reply")
    refresh_expert: bool = Field(False, description="ask the expert even if its answer is recorded")

    interactions: str = Field(
        "movielens", min_length=1, description="movielens, hub, or a .parquet, .csv or .jsonl file"
    )
    users: int | None = Field(None, ge=30, description="how many users to sample; null takes all")
    graded_users: int | None = Field(
        None, ge=10, description="score layers of the recommender, and grade on, so many users each; null takes a third"
    )
    recommender_layers: int = Field(12, ge=2, le=96, description="depth of the recommender")
    recommender_hidden_size: int = Field(64, ge=8, le=8192, description="its width")
    recommender_heads: int = Field(2, ge=1, description="its attention heads")
    recommender_max_length: int = Field(25, ge=2, le=8192, description="products of a history that it reads")
    recommender_dropout: float = Field(0.1, ge=0, lt=1, description="in its training")
    recommender_epochs: int = Field(6, ge=1, description="of its training, at most")
    recommender_learning_rate: float = Field(2e-3, gt=0, lt=1, description="peak")
    recommender_batch_size: int = Field(128, ge=1, description="histories a step and device")
    recommender_heal: list[str] = Field(
        ["best_subset", "random_1"], min_length=1, description="by whom the layers of healed recommenders are selected"
    )
    recommender_heal_epochs: int = Field(1, ge=1, description="passes over the histories that heal a smaller one")

    bootstrap_samples: int = Field(1000, ge=100, le=100_000, description="resamples behind each interval")

    @model_validator(mode="before")
    @classmethod
    def _recipe(cls, values: dict) -> dict:
        recipe = SCRATCH_RECIPE if values.get("base_model", "scratch") == "scratch" else PRETRAINED_RECIPE
        return values | {name: value for name, value in recipe.items() if name in values and values[name] is None}

    @model_validator(mode="after")
    def _consistent(self) -> "Parameters":
        for size, heads in (("hidden_size", "heads"), ("recommender_hidden_size", "recommender_heads")):
            if getattr(self, size) % getattr(self, heads):
                raise ValueError(f"{size} {getattr(self, size)} cannot be shared among {getattr(self, heads)} heads")
        match self.negative, self.positive:
            case str(), str():
                consistent = self.negative != self.positive
            case float(negative), float(positive):
                consistent = negative < positive
            case _:
                consistent = False
        if not consistent:
            raise ValueError(
                f"negative {self.negative!r} and positive {self.positive!r} must be two words, "
                "or two ratings of which negative is the lower"
            )
        if self.min_characters > self.max_characters:
            raise ValueError(f"min_characters {self.min_characters} is above max_characters {self.max_characters}")
        if abs(sum(self.fractions) - 1) > 1e-9:
            raise ValueError(f"fractions must add up to 1, these add up to {sum(self.fractions):g}")
        return self

    def run(self, base_model: str, seed: int) -> "Parameters":
        """The same parameters for another model and seed."""
        return self.model_copy(update={"base_model": base_model, "seed": seed})

    def recipe(self, **changes: object) -> Recipe:
        """How the model is trained; with changes, such as `epochs=1`."""
        settings = {name: getattr(self, name) for name in Recipe.model_fields if name in Parameters.model_fields}
        return Recipe(**{"cache": self.run_dir / "cache"} | settings | changes)

    def scratch_recipe(self, epochs: int) -> Recipe:
        """How a model with random weights is trained, for so many epochs."""
        rate = self.learning_rate if self.base_model == "scratch" else PRETRAINED_ARCHITECTURE_RATE
        return self.recipe(epochs=epochs, learning_rate=rate)

    def for_the_recommender(self) -> "Parameters":
        """Parameters of the recommender under the names of a classifier: `recommender_layers` as `layers`."""
        prefix = "recommender_"
        own = {name.removeprefix(prefix): value for name, value in self if name.startswith(prefix)}
        return self.model_copy(update=own | {"base_model": "recommender"})

    @property
    def model_name(self) -> str:
        """The name of the model in folders and figures: the last part of its id or path."""
        return self.base_model.rstrip("/").rsplit("/", 1)[-1]

    @property
    def profile_dir(self) -> Path:
        return project_path(self.runs) / self.profile

    @property
    def reviews_dir(self) -> Path:
        return self.profile_dir / "reviews"

    @property
    def interactions_dir(self) -> Path:
        return self.profile_dir / "interactions"

    @property
    def run_dir(self) -> Path:
        return self.profile_dir / self.model_name / f"seed{self.seed}"

    @classmethod
    def check(cls, values: dict) -> "Parameters":
        """Parameters from plain values.

        Raises:
            InputError: names every unknown parameter, wrong type and impossible value.
        """
        try:
            return cls(**values)
        except ValidationError as error:
            raise InputError(describe_errors(error)) from None

    @classmethod
    def from_notebook(cls, namespace: dict) -> "Parameters":
        """Parameters from the globals of a notebook that has so far run nothing but its parameters cell.

        papermill adds any name it is given, so a misspelt parameter arrives here as one more variable. Progress bars
        and notices of libraries are turned off, because the outputs of a notebook are a page.
        """
        silence_libraries()
        plain = (str, int, float, bool, list, dict, type(None))
        ours = {k: v for k, v in namespace.items() if not k.startswith("_") and isinstance(v, plain)}
        return cls.check({k: v for k, v in ours.items() if k not in {"In", "Out"}})


def project_path(path: str | Path) -> Path:
    """A relative path counts from the project's folder, wherever in it the notebook's kernel was started."""
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / "Snakefile").is_file()), here)
    return root / Path(path).expanduser()


def describe_errors(error: ValidationError) -> str:
    """One sentence that names every parameter that is unknown or has a wrong value."""
    parts = []
    for problem in error.errors():
        name, message = ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            close = get_close_matches(name, Parameters.model_fields, n=1)
            parts.append(f"unknown parameter {name!r}" + (f", did you mean {close[0]!r}?" if close else ""))
        elif name:
            parts.append(f"parameter {name!r}: {message.lower()}, not {problem['input']!r}")
        else:
            parts.append(message)
    return "; ".join(parts)


def silence_libraries() -> None:
    """Turn off progress bars and notices of libraries that are imported from now on."""
    for name in ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.filterwarnings("ignore", message="IProgress not found")
