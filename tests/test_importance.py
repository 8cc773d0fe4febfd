import numpy as np
import pytest
import torch
from conftest import inputs_of, make_batch, make_model
from torch import nn

from layerwise import importance
from layerwise.adapter import LayerwiseAdapter
from layerwise.errors import InputError
from layerwise.importance import METHODS, Method, score
from layerwise.importance.ablation import accuracy_drop


def layer_gradient_squares(model, adapter, objective) -> np.ndarray:
    model.zero_grad()
    objective.backward(retain_graph=True)
    return np.array([sum(float(p.grad.square().sum()) for p in layer.parameters()) for layer in adapter.layers])


def rows_of(batch):
    for i in range(len(batch["labels"])):
        tokens = int(batch["attention_mask"][i].sum())
        yield (
            {name: batch[name][i : i + 1, :tokens] for name in ("input_ids", "attention_mask")},
            int(batch["labels"][i]),
        )


def identity_at(model, *planted):
    """Plants layers whose update is zero, whatever their input."""
    with torch.no_grad():
        for index in planted:
            layer = LayerwiseAdapter(model).layers[index]
            for module in (layer.attention.output.dense, layer.output.dense):
                module.weight.zero_()
                module.bias.zero_()
    return model


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("architecture", ["bert", "roberta-prelayernorm", "distilbert", "gpt2", "llama", "mpnet"])
def test_fisher_equals_one_backward_pass_an_example_and_a_class(architecture, classes):
    model, batch = make_model(architecture, classes), make_batch(classes)
    adapter = LayerwiseAdapter(model)
    expected = []
    for inputs, _ in rows_of(batch):
        log_p = model(**inputs).logits.log_softmax(1)[0]
        expected.append(sum(p.exp().item() * layer_gradient_squares(model, adapter, p) for p in log_p))
    np.testing.assert_allclose(score("fisher", adapter, [batch]), expected, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["bert", "roberta-prelayernorm", "distilbert", "gpt2", "llama", "mpnet"])
def test_gradient_equals_one_backward_pass_an_example(architecture):
    model, batch = make_model(architecture), make_batch()
    adapter = LayerwiseAdapter(model)
    expected = [
        layer_gradient_squares(model, adapter, -model(**inputs).logits.log_softmax(1)[0, label]) ** 0.5
        for inputs, label in rows_of(batch)
    ]
    np.testing.assert_allclose(score("gradient", adapter, [batch]), expected, rtol=1e-4)


def test_long_inputs_take_the_other_form_of_the_linear_norm_to_the_same_numbers():
    module, a, g = nn.Linear(8, 6), torch.randn(3, 40, 8), torch.randn(3, 40, 6)
    from layerwise.importance.per_example import _any_module, _linear

    for tokens in (2, 40):  # on either side of the cheaper form
        torch.testing.assert_close(
            _linear(module, a[:, :tokens], g[:, :tokens]), _any_module(module, a[:, :tokens], g[:, :tokens])
        )


@torch.no_grad()
def test_ablation_equals_the_log_probability_lost_by_a_model_that_was_built_smaller():
    model, batch = make_model("roberta-prelayernorm"), make_batch()
    adapter = LayerwiseAdapter(model)
    found = score("ablation", adapter, [batch])
    picked = torch.arange(5), batch["labels"]
    whole = model(**inputs_of(batch)).logits.log_softmax(1)[picked]
    for layer in range(4):
        smaller = adapter.keep({0, 1, 2, 3} - {layer})
        without = smaller(**inputs_of(batch)).logits.log_softmax(1)[picked]
        np.testing.assert_allclose(found[:, layer], (whole - without).numpy(), atol=1e-6)


@torch.no_grad()
def test_the_mean_accuracy_drop_is_the_difference_of_two_accuracies():
    model, batch = make_model("roberta-prelayernorm"), make_batch(examples=64)
    adapter = LayerwiseAdapter(model)

    def accuracy():
        return float((model(**inputs_of(batch)).logits.argmax(1) == batch["labels"]).double().mean())

    whole = accuracy()
    with adapter.bypass({2}):
        without = accuracy()
    assert accuracy_drop(adapter, [batch]).mean(0)[2] == pytest.approx(whole - without)


@pytest.mark.parametrize("method", METHODS)
def test_padding_and_batching_change_no_score(method):
    adapter, batch = LayerwiseAdapter(make_model("roberta-prelayernorm")), make_batch()
    alone = [inputs | {"labels": torch.tensor([label])} for inputs, label in rows_of(batch)]
    np.testing.assert_allclose(score(method, adapter, [batch]), score(method, adapter, alone), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_scores_are_taken_in_eval_mode_and_the_mode_is_put_back(method):
    adapter, batch = LayerwiseAdapter(make_model("roberta-prelayernorm").train()), make_batch()
    np.testing.assert_array_equal(score(method, adapter, [batch]), score(method, adapter, [batch]))
    assert adapter.model.training


def test_planted_identity_layers_score_zero_and_come_last_by_ablation():
    adapter, batch = LayerwiseAdapter(identity_at(make_model("roberta-prelayernorm"), 1, 3)), make_batch()
    found = score("ablation", adapter, [batch])
    np.testing.assert_allclose(found[:, [1, 3]], 0, atol=1e-6)
    assert set(np.argsort(np.abs(found).mean(0))[:2]) == {1, 3}


def test_fisher_of_classes_does_not_depend_on_the_labels():
    adapter, batch = LayerwiseAdapter(make_model("bert", 3)), make_batch(3)
    other = batch | {"labels": (batch["labels"] + 1) % 3}
    np.testing.assert_array_equal(score("fisher", adapter, [batch]), score("fisher", adapter, [other]))


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [(np.zeros((5, 3)), r"broken returned shape \(5, 3\)"), (np.full((5, 4), np.nan), "broken returned 20 values")],
)
def test_a_method_that_returns_nonsense_is_named(monkeypatch, returned, complaint):
    monkeypatch.setitem(importance.METHODS, "broken", Method(lambda adapter, batches: returned, "", "", "", ""))
    with pytest.raises(InputError, match=complaint):
        score("broken", LayerwiseAdapter(make_model("bert")), [make_batch()])


def test_an_empty_split_is_named():
    with pytest.raises(InputError, match="analysis split is empty"):
        score("fisher", LayerwiseAdapter(make_model("bert")), [])


def test_a_module_that_runs_twice_is_refused_and_not_miscounted():
    model = make_model("bert")
    layer = LayerwiseAdapter(model).layers[0]
    layer.intermediate.dense.register_forward_hook(
        lambda module, args, output: None if getattr(module, "again", False) else _again(module, args)
    )
    with pytest.raises(InputError, match="twice"):
        score("gradient", LayerwiseAdapter(model), [make_batch()])


def _again(module, args):
    module.again = True
    result = module(*args)
    module.again = False
    return result
