import copy
import re

import pytest
import torch
from conftest import ARCHITECTURES, inputs_of, make_batch, make_model
from transformers import AutoConfig, AutoModelForSequenceClassification, T5Config, T5ForSequenceClassification

from layerwise.adapter import LayerwiseAdapter
from layerwise.errors import InputError
from layerwise.importance.scoring import score

KEPT = [0, 2]


def rebuilt_without(model, kept: list[int]):
    """A model of fewer layers built by transformers alone, with the weights of the layers that are kept."""
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = len(kept)
    if getattr(config, "layer_types", None):
        config.layer_types = [model.config.layer_types[i] for i in kept]
    smaller = AutoModelForSequenceClassification.from_config(config).eval()
    weights = {}
    for name, weight in model.state_dict().items():
        layer = re.search(r"(?<=\.(?:h)\.)\d+(?=\.)|(?<=\.layer\.)\d+(?=\.)|(?<=\.layers\.)\d+(?=\.)", name)
        if layer is None:
            weights[name] = weight
        elif int(layer.group()) in kept:
            weights[f"{name[: layer.start()]}{kept.index(int(layer.group()))}{name[layer.end() :]}"] = weight
    smaller.load_state_dict(weights)
    return smaller


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_bypassing_equals_a_model_that_was_built_without_the_layers(architecture):
    model, inputs = make_model(architecture), inputs_of(make_batch())
    with LayerwiseAdapter(model).bypass({1, 3}):
        bypassed = model(**inputs).logits
    torch.testing.assert_close(bypassed, rebuilt_without(model, KEPT)(**inputs).logits)
    assert not torch.allclose(bypassed, model(**inputs).logits, atol=1e-3)


@torch.no_grad()
def test_bypassing_equals_a_forward_written_by_hand_for_a_prenorm_encoder():
    model, batch = make_model("roberta-prelayernorm"), make_batch()
    encoder = model.roberta_prelayernorm
    hidden = encoder.embeddings(batch["input_ids"])
    unseen = torch.zeros(5, 1, 1, 9).masked_fill(batch["attention_mask"][:, None, None] == 0, float("-inf"))
    for index in KEPT:
        layer = encoder.encoder.layer[index]
        attention, normalised = layer.attention.self, layer.attention.LayerNorm(hidden)
        q, k, v = (
            part(normalised).view(5, 9, 2, 8).transpose(1, 2)
            for part in (attention.query, attention.key, attention.value)
        )
        mixed = ((q @ k.mT / 8**0.5 + unseen).softmax(-1) @ v).transpose(1, 2).reshape(5, 9, 16)
        hidden = hidden + layer.attention.output.dense(mixed)
        inner = layer.intermediate.dense(layer.intermediate.LayerNorm(hidden))
        hidden = hidden + layer.output.dense(torch.nn.functional.gelu(inner))
    by_hand = model.classifier(encoder.LayerNorm(hidden))
    with LayerwiseAdapter(model).bypass({1, 3}):
        torch.testing.assert_close(model(**inputs_of(batch)).logits, by_hand)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_a_kept_model_loads_from_disk_and_gives_the_bypassed_logits(architecture, tmp_path):
    model, inputs = make_model(architecture), inputs_of(make_batch())
    adapter = LayerwiseAdapter(model)
    with adapter.bypass({1, 3}):
        bypassed = model(**inputs).logits
    smaller = adapter.keep(KEPT)
    smaller.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(smaller(**inputs).logits, bypassed)
    torch.testing.assert_close(loaded(**inputs).logits, bypassed)
    assert loaded.config.num_hidden_layers == len(LayerwiseAdapter(loaded)) == 2
    assert list(tmp_path.glob("*.safetensors")) and not list(tmp_path.glob("*.bin"))


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
@torch.no_grad()
def test_a_kept_decoder_still_generates_with_its_cache(architecture, tmp_path):
    from transformers import AutoModelForCausalLM

    config = make_model(architecture).config
    model = AutoModelForCausalLM.from_config(config).eval()
    smaller = LayerwiseAdapter(model).keep([0, 3])
    prompt = torch.randint(3, 50, (1, 5))
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False}
    with_cache, without = (smaller.generate(prompt, use_cache=use, **options) for use in (True, False))
    assert with_cache.shape == (1, 11) and torch.equal(with_cache, without)


@torch.no_grad()
def test_a_bypass_within_another_leaves_the_outer_one_as_it_was():
    model, batch = make_model("bert"), make_batch()
    adapter, inputs = LayerwiseAdapter(model), inputs_of(batch)
    whole = model(**inputs).logits
    with adapter.bypass({1}):
        without = model(**inputs).logits
        with adapter.bypass({1, 2}):
            assert not torch.equal(model(**inputs).logits, without)
        assert torch.equal(model(**inputs).logits, without)
        assert score(adapter, [batch], "block_influence").per_example[:, 1].tolist() == pytest.approx([0] * 5, abs=1e-6)
        assert torch.equal(model(**inputs).logits, without)
    assert torch.equal(model(**inputs).logits, whole)


@torch.no_grad()
def test_the_model_is_whole_again_after_a_bypass_even_after_an_error():
    model, inputs = make_model("bert"), inputs_of(make_batch())
    before = model(**inputs).logits
    with pytest.raises(RuntimeError), LayerwiseAdapter(model).bypass({0, 1, 2, 3}):
        raise RuntimeError
    torch.testing.assert_close(model(**inputs).logits, before, rtol=0, atol=0)


@torch.no_grad()
def test_keeping_layers_leaves_the_model_as_it_was():
    model, inputs = make_model("llama"), inputs_of(make_batch())
    before = model(**inputs).logits
    LayerwiseAdapter(model).keep([3])
    torch.testing.assert_close(model(**inputs).logits, before, rtol=0, atol=0)
    assert model.config.num_hidden_layers == 4


def test_a_bypassed_layer_is_not_computed():
    model, calls = make_model("bert"), []
    adapter = LayerwiseAdapter(model)
    adapter.layers[2].attention.register_forward_hook(lambda *_: calls.append(1))
    with adapter.bypass({2}):
        model(**inputs_of(make_batch()))
    assert not calls


@pytest.mark.parametrize("layers", [{4}, {-1}, {"0"}])
def test_a_layer_that_does_not_exist_is_named(layers):
    with pytest.raises(InputError, match=f"no layer {next(iter(layers))!r}.*0 to 3"):
        LayerwiseAdapter(make_model("bert")).keep(layers)


def test_keeping_no_layer_is_refused():
    with pytest.raises(InputError, match="no layer is kept"):
        LayerwiseAdapter(make_model("bert")).keep([])


def test_a_model_without_one_stack_of_layers_is_refused():
    albert = AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model("albert", vocab_size=50, embedding_size=8, hidden_size=16, num_attention_heads=2)
    )
    t5 = T5ForSequenceClassification(T5Config(vocab_size=50, d_model=16, d_ff=32, num_layers=2, num_heads=2, d_kv=8))
    for model, complaint in ((albert, "no stacks of 12 layers"), (t5, "two stacks")):
        with pytest.raises(InputError, match=f"{type(model).__name__} has {complaint}"):
            LayerwiseAdapter(model)
