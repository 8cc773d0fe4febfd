"""Layer ablation of a causal language model: what its layers do to review text, and what is lost without them."""

from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from torch.nn.functional import cross_entropy, normalize
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from layerwise import subnetworks
from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch
from layerwise.errors import InputError
from layerwise.forward import LayerwiseForward
from layerwise.progress import progress
from layerwise.study.config import LABELS, project_path
from layerwise.study.data import assets
from layerwise.study.models.device import reproducible_device

QUESTION = "\nSentiment:"  # had the best accuracy of six, for smollm2 on 300 training reviews of the embedded corpus

KEPT_BYTES = 2**30  # of hidden states that the greedy search keeps from one step to the next
TOKENS_TOGETHER = 1024  # of several sub-networks: more would not make the matrix products faster
TOKENS_OF_A_LOSS = 64  # whose logits in float32 fit in a cache

KnownStates = dict[tuple[int, ...], torch.Tensor]  # by the layers that they went through


@dataclass(frozen=True)
class Questions:
    """Review texts, each followed by the same question.

    Attributes:
        batches: input_ids and attention_mask (reviews, tokens), padded on the right, and labels (reviews,).
        length: number of tokens of the question.
        answers: for each label the first token of its name.
    """

    batches: list[Batch]
    length: int
    answers: list[int]


@dataclass(frozen=True)
class MaskResults:
    """Results of S sub-networks of a language model on N reviews.

    Attributes:
        nats: (S, N), negative log-likelihood of a review: the sum over its tokens, each given those before it.
        tokens: (N,), number of tokens in that sum: all but the first.
        correct: (S, N), 1 if the answer of the true label is the most likely one, else 0. Answers that are equally
            likely, which happens in bfloat16, share the 1.
    """

    nats: np.ndarray
    tokens: np.ndarray
    correct: np.ndarray

    def perplexity(self, counts: np.ndarray) -> np.ndarray:
        """Perplexity (S, R) of R resamples; counts (R, N) are how often each review is in them."""
        return np.exp(self.nats @ counts.T / (counts @ self.tokens))

    def accuracy(self, counts: np.ndarray) -> np.ndarray:
        """Zero-shot accuracy (S, R) of R resamples; counts (R, N) are how often each review is in them."""
        return self.correct @ counts.T / counts.sum(1)


def load_language_model(name: str, max_length: int) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Load a tokenizer and a causal language model, in the precision of its file, or in float32 where that is faster.

    Args:
        name: `smollm2`, a Hugging Face folder or id, or `smollm2-12`: the first 12 layers of SmolLM2 alone, which are
            fast to evaluate but a bad language model.
        max_length: tokens after which texts are truncated.

    Raises:
        InputError: there is no such model, on this machine or on the hub.
    """
    local = project_path(name)
    folder = assets.smollm2() if name in ("smollm2", "smollm2-12") else local if local.is_dir() else name
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right", model_max_length=max_length)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=_choose_precision()).eval()
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"cannot load {name!r} as a causal language model: {reason}") from error
    if name == "smollm2-12":
        model = LayerwiseAdapter(model).keep(range(12)).eval()
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    model.config.use_cache = False  # keys and values are cached for generation only
    return tokenizer, model.to(reproducible_device())


def _choose_precision() -> str | torch.dtype:
    """Choose the precision of the checkpoint, or float32 on a CPU without bfloat16, which would be slow there."""
    if reproducible_device().type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        if not any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")):
            return torch.float32
    return "auto"


def tokenize_texts(tokenizer: PreTrainedTokenizerBase, reviews: Dataset, batch_size: int) -> list[Batch]:
    """Tokenize the texts of reviews into batches of input_ids and attention_mask (reviews, tokens)."""
    return [
        dict(tokenizer(rows["text"], truncation=True, padding=True, return_tensors="pt", return_token_type_ids=False))
        for rows in reviews.iter(batch_size)
    ]


def tokenize_questions(tokenizer: PreTrainedTokenizerBase, reviews: Dataset, batch_size: int) -> Questions:
    """Tokenize the texts of reviews, each followed by the question for its sentiment.

    Raises:
        InputError: two labels begin with the same token, so that the first token does not tell them apart.
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
def angular_distances(adapter: LayerwiseAdapter, batches: list[Batch]) -> np.ndarray:
    """Measure the angle between the hidden states before and after each block of layers, as a share of pi.

    Returns:
        Array (reviews, L, L + 1): entry [:, i, j] is for the block of the layers i to j - 1, the mean over the tokens
        of a review without padding; zero if j <= i.

    Source: Gromov et al. (2024), who use only the last token.
    """
    distances = []
    for batch in batches:
        real = batch["attention_mask"].to(adapter.device)
        states = LayerwiseForward(adapter, batch).all_states()
        directions = normalize(torch.stack(states, dim=2).double(), dim=3)  # (reviews, tokens, L + 1, width)
        angles = (directions @ directions.mT).clamp(-1, 1).arccos() / torch.pi
        means = (angles * real[:, :, None, None]).sum(1) / real.sum(1)[:, None, None]
        distances.append(means[:, :-1].triu(1).cpu())
    return torch.cat(distances).numpy()


