"""A causal language model taken apart: what its layers do to review text, and what it costs to leave them out."""

from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy, normalize
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from layerwise import assets, subsets
from layerwise.adapter import LayerwiseAdapter, Unrolled, device
from layerwise.errors import InputError
from layerwise.parameters import project_path
from layerwise.reviews import LABELS
from layerwise.terminal import progress

QUESTION = "\nSentiment:"  # the best of six on 300 training reviews of the embedded corpus, for smollm2


@dataclass(frozen=True)
class Questions:
    """Review texts, each followed by the same question.

    Attributes:
        batches: input_ids and attention_mask (reviews, tokens), padded on the right, and labels (reviews,).
        length: tokens of the question, which follow those of the review.
        answers: for each label the token that says it.
    """

    batches: list[dict[str, torch.Tensor]]
    length: int
    answers: list[int]


@dataclass(frozen=True)
class Behaviour:
    """What S sub-networks of a language model make of N reviews.

    Attributes:
        nats: (S, N), how improbable the review's tokens are in all, each after those before it.
        tokens: (N,), how many tokens those are: all but the first.
        correct: (S, N), 1 where the answer of the right label is likelier than those of the others, 0 where it is not;
            answers that are equally likely, as some are in bfloat16, share the 1.
    """

    nats: np.ndarray
    tokens: np.ndarray
    correct: np.ndarray

    def perplexity(self, counts: np.ndarray) -> np.ndarray:
        """Perplexity (S, R) where each review counts as often as counts (R, N) say."""
        return np.exp(self.nats @ counts.T / (counts @ self.tokens))

    def accuracy(self, counts: np.ndarray) -> np.ndarray:
        """Zero-shot accuracy (S, R), likewise."""
        return self.correct @ counts.T / counts.sum(1)


def load(name: str, max_length: int) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Tokenizer and causal language model, in the precision it was saved in, or in float32 where that is faster.

    Args:
        name: `smollm2`, a Hugging Face folder or id, or `smollm2-12`, the first 12 layers of SmolLM2 alone, which are
            quick to take apart and no good at language.
        max_length: tokens at which texts are cut.

    Raises:
        InputError: there is no such model, on this machine or within reach.
    """
    local = project_path(name)
    folder = assets.smollm2() if name in ("smollm2", "smollm2-12") else local if local.is_dir() else name
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right", model_max_length=max_length)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=_precision()).eval()
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"cannot load {name!r} as a causal language model: {reason}") from error
    if name == "smollm2-12":
        model = LayerwiseAdapter(model).keep(range(12)).eval()
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model.config.use_cache = False  # of keys and values, for generation: here no text is read twice
    return tokenizer, model.to(device())


def _precision() -> str | torch.dtype:
    """That of the checkpoint; float32 on a CPU that has no instructions for bfloat16, which it would imitate slowly."""
    if device().type == "cpu":
        able = torch.cpu.get_capabilities()
        if not any(able.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")):
            return torch.float32
    return "auto"


def texts(tokenizer: PreTrainedTokenizerBase, reviews: Dataset, batch_size: int) -> list[dict[str, torch.Tensor]]:
    """Batches of the reviews' texts alone: input_ids and attention_mask (reviews, tokens)."""
    return [
        dict(tokenizer(rows["text"], truncation=True, padding=True, return_tensors="pt", return_token_type_ids=False))
        for rows in reviews.iter(batch_size)
    ]


def questions(tokenizer: PreTrainedTokenizerBase, reviews: Dataset, batch_size: int) -> Questions:
    """The reviews' texts, each followed by the question for its sentiment.

    Raises:
        InputError: two labels begin with the same token, so that one token cannot say which is meant.
    """
    question = tokenizer(QUESTION, add_special_tokens=False)["input_ids"]
    answers = [tokenizer(f" {label}", add_special_tokens=False)["input_ids"][0] for label in LABELS]
    if len(set(answers)) < len(answers):
        raise InputError(f"the tokenizer begins {' and '.join(LABELS)} with the same token: take another model")
    batches = []
    for rows in reviews.iter(batch_size):
        ids = [[*text, *question] for text in tokenizer(rows["text"], truncation=True)["input_ids"]]
        batch = tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        batches.append({**batch, "labels": torch.tensor(rows["label"])})
    return Questions(batches, len(question), answers)


