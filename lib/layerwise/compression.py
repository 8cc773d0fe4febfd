"""Smaller models: of the layers that matter, and of the words that occur."""

import copy
import json
import re
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from datasets import Dataset
from scipy import stats
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase, set_seed

from layerwise import classifier, cost, grading, results, subsets, training
from layerwise.adapter import LayerwiseAdapter
from layerwise.errors import InputError
from layerwise.parameters import Parameters
from layerwise.results import ANEW, LINEAR, MARGIN, Candidate, Compression, Interval, Judgement, Plan
from layerwise.subsets import Table

RANDOM = 5  # choices at random to compare with
# Accuracy by ratio that Wang (2025) claims for a model of 12 layers: to be drawn as what it is, and never as measured.
CLAIMS = {1.35: 0.873, 1.8: 0.846, 2.5: 0.783}
BYTE = re.compile("<0x[0-9A-F]{2}>")  # how some tokenizers spell what they have no character for


class Version(NamedTuple):
    """The whole model with one of its vocabularies, and the splits as its tokenizer cuts them."""

    tokenizer: PreTrainedTokenizerBase
    task: training.Task
    model: PreTrainedModel
    tokens: dict[str, Dataset]
    test: list[dict[str, torch.Tensor]]


def versions(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, splits: dict[str, Dataset], batch_size: int
) -> dict[bool, Version]:
    """The model as it is (False), and with the vocabulary that its training saw (True).

    Where the tokenizer is none of the `tokenizers` library its vocabulary cannot be trimmed, and both are the same.

    Args:
        splits: the reviews to train on, to validate and to test with, by these names.
    """

    def version(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> Version:
        tokens = {name: classifier.tokenize(tokenizer, split) for name, split in splits.items()}
        task = training.classification(tokenizer)
        return Version(tokenizer, task, model, tokens, classifier.batches(tokenizer, tokens["test"], batch_size))

    whole = version(tokenizer, model)
    trimmed = version(*trim_vocabulary(tokenizer, model, whole.tokens["train"])) if tokenizer.is_fast else whole
    return {False: whole, True: trimmed}


def candidates(scores: dict[str, np.ndarray], table: Table, seed: int, heal: list[str]) -> dict[str, np.ndarray]:
    """Whose choices are compared: every method's, those of a table of sub-networks, and those that look at nothing.

    Args:
        scores: (L,) a method.
        table: of the sub-networks, on examples that chose none of the scores.
        heal: names of those who are to be healed.

    Returns:
        (L + 1, L) bool a candidate: the layers it keeps, for each number of them.

    Raises:
        InputError: one who is to be healed is none of them.
    """
    found = {name: kept[0] for name, kept in grading.choices({m: s[None] for m, s in scores.items()}).items()}
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(table.layers), (RANDOM, 1)), axis=1)
    found |= {
        "greedy": table.kept[subsets.greedy(table)],
        "best_subset": table.kept[[subsets.best(table, size) for size in range(table.layers + 1)]],
        **{f"random_{i}": kept for i, kept in enumerate(subsets.nested(orders), start=1)},
    }
    if unknown := [name for name in heal if name not in found]:
        raise InputError(f"nobody called {unknown[0]!r} has chosen layers to heal; choose among {', '.join(found)}")
    return found


def unhealed(
    plans: list[Plan], versions: dict[bool, Version], chosen: dict[str, np.ndarray]
) -> dict[tuple, np.ndarray]:
    """What the predictions of the smaller models gain as they are: (N,) by ratio, name and False."""
    found = {}
    for trimmed, version in versions.items():
        kept = {
            (plan.ratio, name, False): layers[plan.layers]
            for plan in plans
            for name, layers in chosen.items()
            if plan.trimmed == trimmed
        }
        if kept:
            different = np.unique(np.stack(list(kept.values())), axis=0)
            table = subsets.evaluate(LayerwiseAdapter(version.model), version.test, different, version.task.gain)
            found |= {key: table.gain[table.rows(layers)] for key, layers in kept.items()}
    return found