@torch.no_grad()
def evaluate_masks(adapter: LayerwiseAdapter, questions: Questions, masks: np.ndarray) -> MaskResults:
    """Evaluate sub-networks of a language model on review texts and on the question for their sentiment.

    Sub-networks with the same first layers share the hidden states up to there, and a layer is computed for several of
    them together. Logits are computed for the tokens alone whose probability is asked for, and for the answer.

    Args:
        masks: (S, L) bool; rows may be equal.
    """
    unique, rows = np.unique(masks, axis=0, return_inverse=True)
    results = [
        _evaluate_batch(LayerwiseForward(adapter, batch, _asked_tokens(batch, questions)), batch, questions, unique)
        for batch in progress(questions.batches, "language model")
    ]
    nats, tokens, correct = zip(*results, strict=True)
    return MaskResults(np.concatenate(nats, 1)[rows], np.concatenate(tokens), np.concatenate(correct, 1)[rows])


@torch.no_grad()
def prune_greedily(adapter: LayerwiseAdapter, questions: Questions, min_layers: int) -> np.ndarray:
    """Remove one layer after the other, each time the one whose removal raises perplexity least.

    The candidates of a step begin with the same layers as some of the step before, and go on from the hidden states
    that were kept then, at most `KEPT_BYTES` of them.

    Returns:
        Masks (steps, L) bool, from all layers to `min_layers`.

    Source: Song et al. (2024), "SLEB".
    """
    forwards = [LayerwiseForward(adapter, batch, _asked_tokens(batch, questions)) for batch in questions.batches]
    known: list[KnownStates | None] = []
    room = KEPT_BYTES
    for forward in forwards:
        room -= forward.input_states.nbytes * len(adapter) ** 2 // 2  # the most states of a step
        known.append({} if room >= 0 else None)
    path = [np.ones(len(adapter), dtype=bool)]
    while path[-1].sum() > min_layers:
        candidates = subnetworks.masks_without_one(path[-1])
        parts = zip(forwards, questions.batches, known, strict=True)
        nats = [_evaluate_batch(forward, batch, questions, candidates, states)[0] for forward, batch, states in parts]
        path.append(candidates[np.concatenate(nats, 1).sum(1).argmin()])
        _forget_others(known, subnetworks.masks_without_one(path[-1]))
    return np.stack(path)


def _forget_others(known: Sequence[KnownStates | None], masks: np.ndarray) -> None:
    """Forget the states that no sub-network of masks (S, L) goes on from."""
    layers = [tuple(np.flatnonzero(mask).tolist()) for mask in masks]
    needed = {each[:length] for each in layers for length in range(len(each) + 1)}
    for states in filter(None, known):
        for key in states.keys() - needed:
            del states[key]


def _asked_tokens(batch: Batch, questions: Questions) -> torch.Tensor:
    """(reviews, tokens) bool, the tokens whose logits are asked for: before each one of the review, and the last."""
    place, lengths = torch.arange(batch["input_ids"].shape[1]), batch["attention_mask"].sum(1, keepdim=True)
    return (place < lengths - questions.length - 1) | (place == lengths - 1)


