"""A tiny model and data to try the library on, without a download."""

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedModel, PreTrainedTokenizerFast

GOOD, BAD = ("good", "great", "love", "fine"), ("bad", "poor", "hate", "broken")
THINGS = ("battery", "screen", "cable", "camera", "sound")


def tiny_classifier(
    layers: int = 4, seed: int = 0
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, list[str], list[int]]:
    """An untrained BERT, its tokenizer, 40 short texts and their labels (0 negative, 1 positive).

    Args:
        layers: of the model.
        seed: of its weights.
    """
    texts = [f"{word} {thing}" for words in (BAD, GOOD) for word in words for thing in THINGS]
    labels = [0] * (len(texts) // 2) + [1] * (len(texts) // 2)
    words = ["[PAD]", "[UNK]", *BAD, *GOOD, *THINGS]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "model_max_length": 16}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **special)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = BertConfig(
            vocab_size=len(words),
            hidden_size=16,
            num_hidden_layers=layers,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=16,
            pad_token_id=0,
            initializer_range=0.2,
        )
        model = BertForSequenceClassification(config).eval()
    return model, tokenizer, texts, labels
