"""Trim the vocabulary of a model to the tokens that occur."""

import copy
import json
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

BYTE = re.compile("<0x[0-9A-F]{2}>")  # how some tokenizers spell what they have no character for


def trim_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, token_ids: Iterable[Sequence[int]]
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Copies of a classifier and its tokenizer with only the tokens that occur.

    Single characters and special tokens stay, so every other text can still be spelled. Texts of the given tokens are
    split into the same tokens as before, and the model gives them the same logits.

    Args:
        model: a classifier.
        tokenizer: of the model, and of the `tokenizers` library.
        token_ids: of each text, as the tokenizer gives them.
    """
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        file = Path(folder) / "tokenizer.json"
        state = json.loads(file.read_text())
        occurring = sorted({token for ids in token_ids for token in ids})
        seen = {*tokenizer.convert_ids_to_tokens(occurring), *tokenizer.all_special_tokens}
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
    return trimmed, smaller


def _trim(state: dict, seen: set[str]) -> list[int]:
    """Leave only these tokens, and what they are made of, in the description of a tokenizer; their ids before that."""
    model = state["model"]
    listed = model["type"] == "Unigram"  # a list of tokens and their scores; else a dictionary of tokens and their ids
    ids = {token: i for i, (token, _) in enumerate(model["vocab"])} if listed else model["vocab"]
    prefix = model.get("continuing_subword_prefix") or ""
    kept = {t for t in ids if t in seen or len(t.removeprefix(prefix)) == 1 or BYTE.fullmatch(t)}
    if model["type"] == "BPE":
        parts: dict[str, set[str]] = defaultdict(set)  # that a token is merged from
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
    new_ids = {place: index for index, place in enumerate(old)}
    if listed:
        model["vocab"] = [model["vocab"][place] for place in old if place < len(ids)]
        model["unk_id"] = new_ids.get(model["unk_id"])
    else:
        model["vocab"] = {token: new_ids[place] for token, place in ids.items() if token in kept}
    for token in state["added_tokens"]:
        token["id"] = new_ids[token["id"]]
    _renumber(state["post_processor"] or {}, new_ids)
    return old


def _renumber(processor: dict, new_ids: dict[int, int]) -> None:
    """Give the special tokens that a post-processor adds their new ids."""
    for part in processor.get("processors", []):
        _renumber(part, new_ids)
    for role in {"cls", "sep"} & processor.keys():  # BERT's and RoBERTa's own
        processor[role][1] = new_ids[processor[role][1]]
    if isinstance(processor.get("special_tokens"), dict):  # a template's
        for token in processor["special_tokens"].values():
            token["ids"] = [new_ids[place] for place in token["ids"]]