def healed(
    plans: list[Plan],
    versions: dict[bool, Version],
    chosen: dict[str, np.ndarray],
    parameters: Parameters,
    data_sha256: str,
) -> tuple[dict[tuple, np.ndarray], dict[float, PreTrainedModel]]:
    """What the predictions gain after healing, and the healed models of the first of those whose choice it is.

    Where all layers are left there is nothing to heal.

    Returns:
        (N,) by ratio, name and True; a model a ratio.
    """
    found, models = {}, {}
    for plan in plans:
        version = versions[plan.trimmed]
        train, validation = version.tokens["train"], version.tokens["validation"]
        for name, layers in chosen.items():
            kept = np.flatnonzero(layers[plan.layers]).tolist()
            student = LayerwiseAdapter(version.model).keep(kept)
            if plan.layers < plan.depth:
                student = training.heal(
                    student, version.model, kept, version.task, train, validation, parameters, data_sha256
                )
            found[plan.ratio, name, True] = version.task.gains(student, version.test)
            models.setdefault(plan.ratio, student)
    return found, models


def learned_anew(
    plans: list[Plan], versions: dict[bool, Version], parameters: Parameters, data_sha256: str
) -> dict[tuple, np.ndarray]:
    """Whether the predictions of shallow models are right that learn from nothing, and compute as much as healing does.

    Returns:
        (N,) bool by ratio, name and False.
    """
    found = {}
    for plan in plans:
        version = versions[plan.trimmed]
        train, validation = version.tokens["train"], version.tokens["validation"]
        set_seed(parameters.seed)
        beginner = type(version.model)(LayerwiseAdapter(version.model).keep(range(plan.layers)).config)
        review = cost.typical_batch(train, 1)
        epochs = equal_epochs(parameters.heal_epochs, cost.macs(beginner, review), cost.macs(version.model, review))
        recipe = parameters.for_a_beginner(epochs)
        beginner = training.learn_anew(beginner, version.task, train, validation, recipe, data_sha256)
        found[plan.ratio, ANEW, False] = version.task.gains(beginner, version.test)
    return found


def equal_epochs(heal_epochs: int, student: int, teacher: int) -> int:
    """Epochs in which a model of the student's size learns as long as healing takes.

    Healing is a forward pass of the teacher, and of the student a forward and a backward pass, which takes twice the
    operations of a forward pass (Hoffmann et al., 2022).

    Args:
        student, teacher: operations of a forward pass.
    """
    return round(heal_epochs * (3 * student + teacher) / (3 * student))


def judge(right: np.ndarray, whole: np.ndarray, counts: np.ndarray) -> Judgement:
    """What a smaller model is worth beside the whole one.

    Args:
        right, whole: (N,), whether their predictions of the same examples are right; or the share of seeds that are.
        counts: (R, N), of `grading.resamples`.
    """
    found, full = (grading.resampled(each.astype(float), counts) for each in (right, whole))
    return Judgement(
        accuracy=results.accuracy(right) if right.dtype == bool else results.estimate(found, len(whole)),
        retention=results.estimate(found / full, len(whole)),
        difference=results.estimate(found - full, len(whole)),
        p_value=noninferiority(right, whole),
    )


def judged(
    right: dict[tuple, np.ndarray],
    plans: list[Plan],
    chosen: dict[str, np.ndarray],
    whole: np.ndarray,
    counts: np.ndarray,
) -> list[Candidate]:
    """All smaller models in rows: whose choice, at which ratio, healed or not, and what they are worth.

    Args:
        right: (N,) a model, by ratio, name and whether it was healed.
        chosen: (L + 1, L) bool, for those who choose layers.
        whole, counts: as for `judge`.
    """
    sizes = {plan.ratio: plan.layers for plan in plans}
    return [
        Candidate(
            name=name,
            ratio=ratio,
            layers=np.flatnonzero(chosen[name][sizes[ratio]]).tolist() if name in chosen else None,
            healed=is_healed,
            **judge(mine, whole, counts).model_dump(),
        )
        for (ratio, name, is_healed), mine in right.items()
    ]


