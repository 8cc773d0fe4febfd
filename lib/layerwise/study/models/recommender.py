"""A sequential recommender: its data, its training, its baselines, and the metrics of all of them."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from datasets import Dataset
from implicit.als import AlternatingLeastSquares
from implicit.nearest_neighbours import TFIDFRecommender
from scipy.sparse import csr_matrix
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfTransformer
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import EvalPrediction, GPT2Config, GPT2Model, GPT2PreTrainedModel, PreTrainedModel, Trainer, set_seed
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.utils import ModelOutput

from layerwise import statistics
from layerwise.batches import Batch, model_inputs
from layerwise.distillation import Distillation
from layerwise.errors import InputError
from layerwise.study.config import Parameters
from layerwise.study.models.device import reproducible_device
from layerwise.study.models.training import Task
from layerwise.study.schemas import RecommenderMetrics

TOP = 10  # products that are recommended
PADDING = 0  # numbers of products start at 1
IGNORED = -100  # label of padding
INITIAL_STD = 0.02  # standard deviation of the initial embeddings, as in GPT-2
NEIGHBOURS, FACTORS = (20, 50, 100, 200), (32, 64, 128)  # settings of the baselines, selected on validation
# A batch has input_ids and attention_mask (users, length), labels (users,) and seen (users, length of longest history).
Recommender = Callable[[Batch], torch.Tensor]  # returns scores (users, products + 1) of the products by their numbers
Loss: TypeAlias = torch.Tensor | tuple[torch.Tensor, ModelOutput]  # in evaluation with the output of the model


class SASRecConfig(GPT2Config):
    """Configuration of `SASRec`."""

    model_type = "sasrec"  # so that no library loads the folder as a language model


class SASRec(GPT2PreTrainedModel):
    """A causal Transformer that predicts the next product of a history: a classifier with one class for each product.

    Its logits (users, products + 1) are dot products of the last hidden state with the input embeddings, plus a bias
    for the popularity of each product. Padding is on the right.

    Source: Kang & McAuley (2018), with the softmax over all products as in Klenitskiy & Vasilev (2023).
    """

    config_class = SASRecConfig
    _tied_weights_keys = {"score.weight": "transformer.wte.weight"}  # noqa: RUF012 (as transformers has it)

    def __init__(self, config: SASRecConfig):
        super().__init__(config)
        self.transformer = GPT2Model(config)
        self.score = nn.Linear(config.n_embd, config.num_labels)
        self.post_init()

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> ModelOutput:
        """Logits (users, products + 1) of the product after each history, and the loss if there are labels (users,)."""
        if attention_mask is None:
            attention_mask = (input_ids != self.config.pad_token_id).long()
        output = self.transformer(input_ids, attention_mask=attention_mask, output_hidden_states=output_hidden_states)
        last = output.last_hidden_state[torch.arange(len(input_ids)), attention_mask.sum(1) - 1]
        logits = self.score(last)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=output.hidden_states)


class _RankingTrainer(Trainer):
    """Evaluates the ranking of products that a user has not taken yet: the input `seen` is not for the model."""

    def compute_loss(
        self,
        model: PreTrainedModel,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Loss:
        inputs = {name: value for name, value in inputs.items() if name != "seen"}
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)


class NextProduct(_RankingTrainer):
    """Trains a model to predict the next product at each place of a history, by cross-entropy over all products."""

    def compute_loss(
        self,
        model: PreTrainedModel,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Loss:
        if return_outputs:
            return super().compute_loss(model, inputs, return_outputs)
        labels = inputs.pop("labels")
        real = labels != IGNORED
        logits = logits_at_all_places(self.model, model(**inputs, output_hidden_states=True), real)
        return F.cross_entropy(logits.float(), labels[real])


class NextProductDistillation(Distillation, _RankingTrainer):
    """Trains a student to predict the same next products as its teacher, at each place of a history."""

    def predictions(self, model: PreTrainedModel, output: ModelOutput, real: torch.Tensor) -> torch.Tensor:
        """Logits (places, products + 1) at all places without padding."""
        return logits_at_all_places(model, output, real)


def logits_at_all_places(model: SASRec, output: ModelOutput, real: torch.Tensor) -> torch.Tensor:
    """Compute the logits (places, products + 1) at all places of a batch without padding.

    Args:
        output: of the model, with its hidden states.
        real: (users, length) bool, False at padding.
    """
    return model.score(output.hidden_states[-1][real])


def build_recommender(parameters: Parameters, histories: list[np.ndarray], products: int) -> SASRec:
    """Build an untrained recommender with informed embeddings, because histories are short and products are many.

    Products that the same users took have similar embeddings: a latent semantic analysis (Deerwester et al., 1990) with
    products as documents and users as words. No layer changes the hidden states yet (as in ReZero, Bachlechner et al.,
    2021), so that a deep model starts from these embeddings like a shallow one.

    Args:
        parameters: of `Parameters.for_the_recommender`.
        histories: of the training.
        products: number of products.
    """
    set_seed(parameters.seed)
    config = SASRecConfig(
        vocab_size=products + 1,
        num_labels=products + 1,
        n_positions=parameters.max_length,
        n_embd=parameters.hidden_size,
        n_layer=parameters.layers,
        n_head=parameters.heads,
        activation_function="gelu_pytorch_tanh",  # GPT-2's, in one operation instead of eight
        resid_pdrop=parameters.dropout,
        embd_pdrop=parameters.dropout,
        attn_pdrop=parameters.dropout,
        pad_token_id=PADDING,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = SASRec(config)
    users_of_products = TfidfTransformer().fit_transform(_make_matrix(histories, products).T)
    dimensions = min(parameters.hidden_size, *users_of_products.shape)
    embeddings = TruncatedSVD(dimensions, random_state=parameters.seed).fit_transform(users_of_products)
    with torch.no_grad():
        model.get_input_embeddings().weight[:, : embeddings.shape[1]] = torch.from_numpy(
            INITIAL_STD * embeddings / embeddings.std()
        )
        for layer in model.transformer.h:
            for projection in (layer.attn.c_proj, layer.mlp.c_proj):
                projection.weight.zero_()
    return model.to(reproducible_device())


def split_histories(histories: list[np.ndarray], length: int, graded: int | None) -> dict[str, Dataset]:
    """Split histories by time: the last product of each user is for the test, those before the last two for training.

    The product before the last one is for validation, for scoring layers (analysis) or for grading them (selection):
    each of these three splits has a third of the users.

    Args:
        histories: users in random order.
        length: number of products of a history that a model reads.
        graded: number of users of the splits analysis and selection, each; by default all of their third.

    Returns:
        The splits train (of `cut_windows`), validation, analysis, selection and test (of `hold_out`).
    """
    third = len(histories) // 3
    parts = {
        "validation": histories[:third],
        "analysis": histories[third : 2 * third][:graded],
        "selection": histories[2 * third :][:graded],
    }
    return {
        "train": cut_windows([history[:-2] for history in histories], length),
        **{name: hold_out(part, 2, length) for name, part in parts.items()},
        "test": hold_out(histories, 1, length),
    }


def cut_windows(histories: list[np.ndarray], length: int) -> Dataset:
    """Cut histories into windows of up to `length` products, so that each product but the first is a label once.

    Returns:
        A dataset with columns input_ids (products of the window), labels (the product after each) and length.
    """
    rows = []
    for history in histories:
        for end in range(len(history) - 1, 0, -length):
            start = max(0, end - length)
            rows.append(
                {"input_ids": history[start:end], "labels": history[start + 1 : end + 1], "length": end - start}
            )
    return Dataset.from_list(rows)


def hold_out(histories: list[np.ndarray], back: int, length: int) -> Dataset:
    """Hold out one product of each history.

    Args:
        back: 1 for the last product, 2 for the one before it.
        length: number of products that a model reads.

    Returns:
        A dataset with columns labels (the product), seen (all products before it), input_ids (the last `length` of
        these) and length.
    """
    return Dataset.from_list(
        [
            {
                "input_ids": history[:-back][-length:],
                "seen": history[:-back],
                "labels": history[-back],
                "length": min(length, len(history) - back),
            }
            for history in histories
        ]
    )


def collate(rows: list[dict]) -> Batch:
    """Collate rows of `cut_windows` or `hold_out` into a batch, padded on the right."""
    columns = {name: [torch.as_tensor(row[name]) for row in rows] for name in rows[0] if name != "length"}
    labels = columns.pop("labels")
    batch = {name: pad_sequence(column, batch_first=True, padding_value=PADDING) for name, column in columns.items()}
    one_label_each = labels[0].ndim == 0
    return batch | {
        "attention_mask": (batch["input_ids"] != PADDING).long(),
        "labels": torch.stack(labels)
        if one_label_each
        else pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    }


def make_batches(rows: Dataset, batch_size: int) -> list[Batch]:
    """Make batches of the rows of `hold_out`, in their order."""
    parts = (range(start, min(start + batch_size, len(rows))) for start in range(0, len(rows), batch_size))
    return [collate(rows.select(part).to_list()) for part in parts]


def ranking_metrics(scores: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Compute HR@10, NDCG@10 and reciprocal rank of the true product among all that the user has not taken yet.

    If products have equal scores, a metric is its mean over all orders of them (McSherry & Najork, 2008).

    Args:
        scores: (users, products + 1).
        batch: with labels and seen.

    Returns:
        (users, 3), double.
    """
    scores = _exclude_seen(scores, batch)
    true_score = scores.gather(1, batch["labels"].to(scores.device)[:, None])
    better, equal = (scores > true_score).sum(1), (scores == true_score).sum(1)
    rank = torch.arange(1, scores.shape[1] + 1, dtype=torch.double, device=scores.device)
    metrics_at_rank = torch.stack([(rank <= TOP).double(), (rank <= TOP) / (rank + 1).log2(), 1 / rank])
    sums = F.pad(metrics_at_rank.cumsum(1), (1, 0))  # over the first ranks
    return ((sums[:, better + equal] - sums[:, better]) / equal).T


