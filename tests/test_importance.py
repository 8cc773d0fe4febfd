from itertools import combinations

import numpy as np
import pytest
import torch
from conftest import inputs_of, make_batch, make_model
from scipy.stats import kendalltau
from torch import nn

from layerwise import evaluation, subnetworks
from layerwise.adapter import LayerwiseAdapter
from layerwise.errors import InputError
from layerwise.importance import METHODS
from layerwise.importance.ablation import accuracy_drop, evaluate_without_each_layer
from layerwise.importance.conductance import conductance_along_path
from layerwise.importance.influence import block_influence
from layerwise.importance.per_example import _any_module, _linear
from layerwise.importance.sanity import plant_identities, randomise_weights, sanity_check
from layerwise.importance.scoring import score
from layerwise.study.captum_conductance import captum_conductance


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


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("architecture", ["bert", "roberta-prelayernorm", "distilbert", "gpt2", "llama", "mpnet"])
def test_fisher_equals_one_backward_pass_an_example_and_a_class(architecture, classes):
    model, batch = make_model(architecture, classes), make_batch(classes)
    adapter = LayerwiseAdapter(model)
    expected = []
    for inputs, _ in rows_of(batch):
        log_p = model(**inputs).logits.log_softmax(1)[0]
        expected.append(sum(p.exp().item() * layer_gradient_squares(model, adapter, p) for p in log_p))
    np.testing.assert_allclose(score(adapter, [batch], "fisher").per_example, expected, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["bert", "roberta-prelayernorm", "distilbert", "gpt2", "llama", "mpnet"])
def test_gradient_equals_one_backward_pass_an_example(architecture):
    model, batch = make_model(architecture), make_batch()
    adapter = LayerwiseAdapter(model)
    expected = [
        layer_gradient_squares(model, adapter, -model(**inputs).logits.log_softmax(1)[0, label]) ** 0.5
        for inputs, label in rows_of(batch)
    ]
    np.testing.assert_allclose(score(adapter, [batch], "gradient").per_example, expected, rtol=1e-4)


def test_long_inputs_take_the_other_form_of_the_linear_norm_to_the_same_numbers():
    module, a, g = nn.Linear(8, 6), torch.randn(3, 40, 8), torch.randn(3, 40, 6)

    for tokens in (2, 40):  # on either side of the cheaper form
        torch.testing.assert_close(
            _linear(module, a[:, :tokens], g[:, :tokens]), _any_module(module, a[:, :tokens], g[:, :tokens])
        )


@torch.no_grad()
def test_ablation_equals_the_log_probability_lost_by_a_model_that_was_built_smaller():
    model, batch = make_model("roberta-prelayernorm"), make_batch()
    adapter = LayerwiseAdapter(model)
    found = score(adapter, [batch], "ablation").per_example
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
    found = accuracy_drop(evaluate_without_each_layer(adapter, [batch]))
    assert found.mean(0)[2] == pytest.approx(whole - without)


def make_balanced(examples=12):
    return make_batch(examples=examples) | {"labels": torch.arange(examples) % 2}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("architecture", ["roberta-prelayernorm", "bert", "llama", "gpt2"])
