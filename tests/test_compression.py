import dataclasses
import math

import numpy as np
import pytest
import torch
from conftest import make_batch, make_model
from datasets import Dataset
from scipy import stats
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from layerwise import statistics
from layerwise.adapter import LayerwiseAdapter
from layerwise.budget import CompressionPlan, ModelSize, layers_left, plan_compression
from layerwise.errors import InputError
from layerwise.evaluation import evaluate
from layerwise.importance import METHODS
from layerwise.ranking import FUSION_RULES
from layerwise.study import compression, schemas
from layerwise.study.compression import ModelVariant
from layerwise.study.config import Parameters
from layerwise.study.models import training
from layerwise.study.profiles import SELECTIONS
from layerwise.subnetworks import all_masks
from layerwise.vocabulary import trim_vocabulary

SEEN = ["the battery of the camera died", "a great camera", "the sound is great, the battery too"]
UNSEEN = ["the screen broke after a day", "what a great battery"]


@pytest.mark.parametrize(
    ("ratio", "layers"), [(1.0001, 11), (1.1, 10), (1.35, 8), (1.8, 5), (2.5, 3), (3.6, 1), (10, 0)]
)
def test_as_many_layers_are_left_as_the_ratio_of_parameters_allows(ratio, layers):
    model = ModelSize(
        base_model="scratch",
        architecture="",
        layers=12,
        hidden_size=8,
        vocabulary_size=10,
        parameters=1000,
        parameters_per_layer=[69] * 12,  # 172 are outside of the stack
    )
    assert layers_left(model, ratio) == layers
    if layers:
        assert (172 + 69 * layers) * ratio <= 1000 < (172 + 69 * (layers + 1)) * ratio


def described(vocabulary: int) -> ModelSize:
    """A model of 12 layers of 50 parameters, and 10 for each word of its vocabulary."""
    return ModelSize(
        base_model="",
        architecture="",
        layers=12,
        hidden_size=10,
        vocabulary_size=vocabulary,
        parameters=10 * vocabulary + 600,
        parameters_per_layer=[50] * 12,
    )


@pytest.mark.parametrize(
    ("tokens", "ratio", "layers", "trimmed", "left"),
    [
        (30, 1.2, 9, False, 750),
        (30, 2.5, 1, False, 350),
        (30, 3.0, 4, True, 300),  # 300 parameters are tokens: layers alone cannot do it
        (30, 9.0, 1, True, 150),  # cannot be done
        (1000, 5.0, 12, True, 700),  # no layer has to go
    ],
)
def test_a_ratio_takes_fewer_layers_or_else_fewer_words_or_else_is_not_reached(tokens, ratio, layers, trimmed, left):
    whole = described(tokens)
    expected = CompressionPlan(ratio=ratio, layers=layers, depth=12, trimmed=trimmed, reached=whole.parameters / left)
    assert plan_compression(whole, described(10), ratio) == expected


def learn(kind: str, special_first: bool) -> PreTrainedTokenizerFast:
    """A tokenizer of all the texts, of which it cuts `UNSEEN` into tokens that `SEEN` is not made of."""
    model, trainer, options = {
        "bpe": (models.BPE(unk_token="<unk>"), trainers.BpeTrainer, {}),
        "bytes": (models.BPE(), trainers.BpeTrainer, {"initial_alphabet": pre_tokenizers.ByteLevel.alphabet()}),
        "wordpiece": (models.WordPiece(unk_token="<unk>"), trainers.WordPieceTrainer, {}),
        "unigram": (models.Unigram(), trainers.UnigramTrainer, {"unk_token": "<unk>", "special_tokens": ["<unk>"]}),
    }[kind]
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel() if kind == "bytes" else pre_tokenizers.BertPreTokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    options = options | {"special_tokens": special} if special_first else options
    tokens = 400 if kind == "bytes" else 200
    tokenizer.train_from_iterator(20 * (SEEN + UNSEEN), trainer(vocab_size=tokens, show_progress=False, **options))
    tokenizer.add_special_tokens(special)
    first, last = ((token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>"))
    template = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[first, last])
    tokenizer.post_processor = {
        "bytes": processors.RobertaProcessing(last, first),
        "wordpiece": processors.BertProcessing(last, first),
        "bpe": processors.Sequence([template]),
    }.get(kind, template)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )


@pytest.mark.parametrize("kind", ["bpe", "bytes", "wordpiece", "unigram"])
@pytest.mark.parametrize(
    ("architecture", "special_first"),
    [("bert", False), ("llama", False), ("roberta", True)],  # RoBERTa counts its positions from the id of the padding
)
def test_a_trimmed_vocabulary_cuts_and_classifies_the_texts_as_before(kind, architecture, special_first):
    tokenizer = learn(kind, special_first)
    model = make_model(architecture, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    trimmed, smaller = trim_vocabulary(model, tokenizer, tokenizer(SEEN)["input_ids"])
    assert len(smaller) == trimmed.config.vocab_size < len(tokenizer)
    lost = (len(tokenizer) - len(smaller)) * model.get_input_embeddings().embedding_dim
    assert trimmed.num_parameters() == model.num_parameters() - lost
    for text in SEEN:
        assert smaller.tokenize(text) == tokenizer.tokenize(text)
    with torch.no_grad():
        before, after = (
            m(**t(SEEN, padding=True, return_tensors="pt", return_token_type_ids=False)).logits
            for t, m in ((tokenizer, model), (smaller, trimmed))
        )
    torch.testing.assert_close(before, after, rtol=0, atol=0)
    for text in UNSEEN:
        assert smaller.unk_token not in smaller.tokenize(text)


def test_a_tokenizer_of_its_own_keeps_its_vocabulary(tmp_path):
    tokenizer = ByT5Tokenizer(model_max_length=30)
    reviews = Dataset.from_dict({"text": SEEN, "label": [0, 1, 1]})
    model = make_model("bert", vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    found = compression.make_variants(tokenizer, model, {"train": reviews, "test": reviews}, batch_size=2)
    assert found[False] is found[True] and found[False].model is model
    whole = described(1000)
    assert plan_compression(whole, whole, 5.0) == CompressionPlan(
        ratio=5.0, layers=1, depth=12, trimmed=False, reached=whole.parameters / 10_050
    )


def test_a_trimmed_model_is_healed_and_trained_from_scratch_with_its_own_tokens(tmp_path):
    tokenizer = learn("bpe", special_first=True)
    tokenizer.model_max_length = 30
    model = make_model("roberta-prelayernorm", vocab_size=len(tokenizer))
    reviews = Dataset.from_dict({"text": 4 * SEEN, "label": 4 * [0, 1, 1]})
    splits = dict.fromkeys(("train", "validation"), reviews)
    unseen = Dataset.from_dict({"text": UNSEEN, "label": [0, 1]})
    variants = compression.make_variants(tokenizer, model, splits | {"test": unseen}, batch_size=2)
    plans = [
        CompressionPlan(ratio=ratio, layers=layers, depth=4, trimmed=trimmed, reached=ratio)
        for ratio, layers, trimmed in ((2.0, 2, False), (3.0, 2, True), (4.0, 4, True))
    ]
    parameters = Parameters(runs=str(tmp_path), heal_epochs=1, batch_size=4, learning_rate=1e-3)
    masks = {"first": np.tri(5, 4, -1, dtype=bool)}
    values, models = compression.heal_candidates(plans, variants, masks, parameters)
    shallow, rivals = compression.train_shallow_models(plans, variants, parameters)
    values |= shallow
    assert rivals.keys() == {"2.0", "3.0", "4.0"} and rivals["4.0"] in (1, 2, 4) and set(rivals.values()) <= {1, 2, 4}
    assert {key: len(each) for key, each in values.items()} == {
        (ratio, name, name == "first"): 2 for ratio in (2.0, 3.0, 4.0) for name in ("first", schemas.FROM_SCRATCH)
    }
    tokens = {plan.ratio: len(variants[plan.trimmed].tokenizer) for plan in plans}
    assert {ratio: found.config.vocab_size for ratio, found in models.items()} == tokens
    assert tokens[3.0] < tokens[2.0] and [len(LayerwiseAdapter(found)) for found in models.values()] == [2, 2, 4]
    for name, weight in models[4.0].state_dict().items():  # no layer left, no healing
        assert torch.equal(weight, variants[True].model.state_dict()[name])


def test_the_rival_is_the_best_model_of_at_most_that_size_on_the_validation_split(tmp_path, monkeypatch):
    tokenizer = learn("bpe", special_first=True)
    tokenizer.model_max_length = 30
    reviews = Dataset.from_dict({"text": 4 * SEEN, "label": 4 * [0, 1, 1]})
    splits = dict.fromkeys(("train", "validation", "test"), reviews)
    model = make_model("roberta-prelayernorm", vocab_size=len(tokenizer))
    variants = compression.make_variants(tokenizer, model, splits, batch_size=2)
    plans = [
        CompressionPlan(ratio=ratio, layers=layers, depth=4, trimmed=False, reached=ratio)
        for ratio, layers in ((1.5, 3), (2.0, 2), (4.0, 1))
    ]
    accuracies = {1: 0.75, 2: 0.5, 3: 0.75}  # of the model with so many layers

    def evaluate_as_told(model, batches):
        return np.arange(12) < 12 * accuracies[len(LayerwiseAdapter(model))]

    monkeypatch.setattr(training.Task, "evaluate", lambda self, model, batches: evaluate_as_told(model, batches))
    monkeypatch.setattr(training, "train_from_scratch", lambda model, *rest: model)
    parameters = Parameters(runs=str(tmp_path), heal_epochs=1, batch_size=4, learning_rate=1e-3)
    values, rivals = compression.train_shallow_models(plans, variants, parameters)
    assert rivals == {"1.5": 1, "2.0": 1, "4.0": 1}  # of three layers and one, equally good, the smaller one
    accuracies[2] = 0.9
    values, rivals = compression.train_shallow_models(plans, variants, parameters)
    assert rivals == {"1.5": 2, "2.0": 2, "4.0": 1}
    assert [values[ratio, schemas.FROM_SCRATCH, False].sum() for ratio in (1.5, 2.0, 4.0)] == [11, 11, 9]


def test_the_first_layers_of_the_pretrained_model_learn_from_labels_with_the_vocabulary_of_the_plan(tmp_path):
    tokenizer = learn("bpe", special_first=True)
    tokenizer.model_max_length = 30
    reviews = Dataset.from_dict({"text": 4 * SEEN, "label": 4 * [0, 1, 1]})
    splits = dict.fromkeys(("train", "validation", "test"), reviews)
    model, pretrained = (make_model("roberta-prelayernorm", vocab_size=len(tokenizer), seed=seed) for seed in (0, 1))
    variants = compression.make_variants(tokenizer, model, splits, batch_size=2)
    plans = [
        CompressionPlan(ratio=ratio, layers=2, depth=4, trimmed=trimmed, reached=ratio)
        for ratio, trimmed in ((2.0, False), (3.0, True))
    ]
    parameters = Parameters(runs=str(tmp_path), heal_epochs=1, batch_size=4, learning_rate=1e-3)
    before = {name: weight.clone() for name, weight in pretrained.state_dict().items()}
    found = compression.fine_tune_truncated_models(plans, variants, pretrained, parameters)
    assert {key: len(each) for key, each in found.items()} == {
        (ratio, schemas.TRUNCATED, False): 12 for ratio in (2.0, 3.0)
    }
    assert all(torch.equal(weight, before[name]) for name, weight in pretrained.state_dict().items())


@pytest.fixture(scope="module")
def small():
    """A model of four layers, its table on a few examples, and itself as a variant with those to test on."""
    model = make_model("roberta-prelayernorm")
    batches = [make_batch(seed=seed, examples=12) for seed in range(3)]
    variant = ModelVariant(None, training.classification(None), model, {}, batches)
    return variant, evaluate(LayerwiseAdapter(model), batches, all_masks(4))


def test_every_candidate_keeps_as_many_layers_as_it_is_asked_for(small):
    scores = {"mine": np.array([0.1, 0.4, 0.2, 0.3])}
    found = compression.select_candidates(scores, small[1], seed=0, heal=["mine", "best_subset"])
    assert set(found) == {"mine", "first", "last", "even", "greedy", "best_subset"} | {
        f"random_{i}" for i in range(1, 6)
    }
    for name, layers in found.items():
        assert layers.sum(1).tolist() == [0, 1, 2, 3, 4], name
    assert np.flatnonzero(found["mine"][2]).tolist() == [1, 3]
    table = small[1]
    for size in range(5):
        assert table.mean_values[table.rows(found["best_subset"][size])] == table.mean_values[table.sizes == size].max()


def test_every_selection_that_can_be_healed_is_known_before_anything_runs(small):
    fused = [*FUSION_RULES, "expert", *(f"{rule}_with_expert" for rule in FUSION_RULES)]
    found = compression.select_candidates(dict.fromkeys([*METHODS, *fused], np.arange(4)), small[1], seed=0, heal=[])
    assert set(found) == set(SELECTIONS)


def test_healing_an_unknown_selection_is_refused(small):
    with pytest.raises(InputError, match="there is no selection 'fischer' to heal; choose among mine, first"):
        compression.select_candidates({"mine": np.arange(4)}, small[1], seed=0, heal=["mine", "fischer"])


def test_unhealed_models_predict_what_a_model_of_their_layers_predicts(small):
    variant, _ = small
    masks = compression.select_candidates({"mine": np.array([0.1, 0.4, 0.2, 0.3])}, small[1], 0, [])
    plans = [
        CompressionPlan(ratio=ratio, layers=k, depth=4, trimmed=False, reached=ratio)
        for ratio, k in ((2.0, 2), (4.0, 1))
    ]
    found = compression.evaluate_unhealed(plans, {False: variant, True: variant}, masks)
    assert len(found) == 2 * len(masks)
    for (ratio, name, healed), values in found.items():
        kept = np.flatnonzero(masks[name][2 if ratio == 2.0 else 1]).tolist()
        model = LayerwiseAdapter(variant.model).keep(kept).eval()
        with torch.no_grad():
            logits = [model(**{k: v for k, v in batch.items() if k != "labels"}).logits for batch in variant.test]
        labels = torch.cat([batch["labels"] for batch in variant.test])
        assert not healed
        np.testing.assert_array_equal(values, (torch.cat(logits).argmax(1) == labels).numpy())


def predictions(accuracy: float, other: float, n: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Two classifiers that are values on the same examples as far as they can be."""
    place = np.arange(n) / n
    return place < accuracy, place < other


def test_a_comparison_with_the_whole_model_is_paired_and_its_intervals_contain_the_estimates():
    mine, whole = predictions(0.88, 0.90)
    found = compression.compare_with_whole(mine, whole, statistics.bootstrap_counts(2000, 1000, seed=0))
    assert found.accuracy.value == pytest.approx(0.88) and found.retention.value == pytest.approx(0.88 / 0.90)
    assert found.difference.value == pytest.approx(-0.02)
    for interval in (found.accuracy, found.retention, found.difference):
        assert interval.low < interval.value < interval.high
    # of 2,000 pairs 40 differ: the standard error is that of their share, not of two accuracies
    error = (0.02 * 0.98 / 2000) ** 0.5
    assert found.difference.high - found.difference.low == pytest.approx(2 * 1.96 * error, rel=0.1)


@pytest.mark.parametrize("loss", [0.0, 0.004, 0.008, 0.02])
def test_a_model_is_not_inferior_where_the_interval_of_the_difference_ends_above_minus_one_point(loss):
    mine, whole = predictions(0.9 - loss, 0.9)
    p = statistics.noninferiority_p_value(mine, whole)
    if loss:
        paired = stats.ttest_1samp(mine.astype(float) - whole, 0).confidence_interval(0.95)
        assert (p < 0.025) == (paired.low > -0.01)
    assert (p < 0.025) == (loss < 0.006)


def test_the_p_values_of_a_run_are_adjusted_for_all_of_its_healed_models_and_baselines_and_no_other():
    draw, n = np.random.default_rng(0), 3000
    whole = draw.random(n) < 0.9
    values = {
        (ratio, name, healed): whole ^ (draw.random(n) < 0.004 * place)
        for place, (ratio, name, healed) in enumerate(
            [(2.0, "mine", False), (2.0, "mine", True), (4.0, "mine", True), (None, schemas.LINEAR, False)]
        )
    }
    masks = {"mine": np.tri(5, 4, -1, dtype=bool)}
    plans = [CompressionPlan(ratio=2.0 * k, layers=k, depth=4, trimmed=False, reached=2.0) for k in (1, 2)]
    counts = statistics.bootstrap_counts(n, 100, seed=0)
    first, *tested = compression.evaluate_candidates(values, plans, masks, whole, counts)
    assert first.adjusted_p is None and first.p_value < 0.025
    order = sorted(tested, key=lambda each: each.p_value)
    expected = np.maximum.accumulate([each.p_value * (3 - rank) for rank, each in enumerate(order)])
    assert [each.adjusted_p for each in order] == pytest.approx(np.minimum(expected, 1))
    graded = {key: each.astype(float) / 2 for key, each in values.items()}  # NDCG, for example
    shown = compression.evaluate_candidates(graded, plans, masks, whole / 2, counts)
    assert {(each.p_value, each.adjusted_p) for each in shown} == {(None, None)}


def test_contrasts_are_differences_of_the_same_examples():
    n, plans = 1000, [CompressionPlan(ratio=2.0, layers=1, depth=4, trimmed=False, reached=2.0)]
    values = {
        (2.0, "mine", False): 60,
        (2.0, "random_1", False): 50,
        (2.0, "mine", True): 90,
        (2.0, "random_1", True): 88,
        (2.0, schemas.FROM_SCRATCH, False): 80,
        (None, schemas.LINEAR, False): 95,
    }
    values = {key: np.arange(n) < 10 * percent for key, percent in values.items()}
    found = contrast(values, plans)["2.0"]
    expected = {"healing": 0.3, "from_scratch": 0.1, "linear": -0.05, "choice_before": 0.1, "choice_after": 0.02}
    assert {name: round(interval.value, 6) for name, interval in found.items()} == expected
    alone = contrast({key: each for key, each in values.items() if key[1] != "random_1"}, plans)["2.0"]
    assert set(alone) == {"healing", "from_scratch", "linear"}  # no baseline was healed
    whole = [dataclasses.replace(plans[0], layers=4)]  # all layers are left, so there is nothing to choose
    assert set(contrast(values, whole)["2.0"]) == {"healing", "from_scratch", "linear"}


def test_the_rival_that_answers_only_positive_beats_no_majority_and_one_that_learned_does():
    n, plans = (
        1000,
        [CompressionPlan(ratio=ratio, layers=1, depth=4, trimmed=False, reached=ratio) for ratio in (2.0, 4.0)],
    )
    majority = np.arange(n) < 620
    learned = majority | (np.arange(n) < 700)
    values = {
        (ratio, name, healed): np.arange(n) < 810
        for ratio in (2.0, 4.0)
        for name, healed in (("mine", False), ("mine", True))
    }
    values |= {(2.0, schemas.FROM_SCRATCH, False): majority, (4.0, schemas.FROM_SCRATCH, False): learned}
    values[None, schemas.MAJORITY, False] = majority
    counts = statistics.bootstrap_counts(n, 500, seed=0)
    candidates = compression.evaluate_candidates(values, plans, {}, majority, counts)
    contrasts = compression.paired_contrasts([(candidates, values)], plans, counts, 0)
    result = schemas.CompressionResult.model_construct(candidates=candidates, plans=plans, contrasts=contrasts)
    assert contrasts["2.0"]["majority"].low == 0 == contrasts["2.0"]["majority"].high < contrasts["4.0"]["majority"].low
    assert result.guessing == [2.0]
    (guess,) = (each for each in candidates if (each.name, each.ratio) == (schemas.FROM_SCRATCH, 2.0))
    assert guess.accuracy.low > 0.5  # which a comparison with one half calls a rival
    recorded = result.model_copy(update={"contrasts": {"2.0": {}, "4.0": {}}})
    assert recorded.guessing == []


def test_baselines_that_keep_the_same_layers_count_once_and_their_luck_is_in_the_interval():
    n, plans = 2000, [CompressionPlan(ratio=2.0, layers=2, depth=6, trimmed=False, reached=2.0)]
    percents = {"mine": 80, "random_1": 60, "random_2": 70, "random_3": 60, "first": 60}
    masks = {"mine": [0, 5], "random_1": [0, 1], "random_2": [2, 3], "random_3": [0, 1], "first": [0, 1]}
    masks = {name: np.tile(np.isin(np.arange(6), kept), (7, 1)) for name, kept in masks.items()}
    values = {
        (2.0, name, healed): np.arange(n) < n * percent // 100
        for name, percent in percents.items()
        for healed in (False, True)
    }
    found = contrast(values, plans, masks)["2.0"]["choice_after"]
    assert found.value == pytest.approx(0.15)  # and not 0.175
    candidates = compression.evaluate_candidates(values, plans, masks, values[2.0, "mine", True], np.ones((3, n), int))
    result = schemas.CompressionResult.model_construct(candidates=candidates, plans=plans, contrasts={})
    assert result.count_baselines(2.0) == 2
    one = {key: each for key, each in values.items() if key[1] in ("mine", "random_2")}
    alone = contrast(one, plans, masks)["2.0"]["choice_after"]
    assert found.high - found.low > 1.5 * (alone.high - alone.low)


@pytest.mark.parametrize("layers", [4, 6, 12])
def test_five_different_random_selections_of_a_size_are_drawn_where_there_are_five(layers):
    drawn = compression.draw_selections(layers, seed=0)
    assert drawn.shape == (compression.RANDOM_SELECTIONS, layers + 1, layers) and compression.RANDOM_SELECTIONS >= 5
    for size in range(layers + 1):
        assert (drawn[:, size].sum(1) == size).all()
        assert len(np.unique(drawn[:, size], axis=0)) == min(5, math.comb(layers, size))
    again, other = (compression.draw_selections(layers, seed) for seed in (0, 1))
    assert (drawn == again).all() and (drawn != other).any()


def contrast(values: dict[tuple, np.ndarray], plans: list[CompressionPlan], masks=()) -> dict:
    """The contrasts of one seed, whose whole model is always correct."""
    n = len(next(iter(values.values())))
    counts = statistics.bootstrap_counts(n, 500, seed=0)
    candidates = compression.evaluate_candidates(values, plans, dict(masks), np.ones(n, dtype=bool), counts)
    return compression.paired_contrasts([(candidates, values)], plans, counts, seed=0)


def of_a_seed(
    values: dict[tuple, np.ndarray], whole: np.ndarray
) -> tuple[schemas.CompressionResult, dict[str, np.ndarray]]:
    plans = [CompressionPlan(ratio=2.0, layers=1, depth=4, trimmed=False, reached=2.0)]
    found = compression.evaluate_candidates(
        values, plans, {}, whole, statistics.bootstrap_counts(len(whole), 200, seed=0)
    )
    arrays = {"whole": whole, "values": np.stack(list(values.values())), "clusters": np.arange(len(whole))}
    return schemas.CompressionResult.model_construct(candidates=found, plans=plans), arrays


def test_over_seeds_a_review_counts_with_the_share_of_correct_seeds():
    rng = np.random.default_rng(0)
    shares = {("mine", False): 0.7, ("mine", True): 0.8, ("random_1", False): 0.6, ("random_1", True): 0.75}
    shares = {(2.0, *key): share for key, share in shares.items()} | {(2.0, schemas.FROM_SCRATCH, False): 0.7}
    shares[None, schemas.LINEAR, False] = 0.9
    seeds = [
        of_a_seed({key: rng.random(500) < share for key, share in shares.items()}, rng.random(500) < 0.9)
        for _ in range(3)
    ]
    (row, *_), contrasts = compression.compare_over_seeds(seeds, samples=200, seed=0)
    values, whole = (np.mean([arrays[name] for _, arrays in seeds], axis=0) for name in ("values", "whole"))
    assert row["kept"] == pytest.approx(values[0].mean() / whole.mean()) and row["layers"] == 1
    assert contrasts["2.0"]["choice_after"].value == pytest.approx((values[1] - values[3]).mean())
    kept = [arrays["values"][0].mean() / arrays["whole"].mean() for _, arrays in seeds]
    assert (row["lowest"], row["highest"]) == (pytest.approx(min(kept)), pytest.approx(max(kept)))

    (alone, *_), _ = compression.compare_over_seeds(seeds[:1], samples=200, seed=0)
    first = seeds[0][0].candidates[0]
    said = [first.retention.value, first.retention.low, first.retention.high]
    assert [alone[name] for name in ("kept", "low", "high")] == pytest.approx(said, abs=0.01)
    fixed = statistics.bootstrap_means(
        values[0], statistics.bootstrap_counts(500, 200, 0)
    )  # the three seeds and no other
    assert row["high"] - row["low"] > (np.quantile(fixed, 0.975) - np.quantile(fixed, 0.025)) / whole.mean()


def test_over_seeds_a_candidate_counts_only_where_all_seeds_have_it():
    rng = np.random.default_rng(0)
    keys = [
        (2.0, "mine", False),
        (2.0, "mine", True),
        (2.0, schemas.FROM_SCRATCH, False),
        (None, schemas.LINEAR, False),
    ]
    draws = [{key: rng.random(500) < 0.8 for key in keys} for _ in range(2)]
    asked = {(2.0, "expert", False): rng.random(500) < 0.5} | draws[0]  # whose expert answered, before all others
    seeds = [of_a_seed(asked, np.ones(500, dtype=bool)), of_a_seed(draws[1], np.ones(500, dtype=bool))]
    rows, _ = compression.compare_over_seeds(seeds, samples=200, seed=0)
    assert [(row["ratio"], row["name"], row["healed"]) for row in rows] == keys
    assert rows[0]["kept"] == pytest.approx(np.mean([draw[keys[0]].mean() for draw in draws]))


def test_learning_anew_computes_as_much_as_healing_does():
    student, teacher = 100, 400
    epochs = compression.equal_epochs(6, student, teacher)
    assert epochs * 3 * student == 6 * (3 * student + teacher)