def _evaluate_batch(
    forward: LayerwiseForward,
    batch: Batch,
    questions: Questions,
    masks: np.ndarray,
    known: KnownStates | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`nats` (S, reviews), `tokens` (reviews,) and `correct` (S, reviews) of `MaskResults`, for one batch."""
    ids, labels = batch["input_ids"], batch["labels"]
    review, place = _asked_tokens(batch, questions).nonzero(as_tuple=True)
    is_answer = place == batch["attention_mask"].sum(1)[review] - 1
    asked, following = review[~is_answer], ids[review[~is_answer], place[~is_answer] + 1]
    of_answers, following = is_answer.nonzero()[:, 0].to(forward.device), following.to(forward.device)
    others = (~is_answer).nonzero()[:, 0].to(forward.device)
    nats, correct = torch.zeros(2, len(masks), len(labels), dtype=torch.double)
    outputs = _apply_by_layer(forward, masks, known)
    at_once = max(1, TOKENS_TOGETHER // len(review))
    for start in range(0, len(masks), at_once):
        read = [forward.select_read(each) for each in outputs[start : start + at_once]]
        for row, logits in enumerate(forward.head(read), start):
            parts = zip(others.split(TOKENS_OF_A_LOSS), following.split(TOKENS_OF_A_LOSS), strict=True)
            losses = [cross_entropy(logits[rows].float(), right, reduction="none") for rows, right in parts]
            nats[row].index_add_(0, asked, torch.cat(losses).double().cpu())
            answers = logits[of_answers][:, questions.answers].cpu()
            most_likely = answers == answers.amax(1, keepdim=True)
            correct[row] = most_likely[range(len(labels)), labels].double() / most_likely.sum(1)
    return nats.numpy(), asked.bincount(minlength=len(labels)).numpy(), correct.numpy()


def _apply_by_layer(forward: LayerwiseForward, masks: np.ndarray, known: KnownStates | None) -> list[torch.Tensor]:
    """The output states of sub-networks (S, L): each layer is applied to all the states that enter it together.

    Args:
        known: states that are not computed again; those that were computed are added.
    """
    wanted = [tuple(np.flatnonzero(mask).tolist()) for mask in masks]
    states = {} if known is None else known
    states[()] = forward.input_states
    at_once = max(1, TOKENS_TOGETHER // forward.input_states[..., 0].numel())
    for layer in range(masks.shape[1]):
        through = {each[: bisect(each, layer)] for each in wanted}
        new = sorted(through - states.keys())
        for start in range(0, len(new), at_once):
            part = new[start : start + at_once]
            states.update(zip(part, forward.apply_together(layer, [states[each[:-1]] for each in part]), strict=True))
        if known is None:
            states = {each: states[each] for each in through}
    return [states[each] for each in wanted]


def select_layers_by_method(
    size: int, influence: np.ndarray, distances: np.ndarray, path: np.ndarray
) -> dict[str, np.ndarray]:
    """Select the layers that each pruning method keeps of a language model.

    Args:
        size: number of layers to keep.
        influence: (L,), the mean over reviews of Block Influence.
        distances: (L, L + 1), the mean over reviews of `angular_distances`.
        path: of `prune_greedily`, down to `size` layers or fewer.

    Returns:
        A mask (L,) bool for each method.
    """
    layers = len(influence)
    return {
        "greedy": path[layers - size],
        "block influence": subnetworks.nested_masks(np.argsort(-influence, kind="stable"))[size],
        "best block": drop_best_block(distances, size),
        "first": np.arange(layers) < size,
    }


def drop_best_block(distances: np.ndarray, size: int) -> np.ndarray:
    """Remove the block of layers with the smallest angular distance.

    Args:
        distances: (L, L + 1), the mean over reviews of `angular_distances`.
        size: number of layers to keep.

    Returns:
        The mask (L,) bool of the layers that are kept.

    Source: Gromov et al. (2024).
    """
    layers = len(distances)
    length = layers - size
    start = int(np.argmin([distances[i, i + length] for i in range(size + 1)]))
    mask = np.ones(layers, dtype=bool)
    mask[start : start + length] = False
    return mask
