"""On the default language model of the book, fetched from the package index, and on tiny ones."""

import copy
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ARCHITECTURES, SIZES
from datasets import Dataset
from torch.nn.functional import cosine_similarity
from transformers import AutoConfig, AutoModelForCausalLM

from layerwise import subnetworks
from layerwise.adapter import LayerwiseAdapter
from layerwise.errors import InputError
from layerwise.importance.influence import block_influence
from layerwise.study.config import Parameters
from layerwise.study.models import classifier, language_model

REVIEWS = Dataset.from_dict(
    {
        "text": ["the battery died after two days", "great sound", "I would buy this camera again, it is that good"],
        "label": [0, 1, 1],
    }
)


@pytest.fixture(scope="module")
def smollm2():
    tokenizer, model = language_model.load_language_model("smollm2", 64)
    return tokenizer, LayerwiseAdapter(model.to(torch.float32))  # in bfloat16 padding changes the third digit


def tiny(architecture: str = "llama") -> LayerwiseAdapter:
    torch.manual_seed(0)
    config = AutoConfig.for_model(architecture, **SIZES | ARCHITECTURES[architecture])
    model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return LayerwiseAdapter(model)


def tiny_questions() -> language_model.Questions:
    """Reviews of 3 and 6 tokens and a question of 2, padded."""
    ids = torch.tensor([[5, 6, 7, 40, 41, 1, 1, 1], [9, 8, 7, 6, 5, 4, 40, 41]])
    mask = torch.tensor([[1] * 5 + [0] * 3, [1] * 8])
    batch = {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([0, 1])}
    return language_model.Questions([batch], length=2, answers=[20, 21])


def own_states(model, ids: torch.Tensor) -> list[torch.Tensor]:
    """Hidden states (tokens, width) before and after each layer, the last one before the final normalisation."""
    last = []
    hook = model.model.norm.register_forward_pre_hook(lambda module, args: last.append(args[0][0]))
    with torch.no_grad():
        states = model(input_ids=ids[None], output_hidden_states=True).hidden_states
    hook.remove()
    return [*(state[0] for state in states[:-1]), last[0]]


