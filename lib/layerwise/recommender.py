"""A sequential recommender: what it learns from, the baselines that it has to beat, and how all are measured."""

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

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

from layerwise import grading, results
from layerwise.adapter import device, inputs
from layerwise.errors import InputError
from layerwise.importance import METHODS
from layerwise.parameters import RECOMMENDER_CHOOSERS, Parameters
from layerwise.results import Metrics
from layerwise.training import Distillation, Task

TOP = 10  # products that are recommended
PADDING = 0  # the products count from 1
IGNORED = -100  # labels of padding
SPREAD = 0.02  # standard deviation of the embeddings at the start, as of GPT-2's
NEIGHBOURS, FACTORS = (20, 50, 100, 200), (32, 64, 128)  # settings of the baselines that are tried
# With a class a product Fisher information takes thousands of backward passes, and a probe has no second example.
SCORES = tuple(name for name in METHODS if name in RECOMMENDER_CHOOSERS)

Batch = dict[str, torch.Tensor]  # input_ids, attention_mask (users, length), labels (users,), seen (users, longest)
Recommender = Callable[[Batch], torch.Tensor]  # scores (users, products + 1) of every product by its number


class SASRecConfig(GPT2Config):
    model_type = "sasrec"  # so that nobody takes the folder for one of a language model


class SASRec(GPT2PreTrainedModel):
    """A causal Transformer over products: it tells the next product of a history as a classifier tells a class.

    Logits (users, products + 1) are products of the last hidden state with the embeddings that the model reads
    histories by, and a bias for how popular a product is. Padding is on the right.

    Source: Kang & McAuley (2018), with the softmax over all products as in Klenitskiy & Vasilev (2023).
    """

    config_class = SASRecConfig
    _tied_weights_keys = {"score.weight": "transformer.wte.weight"}  # noqa: RUF012 (as transformers has it)

    def __init__(self, config: SASRecConfig):
        super().__init__(config)
        self.transformer = GPT2Model(config)
        self.score = nn.Linear(config.n_embd, config.num_labels)
        self.post_init()

    def forward(self, input_ids, attention_mask=None, labels=None, output_hidden_states=False) -> ModelOutput:
        if attention_mask is None:
            attention_mask = (input_ids != self.config.pad_token_id).long()
        found = self.transformer(input_ids, attention_mask=attention_mask, output_hidden_states=output_hidden_states)
        last = found.last_hidden_state[torch.arange(len(input_ids)), attention_mask.sum(1) - 1]
        logits = self.score(last)
        loss = None if labels is None else F.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=found.hidden_states)


class _Ranked(Trainer):
    """Is evaluated on products that the user has not had, of which the model knows nothing."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs = {name: value for name, value in inputs.items() if name != "seen"}
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)


class NextProduct(_Ranked):
    """At every place of a history the model learns which product follows, among all products."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if return_outputs:
            return super().compute_loss(model, inputs, return_outputs)
        labels = inputs.pop("labels")
        real = labels != IGNORED
        found = everywhere(self.model, model(**inputs, output_hidden_states=True), real)
        return F.cross_entropy(found.float(), labels[real])


class NextProductDistillation(Distillation, _Ranked):
    """At every place of a history the student learns what its teacher expects to follow."""

    def predictions(self, model: PreTrainedModel, output: ModelOutput, real: torch.Tensor) -> torch.Tensor:
        return everywhere(model, output, real)


def everywhere(model: SASRec, output: ModelOutput, real: torch.Tensor) -> torch.Tensor:
    """Logits (places, products + 1) at all places of a batch where no padding is."""
    return model.score(output.hidden_states[-1][real])


