"""The model under study: its tokenizer, its network, its batches; and the linear classifier that it has to beat."""

from pathlib import Path

import torch
from datasets import Dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    RobertaPreLayerNormConfig,
    RobertaPreLayerNormForSequenceClassification,
    set_seed,
)

from layerwise import assets
from layerwise.adapter import LayerwiseAdapter, device
from layerwise.errors import InputError
from layerwise.parameters import Parameters, project_path
from layerwise.reviews import LABELS

# More texts than these change neither the vocabulary nor the linear baseline, but no longer fit in memory.
TOKENIZER_TEXTS = 1_000_000
BASELINE_TEXTS = 200_000

NAMES = {
    "num_labels": len(LABELS),
    "id2label": dict(enumerate(LABELS)),
    "label2id": {n: i for i, n in enumerate(LABELS)},
}


def build(parameters: Parameters, train: Dataset) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """The tokenizer and the untrained classifier of a subject; from scratch, the vocabulary is learned from `train`.

    `smollm2-12` is the first 12 layers of a Llama of 30, few enough to evaluate all of their sub-networks.

    Raises:
        InputError: there is no such model, on this machine or within reach.
    """
    set_seed(parameters.seed)
    if parameters.base_model == "scratch":
        tokenizer = _learn_tokenizer(parameters, train)
        return tokenizer, _from_scratch(parameters, tokenizer).to(device())
    if parameters.base_model == "smollm2-12":
        tokenizer, model = load(assets.smollm2(), max_length=parameters.max_length, new_head=True)
        return tokenizer, LayerwiseAdapter(model).keep(range(12))
    local = project_path(parameters.base_model)
    folder = (
        assets.minilm() if parameters.base_model == "minilm" else local if local.is_dir() else parameters.base_model
    )
    return load(folder, max_length=parameters.max_length, new_head=True)


def load(
    folder: str | Path, max_length: int | None = None, new_head: bool = False
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Tokenizer and classifier of a folder or a Hugging Face id, on the GPU if there is one.

    Args:
        folder: or id.
        max_length: tokens at which inputs are cut; by default, and at the most, what the checkpoint allows.
        new_head: give the checkpoint of another task a head that has still to be trained.

    Raises:
        InputError: there is no such model, on this machine or within reach, or it is one of another task.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model, found = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **NAMES
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"cannot load the model {str(folder)!r} as a sequence classifier: {reason}") from error
    other_size = {name for name, *_ in found["mismatched_keys"]}
    if any(name.startswith(f"{model.base_model_prefix}.") for name in other_size):
        raise InputError(f"the weights of {str(folder)!r} are not of the sizes that its configuration says")
    if not new_head and (other_size | found["missing_keys"]):
        raise InputError(
            f"{Path(folder).name!r} is a checkpoint of another task than telling {' from '.join(LABELS)}: it has no "
            f"such {min(other_size | found['missing_keys'])}; train it first, with the notebook 1_training"
        )
    tokenizer.model_max_length = min(max_length or tokenizer.model_max_length, _positions(model))
    if tokenizer.pad_token is None:  # decoders come without one
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    return tokenizer, model.to(device())


def save(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, folder: Path) -> None:
    """Write a folder that `load` reads, and `from_pretrained` anywhere: safetensors, configuration, tokenizer."""
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except OSError as error:
        raise InputError(f"cannot write the model to {folder}: {error.strerror or error}") from error


def tokenize(tokenizer: PreTrainedTokenizerBase, reviews: Dataset) -> Dataset:
    """Texts as columns input_ids, length and, if they have any, labels, cut to the tokenizer's greatest length."""

    def encode(rows: dict) -> dict:
        ids = tokenizer(rows["text"], truncation=True)["input_ids"]
        labels = {"labels": rows["label"]} if "label" in rows else {}
        return {"input_ids": ids, **labels, "length": [len(i) for i in ids]}

    return reviews.map(encode, batched=True, remove_columns=reviews.column_names)


def batches(tokenizer: PreTrainedTokenizerBase, tokens: Dataset, batch_size: int = 32) -> list[dict[str, torch.Tensor]]:
    """Padded batches (input_ids, attention_mask, labels) of the tokenized reviews, in their order."""
    collate = DataCollatorWithPadding(tokenizer)
    columns = tokens.select_columns(["input_ids", "labels"])
    parts = (range(start, min(start + batch_size, len(tokens))) for start in range(0, len(tokens), batch_size))
    return [dict(collate(columns.select(part).to_list())) for part in parts]


def linear_baseline(train: Dataset, seed: int):
    """TF-IDF of words and word pairs with logistic regression, fitted: what a Transformer has to beat."""
    train = train.take(min(len(train), BASELINE_TEXTS))
    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        LogisticRegression(C=10, max_iter=1000, random_state=seed),
    )
    return pipeline.fit(train["text"], train["label"])


def _learn_tokenizer(parameters: Parameters, train: Dataset) -> PreTrainedTokenizerFast:
    """Byte-pair encoding, lower case. (The WordPiece trainer learns another vocabulary each time it is run.)"""
    special = {
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "mask_token": "<mask>",
    }
    tokenizer = Tokenizer(models.BPE(unk_token=special["unk_token"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(
        vocab_size=parameters.vocabulary_size, special_tokens=list(special.values()), show_progress=False
    )
    texts = train.take(min(len(train), TOKENIZER_TEXTS))
    tokenizer.train_from_iterator((rows["text"] for rows in texts.iter(1000)), trainer, length=len(texts))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token=special["bos_token"],
        sep_token=special["eos_token"],
        model_max_length=parameters.max_length,
        **special,
    )


def _from_scratch(parameters: Parameters, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """The pre-norm encoder: RoBERTa with the normalisation before attention and feed-forward (Ott et al., 2019)."""
    config = RobertaPreLayerNormConfig(
        vocab_size=len(tokenizer),
        hidden_size=parameters.hidden_size,
        num_hidden_layers=parameters.layers,
        num_attention_heads=parameters.heads,
        intermediate_size=4 * parameters.hidden_size,
        max_position_embeddings=parameters.max_length + 2,  # positions start after the padding index
        type_vocab_size=1,
        hidden_dropout_prob=parameters.dropout,
        attention_probs_dropout_prob=parameters.dropout,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **NAMES,
    )
    return RobertaPreLayerNormForSequenceClassification(config)


def _positions(model: PreTrainedModel) -> int:
    """The longest input that the model has positions for; some count them from behind that of padding (RoBERTa)."""
    positions = getattr(model.config, "max_position_embeddings", None) or 10**9
    padding = [getattr(module, "padding_idx", None) for name, module in model.named_modules() if "position" in name]
    return positions - max((index + 1 for index in padding if index is not None), default=0)
