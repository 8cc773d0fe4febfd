"""Text classifiers: tokenizer, network, batches, and the linear classifier that is their baseline."""

from pathlib import Path

import torch
from datasets import Dataset
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
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

from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch
from layerwise.errors import InputError
from layerwise.study.config import LABELS, Parameters, project_path
from layerwise.study.data import assets
from layerwise.study.models.device import reproducible_device

# More texts would change neither the vocabulary nor the linear baseline, but would not fit in memory.
TOKENIZER_TEXTS = 1_000_000
BASELINE_TEXTS = 200_000
LABEL_NAMES = {
    "num_labels": len(LABELS),
    "id2label": dict(enumerate(LABELS)),
    "label2id": {name: index for index, name in enumerate(LABELS)},
}


def build_classifier(parameters: Parameters, train: Dataset) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Build the tokenizer and the untrained classifier for `parameters.base_model`.

    For `scratch`, the vocabulary is learned from `train`. `smollm2-12` has the first 12 layers of a Llama of 30, few
    enough to evaluate all of their sub-networks.

    Args:
        train: training reviews, with the column text.

    Raises:
        InputError: there is no such model, on this machine or on the hub.
    """
    set_seed(parameters.seed)
    if parameters.base_model == "scratch":
        tokenizer = _train_tokenizer(parameters, train)
        return tokenizer, _build_encoder(parameters, tokenizer).to(reproducible_device())
    if parameters.base_model == "smollm2-12":
        tokenizer, model = load_classifier(assets.smollm2(), max_length=parameters.max_length, new_head=True)
        return tokenizer, LayerwiseAdapter(model).keep(range(12))
    local = project_path(parameters.base_model)
    folder = (
        assets.minilm() if parameters.base_model == "minilm" else local if local.is_dir() else parameters.base_model
    )
    return load_classifier(folder, max_length=parameters.max_length, new_head=True)


def load_classifier(
    folder: str | Path, max_length: int | None = None, new_head: bool = False
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Load a tokenizer and a classifier, on the GPU if there is one.

    Args:
        folder: of the model, or its Hugging Face id.
        max_length: tokens after which inputs are truncated; by default, and at most, what the checkpoint allows.
        new_head: allow a checkpoint of another task, and give it an untrained head.

    Raises:
        InputError: there is no such model, on this machine or on the hub, or it is one of another task.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model, loading_info = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True, **LABEL_NAMES
        )
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"cannot load the model {str(folder)!r} as a sequence classifier: {reason}") from error
    mismatched = {name for name, *_ in loading_info["mismatched_keys"]}
    if any(name.startswith(f"{model.base_model_prefix}.") for name in mismatched):
        raise InputError(f"the weights of {str(folder)!r} are not of the sizes that its configuration says")
    if not new_head and (untrained := mismatched | loading_info["missing_keys"]):
        raise InputError(
            f"{Path(folder).name!r} is a checkpoint of another task than telling {' from '.join(LABELS)}: it has no "
            f"such {min(untrained)}; train it first, with the notebook training"
        )
    tokenizer.model_max_length = min(max_length or tokenizer.model_max_length, _positions(model))
    if tokenizer.pad_token is None:  # decoders have none
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    return tokenizer, model.to(reproducible_device())


def save_classifier(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, folder: Path) -> None:
    """Save a tokenizer and a model in a folder for `load_classifier` and `from_pretrained`.

    Raises:
        InputError: the folder cannot be written.
    """
    try:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    except OSError as error:
        raise InputError(f"cannot write the model to {folder}: {error.strerror or error}") from error


def tokenize(tokenizer: PreTrainedTokenizerBase, reviews: Dataset) -> Dataset:
    """Tokenize reviews, and truncate them to the maximum length of the tokenizer.

    Returns:
        A dataset with columns input_ids, length (tokens) and, if the reviews have labels, labels.
    """

    def encode(rows: dict[str, list]) -> dict[str, list]:
        ids = tokenizer(rows["text"], truncation=True)["input_ids"]
        labels = {"labels": rows["label"]} if "label" in rows else {}
        return {"input_ids": ids, **labels, "length": [len(i) for i in ids]}

    return reviews.map(encode, batched=True, remove_columns=reviews.column_names)


def make_batches(tokenizer: PreTrainedTokenizerBase, tokens: Dataset, batch_size: int = 32) -> list[Batch]:
    """Make padded batches of tokenized reviews, in their order.

    Args:
        tokens: of `tokenize`, with labels.

    Returns:
        Batches of input_ids and attention_mask (reviews, tokens) and labels (reviews,).
    """
    collate = DataCollatorWithPadding(tokenizer)
    columns = tokens.select_columns(["input_ids", "labels"])
    parts = (range(start, min(start + batch_size, len(tokens))) for start in range(0, len(tokens), batch_size))
    return [dict(collate(columns.select(part).to_list())) for part in parts]


def fit_linear_baseline(train: Dataset, seed: int) -> Pipeline:
    """Fit logistic regression on the TF-IDF of words and word pairs: the baseline of the Transformers.

    Args:
        train: with columns text and label.
    """
    train = train.take(min(len(train), BASELINE_TEXTS))
    pipeline = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True),
        LogisticRegression(C=10, max_iter=1000, random_state=seed),
    )
    return pipeline.fit(train["text"], train["label"])


def _train_tokenizer(parameters: Parameters, train: Dataset) -> PreTrainedTokenizerFast:
    """Train a tokenizer by byte-pair encoding of lower-case text.

    (WordPiece is no alternative: its trainer learns a different vocabulary in each run.)
    """
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


def _build_encoder(parameters: Parameters, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """Build a RoBERTa that normalises before attention and feed-forward parts, with random weights.

    Source: Ott et al. (2019).
    """
    config = RobertaPreLayerNormConfig(
        vocab_size=len(tokenizer),
        hidden_size=parameters.hidden_size,
        num_hidden_layers=parameters.layers,
        num_attention_heads=parameters.heads,
        intermediate_size=4 * parameters.hidden_size,
        max_position_embeddings=parameters.max_length + 2,  # positions are counted from after the padding index
        type_vocab_size=1,
        hidden_dropout_prob=parameters.dropout,
        attention_probs_dropout_prob=parameters.dropout,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **LABEL_NAMES,
    )
    return RobertaPreLayerNormForSequenceClassification(config)


def _positions(model: PreTrainedModel) -> int:
    """The maximum number of tokens of an input; some models, such as RoBERTa, lose positions to the padding index."""
    positions = getattr(model.config, "max_position_embeddings", None) or 10**9
    padding = [getattr(module, "padding_idx", None) for name, module in model.named_modules() if "position" in name]
    return positions - max((index + 1 for index in padding if index is not None), default=0)