def build(parameters: Parameters, histories: list[np.ndarray], products: int) -> SASRec:
    """The untrained recommender, which starts from what lies near: histories are short and products many.

    Products that the same users took have like embeddings: a latent semantic analysis of the products (Deerwester et
    al., 1990) with users for words. And no layer changes anything yet (as in ReZero, Bachlechner et al., 2021), so that
    a deep model starts from these embeddings as a shallow one does.

    Args:
        parameters: of `Parameters.for_the_recommender`.
        histories: to learn from.
    """
    set_seed(parameters.seed)
    config = SASRecConfig(
        vocab_size=products + 1,
        num_labels=products + 1,
        n_positions=parameters.max_length,
        n_embd=parameters.hidden_size,
        n_layer=parameters.layers,
        n_head=parameters.heads,
        resid_pdrop=parameters.dropout,
        embd_pdrop=parameters.dropout,
        attn_pdrop=parameters.dropout,
        pad_token_id=PADDING,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = SASRec(config)
    taken = TfidfTransformer().fit_transform(_matrix(histories, products).T)
    near = TruncatedSVD(min(parameters.hidden_size, *taken.shape), random_state=parameters.seed).fit_transform(taken)
    with torch.no_grad():
        model.get_input_embeddings().weight[:, : near.shape[1]] = torch.from_numpy(SPREAD * near / near.std())
        for layer in model.transformer.h:
            for last in (layer.attn.c_proj, layer.mlp.c_proj):
                last.weight.zero_()
    return model.to(device())


def split(histories: list[np.ndarray], length: int, graded: int | None) -> dict[str, Dataset]:
    """What is learned, and what it is held to: the last product of every user is kept for the test, the one before it
    for a third of them each for validation, for scoring layers (analysis) and for judging them (selection).

    Args:
        histories: users in random order.
        length: products of a history that a model reads.
        graded: users to score and to judge layers on, each; by default all of their third.
    """
    third = len(histories) // 3
    parts = {
        "validation": histories[:third],
        "analysis": histories[third : 2 * third][:graded],
        "selection": histories[2 * third :][:graded],
    }
    return {
        "train": windows([history[:-2] for history in histories], length),
        **{name: held_out(part, 2, length) for name, part in parts.items()},
        "test": held_out(histories, 1, length),
    }


def windows(histories: list[np.ndarray], length: int) -> Dataset:
    """Histories cut into pieces of so many products, `input_ids`, with those that follow each, `labels`: all but the
    first, once."""
    rows = []
    for history in histories:
        for end in range(len(history) - 1, 0, -length):
            start = max(0, end - length)
            rows.append(
                {"input_ids": history[start:end], "labels": history[start + 1 : end + 1], "length": end - start}
            )
    return Dataset.from_list(rows)


def held_out(histories: list[np.ndarray], back: int, length: int) -> Dataset:
    """A product of each history, its last one (1) or the one before it (2), and what stood before that product.

    Columns: `labels`, the product; `seen`, all before it; `input_ids`, the last of these, up to the length.
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
    """Rows of `windows` or `held_out` as a batch, padded on the right."""
    columns = {name: [torch.as_tensor(row[name]) for row in rows] for name in rows[0] if name != "length"}
    labels = columns.pop("labels")
    batch = {name: pad_sequence(column, batch_first=True, padding_value=PADDING) for name, column in columns.items()}
    one_each = labels[0].ndim == 0
    return batch | {
        "attention_mask": (batch["input_ids"] != PADDING).long(),
        "labels": torch.stack(labels) if one_each else pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    }


def batches(rows: Dataset, batch_size: int) -> list[Batch]:
    """Batches of the rows of `held_out`, in their order."""
    parts = (range(start, min(start + batch_size, len(rows))) for start in range(0, len(rows), batch_size))
    return [collate(rows.select(part).to_list()) for part in parts]


def measures(scores: torch.Tensor, batch: Batch) -> torch.Tensor:
    """HR@10, NDCG@10 and reciprocal rank of the right product among all that the user has not had: (users, 3), double.

    Where products score alike, each is the mean over all orders of them (McSherry & Najork, 2008).

    Args:
        scores: (users, products + 1).
    """
    scores = _unseen(scores, batch)
    right = scores.gather(1, batch["labels"].to(scores.device)[:, None])
    better, alike = (scores > right).sum(1), (scores == right).sum(1)
    rank = torch.arange(1, scores.shape[1] + 1, dtype=torch.double, device=scores.device)
    worth = torch.stack([(rank <= TOP).double(), (rank <= TOP) / (rank + 1).log2(), 1 / rank])
    up_to = F.pad(worth.cumsum(1), (1, 0))
    return ((up_to[:, better + alike] - up_to[:, better]) / alike).T


def ndcg(scores: torch.Tensor, batch: Batch) -> torch.Tensor:
    """NDCG@10: (users,), double; arguments as of `measures`."""
    return measures(scores, batch)[:, 1]


def measured(recommender: Recommender, batches: list[Batch]) -> np.ndarray:
    """The `measures` of a recommender: (users, 3). Memory grows with the users of a batch, not with all."""
    return torch.cat([measures(recommender(batch), batch) for batch in batches]).cpu().numpy()


def metrics(measured: np.ndarray, counts: np.ndarray) -> Metrics:
    """Means over users of `measured` (users, 3), with intervals; `counts` of `grading.resamples`."""
    found = grading.resampled(measured, counts).T
    names = Metrics.model_fields
    return Metrics(**{name: results.estimate(each, len(measured)) for name, each in zip(names, found, strict=True)})


def top(recommender: Recommender, batch: Batch) -> np.ndarray:
    """Numbers of the ten products that score most among those that the user has not had, best first: (users, 10)."""
    return _unseen(recommender(batch), batch).topk(TOP).indices.cpu().numpy()


def recommend(recommender: Recommender, products: pd.DataFrame, taken: list[str], length: int) -> list[str]:
    """Titles of ten products for somebody who took these, the last of them last.

    Args:
        products: of `interactions.load`.
        taken: names or titles.

    Raises:
        InputError: there is no such product.
    """
    numbers = {key: number for column in ("title", "name") for number, key in products[column].items()}
    if unknown := [name for name in taken if name not in numbers]:
        raise InputError(f"nobody took a product called {unknown[0]!r}: of it nothing is known")
    history = np.array([*(numbers[name] for name in taken), PADDING])  # in the place of the product that is asked for
    (found,) = top(recommender, collate(held_out([history], 1, length).to_list()))
    return products["title"].loc[found].tolist()


def transformer(model: SASRec) -> Recommender:
    """A trained model as a recommender, in eval mode."""

    @torch.no_grad()
    def score(batch: Batch) -> torch.Tensor:
        return model.eval()(**inputs(batch, model.device)).logits

    return score


def popularity(histories: list[np.ndarray], products: int) -> Recommender:
    """To everyone, what most users took."""
    counts = torch.from_numpy(np.bincount(np.concatenate(histories), minlength=products + 1).astype(float))
    return lambda batch: counts.repeat(len(batch["labels"]), 1)


def item_neighbours(histories: list[np.ndarray], products: int, neighbours: int) -> Recommender:
    """Products like those of the history: the cosine of who took them, users weighted by TF-IDF.

    Source: Sarwar et al. (2001), as `implicit` computes it.
    """
    model = TFIDFRecommender(K=neighbours)
    with warnings.catch_warnings(action="ignore"):  # of implicit, about a matrix that it made itself
        model.fit(_matrix(histories, products), show_progress=False)
    return lambda batch: torch.from_numpy((_seen(batch, products) @ model.similarity).toarray())


def als(histories: list[np.ndarray], products: int, factors: int, seed: int) -> Recommender:
    """Factors of users and products whose product says who took what; a history gets its own when it is asked about.

    Source: Hu, Koren & Volinsky (2008), as `implicit` computes it.
    """
    with threadpool_limits(1, "blas"):  # implicit has threads of its own
        model = AlternatingLeastSquares(factors=factors, regularization=0.1, random_state=seed)
        model.fit(_matrix(histories, products), show_progress=False)

    def score(batch: Batch) -> torch.Tensor:
        with threadpool_limits(1, "blas"):
            users = model.recalculate_user(np.arange(len(batch["labels"])), _seen(batch, products))
        return torch.from_numpy(users @ model.item_factors.T)

    return score


def baselines(
    histories: list[np.ndarray], products: int, validation: list[Batch], seed: int
) -> tuple[dict[str, Recommender], list[dict]]:
    """Popularity, item neighbours and ALS, each with the setting of the best NDCG@10 on validation; and all trials."""
    tried = {
        ("popularity", None): popularity(histories, products),
        **{("item_neighbours", k): item_neighbours(histories, products, k) for k in NEIGHBOURS},
        **{("als", k): als(histories, products, k, seed) for k in FACTORS},
    }
    trials = [
        {"name": name, "setting": setting, "ndcg_10": float(measured(each, validation)[:, 1].mean())}
        for (name, setting), each in tried.items()
    ]
    ascending = sorted(trials, key=lambda trial: trial["ndcg_10"])
    best = {trial["name"]: trial["setting"] for trial in ascending}  # the last of a name stays
    return {name: tried[name, best[name]] for name in dict.fromkeys(name for name, _ in tried)}, trials


def load(folder: Path) -> SASRec:
    """The recommender that was saved in a folder, in eval mode."""
    return SASRec.from_pretrained(folder).to(device()).eval()


def _unseen(scores: torch.Tensor, batch: Batch) -> torch.Tensor:
    scores = scores.scatter(1, batch["seen"].to(scores.device), -torch.inf)
    scores[:, PADDING] = -torch.inf
    return scores


def _matrix(histories: list[np.ndarray], products: int) -> csr_matrix:
    """Who took what: (users, products + 1)."""
    ends = np.cumsum([0, *map(len, histories)])
    ones = np.ones(ends[-1], dtype=np.float32)
    return csr_matrix((ones, np.concatenate(histories), ends), (len(histories), products + 1))


def _seen(batch: Batch, products: int) -> csr_matrix:
    return _matrix([row[row != PADDING] for row in batch["seen"].numpy()], products)


def _mean(evaluated: EvalPrediction) -> dict[str, float]:
    return {"ndcg_10": float(evaluated.predictions.mean())}


_OPTIONS = {
    "data_collator": collate,
    "preprocess_logits_for_metrics": lambda logits, known: ndcg(logits, {"labels": known[0], "seen": known[1]}),
    "compute_metrics": _mean,
}
TASK = Task(
    trainer=partial(NextProduct, **_OPTIONS),
    distillation=partial(NextProductDistillation, **_OPTIONS),
    metric="ndcg_10",
    labels=("labels", "seen"),
    gain=ndcg,
)