def ndcg(scores: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Compute NDCG@10: (users,), double; arguments as for `ranking_metrics`."""
    return ranking_metrics(scores, batch)[:, 1]


def evaluate_recommender(recommender: Recommender, batches: list[Batch]) -> np.ndarray:
    """Compute the `ranking_metrics` of a recommender on all batches, one at a time: (users, 3)."""
    return torch.cat([ranking_metrics(recommender(batch), batch) for batch in batches]).cpu().numpy()


def summarise_metrics(values: np.ndarray, counts: np.ndarray) -> RecommenderMetrics:
    """Compute means over users, with intervals.

    Args:
        values: (users, 3), of `evaluate_recommender`.
        counts: (R, users), of `bootstrap_counts`.
    """
    means = statistics.bootstrap_means(values, counts).T
    names = RecommenderMetrics.model_fields
    return RecommenderMetrics(
        **{name: statistics.estimate(each, len(values)) for name, each in zip(names, means, strict=True)}
    )


def top_products(recommender: Recommender, batch: Batch) -> np.ndarray:
    """The numbers of the ten best products that a user has not taken yet, best first: (users, 10)."""
    return _exclude_seen(recommender(batch), batch).topk(TOP).indices.cpu().numpy()


def recommend(recommender: Recommender, products: pd.DataFrame, taken: list[str], length: int) -> list[str]:
    """Recommend ten products to a user who took some products.

    Args:
        products: of `load_interactions`.
        taken: names or titles of products, in the order of time.
        length: number of products that a model reads.

    Returns:
        Titles, the best first.

    Raises:
        InputError: a product is unknown.
    """
    numbers = {key: number for column in ("title", "name") for number, key in products[column].items()}
    if unknown := [name for name in taken if name not in numbers]:
        raise InputError(f"nobody took a product called {unknown[0]!r}: nothing is known about it")
    history = np.array([*(numbers[name] for name in taken), PADDING])  # takes the place of the next product
    (best,) = top_products(recommender, collate(hold_out([history], 1, length).to_list()))
    return products["title"].loc[best].tolist()


def as_recommender(model: SASRec) -> Recommender:
    """Turn a trained model into a recommender, in eval mode."""

    @torch.no_grad()
    def score(batch: Batch) -> torch.Tensor:
        return model.eval()(**model_inputs(model, batch)).logits

    return score


def fit_popularity(histories: list[np.ndarray], products: int) -> Recommender:
    """Fit a recommender that scores a product by the number of users who took it.

    Args:
        histories: of the training.
        products: number of products.
    """
    counts = torch.from_numpy(np.bincount(np.concatenate(histories), minlength=products + 1).astype(float))
    return lambda batch: counts.repeat(len(batch["labels"]), 1)


def fit_item_neighbours(histories: list[np.ndarray], products: int, neighbours: int) -> Recommender:
    """Fit a recommender that scores a product by its similarity to those of the history.

    The similarity of two products is the cosine of their vectors of users, weighted by TF-IDF.

    Args:
        neighbours: number of most similar products of each product.
        histories, products: as for `fit_popularity`.

    Source: Sarwar et al. (2001), as `implicit` computes it.
    """
    model = TFIDFRecommender(K=neighbours)
    with warnings.catch_warnings(action="ignore"):  # implicit warns about a matrix of its own
        model.fit(_make_matrix(histories, products), show_progress=False)
    return lambda batch: torch.from_numpy((_make_seen_matrix(batch, products) @ model.similarity).toarray())


def fit_als(histories: list[np.ndarray], products: int, factors: int, seed: int) -> Recommender:
    """Fit a matrix factorisation by alternating least squares; the factors of a new history are computed from it.

    Args:
        factors: number of factors.
        histories, products: as for `fit_popularity`.

    Source: Hu, Koren & Volinsky (2008), as `implicit` computes it.
    """
    with threadpool_limits(1, "blas"):  # implicit uses its own threads
        model = AlternatingLeastSquares(factors=factors, regularization=0.1, random_state=seed)
        model.fit(_make_matrix(histories, products), show_progress=False)

    def score(batch: Batch) -> torch.Tensor:
        with threadpool_limits(1, "blas"):
            users = model.recalculate_user(np.arange(len(batch["labels"])), _make_seen_matrix(batch, products))
        return torch.from_numpy(users @ model.item_factors.T)

    return score


def fit_baselines(
    histories: list[np.ndarray], products: int, validation: list[Batch], seed: int
) -> tuple[dict[str, Recommender], list[dict]]:
    """Fit popularity, item neighbours and ALS, each with the setting of the best NDCG@10 on validation.

    Returns:
        The recommenders by name; and for each setting that was tried its name, setting and NDCG@10.
    """
    candidates: dict[tuple[str, int | None], Recommender] = {
        ("popularity", None): fit_popularity(histories, products),
        **{("item_neighbours", k): fit_item_neighbours(histories, products, k) for k in NEIGHBOURS},
        **{("als", k): fit_als(histories, products, k, seed) for k in FACTORS},
    }
    scores = {key: float(evaluate_recommender(each, validation)[:, 1].mean()) for key, each in candidates.items()}
    best = dict(sorted(scores, key=scores.__getitem__))  # the setting of each name; that of the highest score is last
    trials = [{"name": name, "setting": setting, "ndcg_10": value} for (name, setting), value in scores.items()]
    return {name: candidates[name, best[name]] for name in dict.fromkeys(name for name, _ in candidates)}, trials


def load_recommender(folder: Path) -> SASRec:
    """Load the recommender that was saved in a folder, in eval mode."""
    return SASRec.from_pretrained(folder).to(reproducible_device()).eval()


def _exclude_seen(scores: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Set the scores of padding and of products that the user took to minus infinity."""
    scores = scores.scatter(1, batch["seen"].to(scores.device), -torch.inf)
    scores[:, PADDING] = -torch.inf
    return scores


def _make_matrix(histories: list[np.ndarray], products: int) -> csr_matrix:
    """Make the matrix (users, products + 1) that is 1 where a user took a product."""
    ends = np.cumsum([0, *map(len, histories)])
    ones = np.ones(ends[-1], dtype=np.float32)
    return csr_matrix((ones, np.concatenate(histories), ends), (len(histories), products + 1))


def _make_seen_matrix(batch: Batch, products: int) -> csr_matrix:
    """Make the matrix (users, products + 1) of the products that the users of a batch took."""
    return _make_matrix([row[row != PADDING] for row in batch["seen"].numpy()], products)


def _mean_ndcg(evaluated: EvalPrediction) -> dict[str, float]:
    return {"ndcg_10": float(evaluated.predictions.mean())}


_TRAINER_OPTIONS: dict[str, Any] = {
    "data_collator": collate,
    "preprocess_logits_for_metrics": lambda logits, labels: ndcg(logits, {"labels": labels[0], "seen": labels[1]}),
    "compute_metrics": _mean_ndcg,
}
TASK = Task(
    trainer=partial(NextProduct, **_TRAINER_OPTIONS),
    distillation=partial(NextProductDistillation, **_TRAINER_OPTIONS),
    selection_metric="ndcg_10",
    labels=("labels", "seen"),
    metric=ndcg,
)