@pytest.mark.slow
def test_smollm2_is_fetched_by_a_notebook_without_any_output_and_is_an_ordinary_model(tmp_path):
    source = (
        "from layerwise.study.config import Parameters; Parameters.from_notebook({});"
        "from layerwise.study.models.language_model import load_language_model as load;"
        "load('smollm2', 64)[1].float().save_pretrained('saved')"
    )
    environment = os.environ | {"LAYERWISE_CACHE": str(tmp_path / "cache")}
    completed = subprocess.run(
        [sys.executable, "-c", source], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (completed.returncode, completed.stdout, completed.stderr) == (0, "", "")
    assert AutoConfig.from_pretrained(tmp_path / "saved").num_hidden_layers == 30


def test_block_influence_and_angular_distance_are_those_of_the_model_s_own_hidden_states(smollm2):
    tokenizer, adapter = smollm2
    batches = language_model.tokenize_texts(tokenizer, REVIEWS, batch_size=3)
    influence, distances = block_influence(adapter, batches), language_model.angular_distances(adapter, batches)
    assert influence.shape == (3, 30) and distances.shape == (3, 30, 31)
    for row, text in enumerate(REVIEWS["text"]):
        ids = torch.tensor(tokenizer(text)["input_ids"])
        states = [state.double() for state in own_states(adapter.model, ids)]
        for i in range(30):
            assert influence[row, i] == pytest.approx(
                float((1 - cosine_similarity(states[i], states[i + 1], dim=1)).mean()), abs=1e-5
            )
        for i, j in ((0, 1), (3, 10), (29, 30), (0, 30)):
            angles = cosine_similarity(states[i], states[j], dim=1).clamp(-1, 1).arccos() / torch.pi
            assert distances[row, i, j] == pytest.approx(float(angles.mean()), abs=1e-5)
    assert not distances[:, 5, :6].any()


def test_the_model_smollm2_12_has_the_first_12_layers_of_smollm2_and_its_own_head(smollm2):
    tokenizer, model = classifier.build_classifier(Parameters(base_model="smollm2-12"), None)
    _, adapter = smollm2
    batch = tokenizer(["It broke within a week.", "Good."], return_tensors="pt", padding=True).to(model.device)
    with torch.no_grad(), adapter.bypass(set(range(12, len(adapter)))):
        expected = adapter.model.model(**batch).last_hidden_state
        states = model.model(**batch).last_hidden_state
    assert torch.allclose(states, expected, atol=1e-4)
    assert model.config.num_hidden_layers == 12 and model(**batch).logits.shape == (2, 2)


def test_leaving_out_layers_of_the_llama_stack_equals_removing_them(smollm2):
    tokenizer, adapter = smollm2
    left_out = {0, 7, 8, 29}
    inputs = language_model.tokenize_texts(tokenizer, REVIEWS, batch_size=3)[0]
    shorter = copy.deepcopy(adapter.model)
    shorter.model.layers = torch.nn.ModuleList(
        layer for i, layer in enumerate(shorter.model.layers) if i not in left_out
    )
    with torch.no_grad():
        expected = shorter(**inputs, use_cache=False).logits
        with adapter.bypass(left_out) as model:
            torch.testing.assert_close(model(**inputs).logits, expected, rtol=0, atol=0)
        smaller = adapter.keep([i for i in range(30) if i not in left_out])
        torch.testing.assert_close(smaller(**inputs).logits, expected, rtol=0, atol=0)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_every_sub_network_has_the_results_of_one_review_at_a_time_without_padding(architecture):
    adapter, questions = tiny(architecture), tiny_questions()
    masks = subnetworks.all_masks(4)
    results = language_model.evaluate_masks(adapter, questions, masks)
    assert results.tokens.tolist() == [2, 5]
    for row, mask in enumerate(masks):
        with adapter.bypass(np.flatnonzero(~mask).tolist()) as model, torch.no_grad():
            for review, (length, label) in enumerate(((3, 0), (6, 1))):
                ids = questions.batches[0]["input_ids"][review, : length + 2][None]
                loss = model(input_ids=ids[:, :length], labels=ids[:, :length]).loss  # the mean over all but the first
                assert results.nats[row, review] == pytest.approx(float(loss) * (length - 1), abs=1e-4)
                answer = model(input_ids=ids).logits[0, -1, [20, 21]].argmax()
                assert results.correct[row, review] == (answer == label)


def test_answers_that_are_equally_likely_count_as_half_correct():
    adapter, questions = tiny(), tiny_questions()
    with torch.no_grad():
        adapter.model.get_output_embeddings().weight[21] = adapter.model.get_output_embeddings().weight[20]
    assert (language_model.evaluate_masks(adapter, questions, subnetworks.all_masks(4)).correct == 0.5).all()


def test_a_sub_network_that_is_given_twice_has_the_same_results_twice():
    adapter, questions = tiny(), tiny_questions()
    masks = np.array([[True, True, False, True], [True] * 4, [True, True, False, True]])
    results = language_model.evaluate_masks(adapter, questions, masks)
    np.testing.assert_array_equal(results.nats[0], results.nats[2])
    assert (results.nats[0] != results.nats[1]).all()


def test_perplexity_and_accuracy_count_a_review_as_often_as_it_was_drawn():
    results = language_model.MaskResults(np.array([[2.0, 9.0]]), np.array([2, 3]), np.array([[True, False]]))
    counts = np.array([[1, 1], [2, 0], [0, 2]])
    assert results.perplexity(counts)[0] == pytest.approx(np.exp([11 / 5, 1.0, 3.0]))
    assert results.accuracy(counts)[0].tolist() == [0.5, 1, 0]


def test_the_greedy_path_is_that_of_a_naive_search():
    adapter, questions = tiny(), tiny_questions()
    path, layers = language_model.prune_greedily(adapter, questions, min_layers=1), {0, 1, 2, 3}
    for step in path:
        assert set(np.flatnonzero(step).tolist()) == layers
        perplexities = {}
        for layer in layers:
            rest = np.isin(np.arange(4), sorted(layers - {layer}))
            results = language_model.evaluate_masks(adapter, questions, rest[None])
            perplexities[layer] = results.perplexity(np.ones((1, 2)))[0, 0]
        layers = layers - {min(perplexities, key=perplexities.get)}
    assert len(path) == 4


def test_the_removed_block_is_the_one_with_the_smallest_angular_distance():
    distances = np.random.default_rng(0).uniform(size=(6, 7))
    for size in range(1, 6):
        mask = language_model.drop_best_block(distances, size)
        removed = np.flatnonzero(~mask)
        assert mask.sum() == size and (np.diff(removed) == 1).all()
        blocks = [distances[i, i + 6 - size] for i in range(size + 1)]
        assert distances[removed[0], removed[-1] + 1] == min(blocks)


def test_every_pruning_method_keeps_the_requested_number_of_layers():
    rng = np.random.default_rng(0)
    path = np.tril(np.ones((6, 6), dtype=bool))[::-1]
    for size in (1, 3, 5):
        masks = language_model.select_layers_by_method(size, rng.uniform(size=6), rng.uniform(size=(6, 7)), path)
        assert {int(mask.sum()) for mask in masks.values()} == {size}


def test_a_model_that_does_not_exist_is_refused_with_its_name():
    with pytest.raises(InputError, match="cannot load './no-model' as a causal language model"):
        language_model.load_language_model("./no-model", 64)


def test_a_tokenizer_whose_answers_begin_with_the_same_token_is_refused(smollm2):
    class ConstantTokenizer:
        def __call__(self, text, **options):
            return {"input_ids": [3]}

    with pytest.raises(InputError, match="negative and positive with the same token"):
        language_model.tokenize_questions(ConstantTokenizer(), REVIEWS, 2)


@pytest.mark.parametrize(("capabilities", "dtype"), [({"avx512_bf16": True}, torch.bfloat16), ({}, torch.float32)])
def test_a_model_saved_in_bfloat16_runs_in_it_only_where_the_processor_can(capabilities, dtype, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert language_model.load_language_model("smollm2-12", 8)[1].dtype == dtype