def over_seeds(
    runs: list[tuple[Compression, dict[str, np.ndarray]]], samples: int, seed: int
) -> tuple[list[dict], dict[str, dict[str, Interval]]]:
    """Every smaller model of a subject over all its seeds: a review counts with the share of seeds that are right.

    Args:
        runs: a seed, the result of stage 6 and its arrays: `whole` (N,), `right` (candidates, N).

    Returns:
        A row a candidate: what it keeps of the whole model's accuracy, with an interval over the reviews and the lowest
        and the highest of the seeds, and what `noninferiority` says; and the `contrasts`.
    """
    first = runs[0][0]
    whole = np.stack([arrays["whole"] for _, arrays in runs]).astype(float)
    of_seeds = [
        {(c.ratio, c.name, c.healed): mine for c, mine in zip(result.candidates, arrays["right"], strict=True)}
        for result, arrays in runs
    ]
    right = {  # an expert, say, may have answered for some of the seeds only
        key: np.stack([each[key] for each in of_seeds]) for key in of_seeds[0] if all(key in each for each in of_seeds)
    }
    sizes = {plan.ratio: plan.layers for plan in first.plans}
    counts = grading.resamples(whole.shape[1], samples, seed)
    rows = []
    for (ratio, name, is_healed), mine in right.items():
        judgement = judge(mine.mean(0), whole.mean(0), counts)
        by_seed = mine.mean(1) / whole.mean(1)
        rows.append(
            {
                "seeds": len(runs),
                "ratio": ratio,
                "layers": sizes.get(ratio),
                "name": name,
                "healed": is_healed,
                "accuracy": judgement.accuracy.value,
                "kept": judgement.retention.value,
                "low": judgement.retention.low,
                "high": judgement.retention.high,
                "lowest": by_seed.min(),
                "highest": by_seed.max(),
                "p": judgement.p_value,
            }
        )
    names = list(dict.fromkeys(candidate.name for candidate in first.candidates if candidate.healed))
    return rows, contrasts({key: mine.mean(0) for key, mine in right.items()}, first.plans, names, counts)


def noninferiority(right: np.ndarray, whole: np.ndarray) -> float:
    """One-sided p-value of the paired t-test of "worse by a point or more"; below 0.025 a model is not inferior.

    Source: Blackwelder (1982).
    """
    differences = right.astype(float) - whole.astype(float)
    if not differences.any():  # never another answer, so no variance to test with
        return 0.0
    return float(stats.ttest_1samp(differences, -MARGIN, alternative="greater").pvalue)


def contrasts(
    right: dict[tuple, np.ndarray], plans: list[Plan], names: list[str], counts: np.ndarray
) -> dict[str, dict[str, Interval]]:
    """Paired differences of what is gained at each ratio: what the choice of layers and what healing are worth.

    Args:
        right: (N,) a model, by ratio, name and whether it was healed: what its predictions
            gain, or the mean over seeds.
        names: whose choices were healed. The first is asked about; those that look at nothing are compared with it.
        counts: (R, N), of `grading.resamples`.

    Returns:
        By ratio and then by name: `choice_before` and `choice_after` healing, less the mean of the blind choices, where
        there is a choice to make; `healing`, after less before; `anew`, healed less learned anew; `linear`, healed less
        the linear classifier.
    """
    choice, blind = names[0], [name for name in names if grading.blind(name)]
    found = {}
    for plan in plans:
        ratio = plan.ratio
        before, after = (right[ratio, choice, is_healed] for is_healed in (False, True))
        pairs = {"healing": (after, before)}
        for name, rival in (("anew", (ratio, ANEW, False)), ("linear", (None, LINEAR, False))):
            if rival in right:
                pairs[name] = (after, right[rival])
        for name, mine, is_healed in (("choice_before", before, False), ("choice_after", after, True)):
            if blind and choice not in blind and plan.layers < plan.depth:
                pairs[name] = (mine, np.mean([right[ratio, other, is_healed] for other in blind], axis=0))
        found[str(ratio)] = {
            name: results.estimate(grading.resampled(mine.astype(float) - other, counts), counts.shape[1])
            for name, (mine, other) in pairs.items()
        }
    return found