def test_padding_and_batching_change_no_score(method, architecture):
    adapter, batch = LayerwiseAdapter(make_model(architecture)), make_balanced()
    alone = [inputs | {"labels": torch.tensor([label])} for inputs, label in rows_of(batch)]
    np.testing.assert_allclose(
        score(adapter, [batch], method).per_example, score(adapter, alone, method).per_example, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("method", METHODS)
def test_scores_are_taken_in_eval_mode_and_the_mode_is_put_back(method):
    adapter, batch = LayerwiseAdapter(make_model("roberta-prelayernorm").train()), make_balanced()
    np.testing.assert_array_equal(score(adapter, [batch], method).per_example, score(adapter, [batch], method))
    assert adapter.model.training


@pytest.mark.parametrize("architecture", ["roberta-prelayernorm", "bert", "llama", "mpnet", "gpt2"])
@pytest.mark.parametrize("method", METHODS)
def test_layers_that_change_nothing_score_zero_and_come_last_by_every_method_that_claims_it(method, architecture):
    adapter, batch = LayerwiseAdapter(make_model(architecture)), make_balanced()
    extended, planted = plant_identities(adapter, after=(0, 2))
    with torch.no_grad():
        torch.testing.assert_close(extended.model(**inputs_of(batch)).logits, adapter.model(**inputs_of(batch)).logits)
    size = np.abs(score(extended, [batch], method).mean)
    if METHODS[method].sees_identity:
        np.testing.assert_allclose(size[planted], 0, atol=1e-7)
        assert set(np.argsort(size)[:2]) == set(planted) == {1, 4}
    else:
        assert size[planted].min() > 1e-4 * size.max()  # the claim would be true, and the card is too modest


@pytest.mark.parametrize("method", METHODS)
def test_random_weights_destroy_the_ranking(method):
    batch = make_balanced(examples=24)
    rankings = [
        score(LayerwiseAdapter(make_model("roberta-prelayernorm", seed=seed, layers=8)), [batch], method).mean
        for seed in range(6)
    ]
    taus = [kendalltau(one, other).statistic for one, other in combinations(rankings, 2)]
    assert abs(np.mean(taus)) < 0.3


@pytest.mark.parametrize("method", METHODS)
def test_a_method_looks_at_the_labels_only_if_its_card_says_so(method):
    adapter, batch = LayerwiseAdapter(make_model("roberta-prelayernorm")), make_balanced()
    other = batch | {"labels": batch["labels"].roll(1, 0)}
    same = np.array_equal(score(adapter, [batch], method).per_example, score(adapter, [other], method).per_example)
    assert same == ("labels" not in METHODS[method].needs)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_takes_no_more_forward_passes_than_its_card_says(method):
    model = make_model("roberta-prelayernorm", layers=8)
    adapter, batch = LayerwiseAdapter(model), make_balanced()
    applied = []
    for layer in adapter.layers:
        layer.intermediate.register_forward_hook(lambda module, args, output: applied.append(len(output)))
    score(adapter, [batch], method)
    trial = 2  # layers: where a few tokens of the last layer are enough, that is tried out once
    assert 0 < sum(applied) / 12 <= 8 * METHODS[method].passes(8, 2) + trial


@pytest.mark.parametrize("architecture", ["roberta-prelayernorm", "bert", "mpnet"])
def test_conductance_equals_captum_s_on_the_same_path(architecture):
    model, batch = make_model(architecture), make_batch()
    adapter = LayerwiseAdapter(model)
    ours, change, _ = conductance_along_path(adapter, batch, np.linspace(0, 1, 9))
    np.testing.assert_allclose(ours, captum_conductance(adapter, [batch], steps=8), rtol=1e-4, atol=1e-6)
    embedding = model.get_input_embeddings()
    for row, (inputs, _) in enumerate(rows_of(batch)):
        words = embedding(inputs["input_ids"]).detach()
        mean = embedding.weight.detach().mean(0).expand_as(words)
        logits, at_mean = (model(inputs_embeds=each).logits[0].detach() for each in (words, mean))
        first, second = logits.topk(2).indices
        expected = (logits[first] - logits[second]) - (at_mean[first] - at_mean[second])
        assert change[row] == pytest.approx(float(expected), rel=1e-4, abs=1e-6)


def test_conductance_s_error_shrinks_with_the_steps():
    adapter, batch = LayerwiseAdapter(make_model("roberta-prelayernorm")), make_batch()
    few, many = (np.abs(conductance_along_path(adapter, batch, np.linspace(0, 1, n + 1))[2]).mean() for n in (4, 64))
    assert many < few / 20


@pytest.mark.parametrize("architecture", ["bert", "roberta-prelayernorm", "llama", "gpt2", "gemma2"])
def test_influence_equals_parameters_times_gradients_of_one_example_at_a_time(architecture):
    model, batch = make_model(architecture), make_batch()
    adapter = LayerwiseAdapter(model)
    for row, (inputs, label) in enumerate(rows_of(batch)):
        model.zero_grad()
        (-model(**inputs).logits.log_softmax(1)[0, label]).backward()
        expected = [abs(sum(float((p * p.grad).sum()) for p in layer.parameters())) for layer in adapter.layers]
        np.testing.assert_allclose(
            score(adapter, [batch], "influence").per_example[row], expected, rtol=1e-3, atol=1e-6
        )


@torch.no_grad()
def test_block_influence_equals_the_angle_between_the_model_s_own_hidden_states():
    model, batch = make_model("bert"), make_batch()  # post-norm: its hidden states are what layers hand on
    found = score(LayerwiseAdapter(model), [batch], "block_influence").per_example
    for row, (inputs, _) in enumerate(rows_of(batch)):
        states = model(**inputs, output_hidden_states=True).hidden_states
        for layer in range(4):
            cosine = nn.functional.cosine_similarity(states[layer][0], states[layer + 1][0], dim=1)
            assert found[row, layer] == pytest.approx(float(1 - cosine.mean()), abs=1e-5)


def test_shap_comes_to_the_exact_shapley_values_as_its_orders_grow():
    adapter, batch = LayerwiseAdapter(make_model("roberta-prelayernorm")), make_batch()
    exact = subnetworks.shapley_values(evaluation.evaluate(adapter, [batch], subnetworks.all_masks(4)))
    few = score(adapter, [batch], "shap").per_example
    many = score(adapter, [batch], "shap", permutations=150).per_example
    assert np.abs(many - exact).max() < min(0.1 * np.abs(exact).max(), np.abs(few - exact).max())
    np.testing.assert_allclose(few.sum(1), exact.sum(1), atol=1e-5)


@torch.no_grad()
def test_patching_equals_a_forward_pass_in_which_a_layer_is_made_to_say_something_else():
    """Texts of one length, so that each token takes the update of the same place in the other text."""
    model, batch = make_model("roberta-prelayernorm"), make_batch(examples=4)
    batch["attention_mask"][:], batch["input_ids"] = 1, torch.randint(3, 50, (4, 9))
    adapter = LayerwiseAdapter(model)
    found = score(adapter, [batch], "patching").per_example
    log_p = model(**inputs_of(batch)).logits.double().log_softmax(1)
    for layer in range(4):
        seen = []
        hook = adapter.layers[layer].register_forward_hook(lambda m, args, output: seen.append(output - args[0]))  # noqa: B023
        model(**inputs_of(batch))
        hook.remove()
        expected = 0
        for shift in (1, 2):
            other = seen[0].roll(-shift, 0)
            hook = adapter.layers[layer].register_forward_hook(lambda m, args, output: args[0] + other)  # noqa: B023
            patched = model(**inputs_of(batch)).logits.double().log_softmax(1)
            hook.remove()
            expected = expected + (log_p.exp() * (log_p - patched)).sum(1) / 2
        np.testing.assert_allclose(found[:, layer], expected, atol=1e-6)


@torch.no_grad()
def test_uncertainty_of_a_certain_model_grows_and_more_so_with_a_stronger_layer():
    model, batch = make_model("roberta-prelayernorm"), make_batch(examples=40)
    model.classifier.out_proj.weight.mul_(20)
    before = score(LayerwiseAdapter(model), [batch], "uncertainty").mean
    strong = model.roberta_prelayernorm.encoder.layer[3].output.dense
    strong.weight.mul_(10)
    after = score(LayerwiseAdapter(model), [batch], "uncertainty").mean
    assert before.mean() > 0 and after[3] > before[3]


def test_mutual_information_is_what_a_probe_reads_after_a_layer_and_not_before():
    """A model whose second layer writes the label, which only the first token's identity holds, where a probe reads."""
    adapter, batch = LayerwiseAdapter(make_model("roberta-prelayernorm")), make_balanced(examples=60)
    layer = adapter.layers[1]
    label = batch["labels"][:, None, None].float()
    layer.register_forward_hook(lambda module, args, output: output + 5 * (label - 0.5))
    found = score(adapter, [batch], "mutual_information").mean
    assert found[1] > 0.3 and np.abs(np.delete(found, 1)).max() < 0.2


def test_probes_that_cannot_be_cross_validated_are_refused():
    batch = make_balanced() | {"labels": torch.tensor([1] * 3 + [0] * 9)}
    with pytest.raises(InputError, match="5 examples of each"):
        score(LayerwiseAdapter(make_model("bert")), [batch], "mutual_information")


def test_patching_needs_another_example():
    batch = {name: value[:1] for name, value in make_batch().items()}
    with pytest.raises(InputError, match="only one"):
        score(LayerwiseAdapter(make_model("bert")), [batch], "patching")


def test_an_untrained_model_has_the_same_shape_and_other_weights():
    adapter = LayerwiseAdapter(make_model("bert"))
    other = randomise_weights(adapter, seed=0)
    assert len(other) == 4 and not other.model.training
    for (name, weight), (same, random) in zip(
        adapter.model.named_parameters(), other.model.named_parameters(), strict=True
    ):
        assert name == same and weight.shape == random.shape and not torch.equal(weight, random)


def test_what_is_said_of_planted_layers_follows_from_the_scores():
    seen = sanity_check(np.arange(3.0), np.array([2.0, 0.0, 3.0, 0.0, 1.0]), [1, 3], np.arange(3.0))
    assert seen == {"zero": True, "last": True, "untrained_tau": pytest.approx(1)}
    unseen = sanity_check(np.arange(3.0), np.array([2.0, 0.5, 3.0, 0.0, 0.4]), [1, 3], -np.arange(3.0))
    assert seen != unseen == {"zero": False, "last": False, "untrained_tau": pytest.approx(-1)}


def test_fisher_of_classes_does_not_depend_on_the_labels():
    adapter, batch = LayerwiseAdapter(make_model("bert", 3)), make_batch(3)
    other = batch | {"labels": (batch["labels"] + 1) % 3}
    np.testing.assert_array_equal(score(adapter, [batch], "fisher").per_example, score(adapter, [other], "fisher"))


@pytest.mark.parametrize(
    ("returned", "complaint"),
    [(np.zeros((5, 3)), r"broken returned shape \(5, 3\)"), (np.full((5, 4), np.nan), "broken returned 20 values")],
)
def test_a_method_of_one_s_own_that_returns_nonsense_is_named(returned, complaint):
    def broken(adapter, batches):
        return returned

    with pytest.raises(InputError, match=complaint):
        score(make_model("bert"), [make_batch()], broken)


def test_a_method_of_one_s_own_is_scored_like_one_of_the_registry():
    adapter, batch = LayerwiseAdapter(make_model("bert")), make_batch()
    own = score(adapter, [batch], block_influence)
    assert own.interval == score(adapter, [batch], "block_influence").interval
    assert own.top_k(2) == sorted(np.argsort(-own.mean)[:2].tolist())


def test_an_unknown_method_is_answered_with_those_that_there_are():
    with pytest.raises(InputError, match="no method 'fischer'; choose one of fisher, gradient"):
        score(make_model("bert"), [make_batch()], "fischer")


@pytest.mark.parametrize("method", METHODS)
def test_a_method_asks_for_labels_only_if_its_card_says_that_it_needs_them(method):
    batch = {name: value for name, value in make_balanced().items() if name != "labels"}
    if "labels" in METHODS[method].needs:
        with pytest.raises(InputError, match=f"{method} needs labels"):
            score(make_model("bert"), [batch], method)
    else:
        assert score(make_model("bert"), [batch], method).per_example.shape == (len(batch["input_ids"]), 4)


def test_no_example_at_all_is_named():
    with pytest.raises(InputError, match="there is no example"):
        score(make_model("bert"), [], "fisher")


def test_a_module_that_runs_twice_is_refused_and_not_miscounted():
    model = make_model("bert")
    layer = LayerwiseAdapter(model).layers[0]
    layer.intermediate.dense.register_forward_hook(
        lambda module, args, output: None if getattr(module, "again", False) else _again(module, args)
    )
    with pytest.raises(InputError, match="twice"):
        score(LayerwiseAdapter(model), [make_batch()], "gradient")


def _again(module, args):
    module.again = True
    result = module(*args)
    module.again = False
    return result