@torch.no_grad()
def angular_distances(adapter: LayerwiseAdapter, batches: list[dict[str, torch.Tensor]]) -> np.ndarray:
    """How far every block of layers turns the hidden states: the angle before and after it, as a share of pi.

    Returns:
        Array (reviews, L, L + 1): entry [:, i, j] of the block of the layers i to j - 1, the mean over a review's
        tokens, padding left out; zero where j <= i.

    Source: Gromov et al. (2024), who take the last token alone.
    """
    rows = []
    for batch in batches:
        real = batch["attention_mask"].to(adapter.device)
        states = torch.stack(Unrolled(adapter, batch).states(), dim=2).double()  # (reviews, tokens, L + 1, width)
        directions = normalize(states, dim=3)
        angles = (directions @ directions.mT).clamp(-1, 1).arccos() / torch.pi
        found = (angles * real[:, :, None, None]).sum(1) / real.sum(1)[:, None, None]
        rows.append(found[:, :-1].triu(1).cpu())
    return torch.cat(rows).numpy()


@torch.no_grad()
def behaviour(adapter: LayerwiseAdapter, asked: Questions, kept: np.ndarray) -> Behaviour:
    """What sub-networks make of review text and of the question for its sentiment, beginnings shared.

    Args:
        kept: (S, L) bool.
    """
    distinct, places = np.unique(kept, axis=0, return_inverse=True)
    nats, tokens, correct = [], [], []
    for batch in progress(asked.batches, "language model"):
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        ids, labels = (batch[name].to(adapter.device) for name in ("input_ids", "labels"))
        lengths = batch["attention_mask"].sum(1).to(adapter.device)
        of_review = torch.arange(1, ids.shape[1], device=adapter.device) < (lengths - asked.length)[:, None]
        improbable = np.empty((len(distinct), len(labels)))
        right = np.empty((len(distinct), len(labels)))
        for row, logits in subsets.logits(Unrolled(adapter, inputs), distinct):
            after_review = logits[range(len(labels)), lengths - 1][:, asked.answers]
            top = after_review == after_review.amax(1, keepdim=True)
            right[row] = (top[range(len(labels)), labels].double() / top.sum(1)).cpu()
            surprise = torch.zeros(of_review.shape, dtype=torch.double, device=adapter.device)
            surprise[of_review] = cross_entropy(
                logits[:, :-1][of_review].float(), ids[:, 1:][of_review], reduction="none"
            ).double()
            improbable[row] = surprise.sum(1).cpu()
        nats.append(improbable)
        correct.append(right)
        tokens.append(of_review.sum(1).cpu().numpy())
    return Behaviour(np.concatenate(nats, 1)[places], np.concatenate(tokens), np.concatenate(correct, 1)[places])


def greedy_path(adapter: LayerwiseAdapter, asked: Questions, fewest: int) -> np.ndarray:
    """From all layers to the fewest, each time without the one whose loss raises perplexity least: (steps, L) bool.

    Source: Song et al. (2024), "SLEB".
    """
    path = [np.ones(len(adapter), dtype=bool)]
    while path[-1].sum() > fewest:
        options = subsets.without_one(path[-1])
        path.append(options[behaviour(adapter, asked, options).nats.sum(1).argmin()])
    return np.stack(path)


def prune(size: int, influence: np.ndarray, distances: np.ndarray, path: np.ndarray) -> dict[str, np.ndarray]:
    """The layers (L,) that each way of pruning keeps of a language model, so many of them.

    Args:
        influence: (L,), the mean over reviews of Block Influence.
        distances: (L, L + 1), the mean over reviews of `angular_distances`.
        path: of `greedy_path`, at least so far down.
    """
    layers = len(influence)
    return {
        "greedy": path[layers - size],
        "block influence": subsets.nested(np.argsort(-influence, kind="stable"))[size],
        "best block": without_best_block(distances, size),
        "first": np.arange(layers) < size,
    }


def without_best_block(distances: np.ndarray, size: int) -> np.ndarray:
    """The choice (L,) of so many layers that leaves out the block which turns the hidden states least.

    Args:
        distances: (L, L + 1), the mean over reviews of `angular_distances`.

    Source: Gromov et al. (2024).
    """
    layers = len(distances)
    length = layers - size
    start = int(np.argmin([distances[i, i + length] for i in range(size + 1)]))
    kept = np.ones(layers, dtype=bool)
    kept[start : start + length] = False
    return kept