def trim_vocabulary(
    tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, tokens: Dataset
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Copies of a tokenizer and its classifier that know only the tokens that occur here.

    Single characters and special tokens stay, so that every other text can still be spelled. The texts that these
    tokens come from are cut into the same ones as before, and the model gives them the same logits.

    Args:
        tokenizer: of the `tokenizers` library.
        tokens: as `classifier.tokenize` returns them.
    """
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        file = Path(folder) / "tokenizer.json"
        state = json.loads(file.read_text())
        places = {place for rows in tokens.iter(1000) for row in rows["input_ids"] for place in row}
        seen = {*tokenizer.convert_ids_to_tokens(sorted(places)), *tokenizer.all_special_tokens}
        old = _trim(state, seen)
        file.write_text(json.dumps(state))
        smaller = AutoTokenizer.from_pretrained(folder)
    config = copy.deepcopy(model.config)
    config.vocab_size = len(old)
    for role in ("pad", "bos", "eos", "cls", "sep"):
        if getattr(config, f"{role}_token_id", None) is not None:
            setattr(config, f"{role}_token_id", getattr(smaller, f"{role}_token_id"))
    weights, words = model.state_dict(), model.get_input_embeddings().weight
    tied = {name for name, weight in weights.items() if weight.data_ptr() == words.data_ptr()}
    trimmed = type(model)(config).to(model.device, model.dtype).eval()
    trimmed.load_state_dict({name: weight[old] if name in tied else weight for name, weight in weights.items()})
    return smaller, trimmed


def _trim(state: dict, seen: set[str]) -> list[int]:
    """Leave only these tokens, and what they are made of, in the description of a tokenizer; their ids before that."""
    model = state["model"]
    listed = model["type"] == "Unigram"  # a list of tokens and their scores; else a dictionary of tokens and their ids
    ids = {token: i for i, (token, _) in enumerate(model["vocab"])} if listed else model["vocab"]
    prefix = model.get("continuing_subword_prefix") or ""
    kept = {t for t in ids if t in seen or len(t.removeprefix(prefix)) == 1 or BYTE.fullmatch(t)}
    if model["type"] == "BPE":
        parts = defaultdict(set)  # of which a token is merged
        for first, second in model["merges"]:
            parts[first + second.removeprefix(prefix)] |= {first, second}
        waiting = list(kept)
        while waiting:
            new = parts[waiting.pop()] - kept
            kept |= new
            waiting += new
        model["merges"] = [
            [first, second]
            for first, second in model["merges"]
            if {first, second, first + second.removeprefix(prefix)} <= kept
        ]
    old = sorted({ids[token] for token in kept} | {token["id"] for token in state["added_tokens"]})
    new = {place: index for index, place in enumerate(old)}
    if listed:
        model["vocab"] = [model["vocab"][place] for place in old if place < len(ids)]
        model["unk_id"] = new.get(model["unk_id"])
    else:
        model["vocab"] = {token: new[place] for token, place in ids.items() if token in kept}
    for token in state["added_tokens"]:
        token["id"] = new[token["id"]]
    _renumber(state["post_processor"] or {}, new)
    return old


def _renumber(processor: dict, new: dict[int, int]) -> None:
    """Give the special tokens that a post-processor adds their new ids."""
    for part in processor.get("processors", []):
        _renumber(part, new)
    for role in {"cls", "sep"} & processor.keys():  # BERT's and RoBERTa's own
        processor[role][1] = new[processor[role][1]]
    if isinstance(processor.get("special_tokens"), dict):  # a template's
        for token in processor["special_tokens"].values():
            token["ids"] = [new[place] for place in token["ids"]]
