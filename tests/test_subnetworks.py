import dataclasses
from itertools import combinations, permutations
from math import factorial
from types import SimpleNamespace

import numpy as np
import pytest
import shap
import torch
from conftest import ARCHITECTURES, inputs_of, make_batch, make_model

from layerwise import evaluation, statistics, subnetworks
from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import encode
from layerwise.errors import InputError
from layerwise.examples import tiny_classifier
from layerwise.forward import FEED_FORWARD, LayerwiseForward
from layerwise.study.cache import cached_evaluation
from layerwise.subnetworks import SubnetworkTable


def make_table(layers: int, examples: int = 7, seed: int = 0) -> SubnetworkTable:
    draw = np.random.default_rng(seed)
    shape = 2**layers, examples
    return SubnetworkTable(subnetworks.all_masks(layers), -draw.exponential(size=shape), draw.random(shape) < 0.6)


@torch.no_grad()
def log_p_of(adapter, batch, mask):
    with adapter.bypass(set(np.flatnonzero(~mask).tolist())) as model:
        log_p = model(**inputs_of(batch)).logits.double().log_softmax(1)
    return log_p[range(len(log_p)), batch["labels"]].numpy(), log_p.argmax(1).eq(batch["labels"]).numpy()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_shared_beginnings_give_the_values_of_separate_forward_passes(architecture):
    adapter, batch = LayerwiseAdapter(make_model(architecture)), make_batch()
    table = evaluation.evaluate(adapter, [batch], subnetworks.all_masks(4))
    for row, mask in enumerate(table.masks):
        log_p, correct = log_p_of(adapter, batch, mask)
        np.testing.assert_allclose(table.log_p[row], log_p, atol=1e-5)
        np.testing.assert_array_equal(table.values[row], correct)


def test_twelve_layers_give_the_values_of_4096_separate_forward_passes():
    adapter, batch = LayerwiseAdapter(make_model("roberta-prelayernorm", layers=12)), make_batch(examples=3)
    table = evaluation.evaluate(adapter, [batch], subnetworks.all_masks(12))
    expected = np.stack([log_p_of(adapter, batch, mask)[0] for mask in table.masks])
    assert table.complete and len(table.masks) == 4096
    np.testing.assert_allclose(table.log_p, expected, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_layers_with_none_after_them_feed_forward_only_the_token_that_the_head_reads(architecture):
    adapter, batch = LayerwiseAdapter(make_model(architecture)), make_batch()
    fed = []
    for layer in adapter.layers:
        for name, part in layer.named_children():
            if name in FEED_FORWARD:
                part.register_forward_hook(lambda part, args, output: fed.append(output.shape[1]))
    for _ in evaluation.subnetwork_logits(LayerwiseForward(adapter, inputs_of(batch)), subnetworks.all_masks(4)):
        pass
    pairs = 8 // evaluation.LAST_AT_ONCE  # of the first, each layer is computed as a whole, too, to try the short way
    whole = 7 + evaluation.LAST_AT_ONCE
    assert sorted(fed) == [1] * pairs + [batch["input_ids"].shape[1]] * whole


@torch.no_grad()
@pytest.mark.parametrize("padding", ["none", "right", "left"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_short_way_of_a_last_layer_gives_what_the_whole_layer_gives(architecture, padding):
    adapter, batch = LayerwiseAdapter(make_model(architecture)), make_batch()
    if padding == "none":
        batch["attention_mask"][:] = 1
        batch["input_ids"][batch["input_ids"] == 1] = 5
    elif padding == "left":
        batch = {name: value.flip(1) if value.dim() > 1 else value for name, value in batch.items()}
    forward = LayerwiseForward(adapter, inputs_of(batch))
    states = [forward.input_states, forward.apply_layer(0, forward.input_states)]
    whole = forward.apply_last_layer(2, states)  # and tries the short way
    assert forward._short_layers[2, 2]
    for found, expected in zip(forward.apply_last_layer(2, states), whole, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    for state, logits in zip(states, forward.head(whole), strict=True):
        torch.testing.assert_close(logits, forward.run_from(forward.apply_layer(2, state)), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("examples", [1, 5, 9])  # nine, as there are tokens
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_several_states_go_through_a_layer_together_as_each_goes_by_itself(architecture, examples):
    adapter, batch = LayerwiseAdapter(make_model(architecture)), make_batch(examples=max(examples, 2))
    batch = {name: value[:examples] for name, value in batch.items()}
    forward = LayerwiseForward(adapter, inputs_of(batch))
    states = [forward.input_states, *(forward.apply_layer(i, forward.input_states) for i in range(2))]
    calls = []
    adapter.layers[3].register_forward_hook(lambda layer, args, output: calls.append(len(args[0])))
    together = forward.apply_together(3, states)
    assert calls == [2 * examples, examples, examples, 3 * examples]  # two are tried out first
    for found, state in zip(together, states, strict=True):
        torch.testing.assert_close(found, forward.apply_layer(3, state), atol=1e-5, rtol=1e-5)


class AddedInPlace(torch.nn.Module):
    """Attention and feed-forward part side by side, the one added to the other in place, as in Falcon."""

    def __init__(self, layer):
        super().__init__()
        self.attention, self.mlp = layer.attention, layer.intermediate
        self.down = layer.output.dense

    def forward(self, hidden_states, attention_mask=None, *args, **kwargs):
        mixed = self.down(self.mlp(hidden_states))
        mixed += self.attention(hidden_states, attention_mask)[0]
        return mixed


def test_a_layer_that_the_short_way_does_not_fit_is_computed_as_a_whole():
    model, batch = make_model("bert"), make_batch()
    for index, layer in enumerate(model.bert.encoder.layer):
        model.bert.encoder.layer[index] = AddedInPlace(layer)
    adapter = LayerwiseAdapter(model)
    table = evaluation.evaluate(adapter, [batch], subnetworks.all_masks(4))
    for row, mask in enumerate(table.masks):
        np.testing.assert_allclose(table.log_p[row], log_p_of(adapter, batch, mask)[0], atol=1e-5)


def test_a_head_that_reads_all_tokens_is_given_all_of_them():
    model = make_model("modernbert", classifier_pooling="mean", global_attn_every_n_layers=2)
    adapter, batch = LayerwiseAdapter(model), make_batch()
    table = evaluation.evaluate(adapter, [batch], subnetworks.all_masks(4))
    for row, mask in enumerate(table.masks):
        np.testing.assert_allclose(table.log_p[row], log_p_of(adapter, batch, mask)[0], atol=1e-5)


def test_the_walk_applies_each_shared_layer_once_and_holds_few_states():
    alive, most, applied = 0, 0, 0

    class State:
        def __init__(self):
            nonlocal alive, most
            alive += 1
            most = max(most, alive)

        def __del__(self):
            nonlocal alive
            alive -= 1

    def apply(layer, state):
        nonlocal applied
        applied += 1
        return State()

    forward = SimpleNamespace(
        input_states=State(),
        apply_layer=apply,
        apply_last_layer=lambda layer, states: [apply(layer, state) and None for state in states],
        select_read=lambda state: None,
        head=lambda read: None,
        heads_at_once=10,
    )
    rows = [row for rows, _ in evaluation.subnetwork_logits(forward, subnetworks.all_masks(8)) for row in rows]
    assert sorted(rows) == list(range(256)) and applied == 255
    # ... the one that is being made, and those that wait for their last layer
    assert most <= 8 // 2 + 1 + 1 + evaluation.LAST_AT_ONCE - 1


def test_the_values_of_an_example_do_not_depend_on_its_batch():
    adapter, batch = LayerwiseAdapter(make_model("bert")), make_batch()
    alone = [{name: value[row : row + 1] for name, value in batch.items()} for row in range(5)]
    together, apart = (evaluation.evaluate(adapter, b, subnetworks.all_masks(4)).log_p for b in ([batch], alone))
    np.testing.assert_allclose(together, apart, atol=1e-6)


def test_a_killed_evaluation_resumes_at_its_last_batch_for_the_same_model_and_examples(tmp_path, monkeypatch):
    batches, masks, walks, last = [make_batch(seed=0), make_batch(seed=1)], subnetworks.all_masks(4), [], 3

    def walk(*args):
        walks.append(args)
        if len(walks) > last:
            raise KeyboardInterrupt
        return logits(*args)

    def evaluate(batches=batches, **changes):
        walks.clear()
        model = make_model("bert", **changes)
        return evaluation.evaluate(model, batches, masks, batch_evaluation=cached_evaluation(tmp_path, model))

    logits = evaluation.subnetwork_logits
    monkeypatch.setattr(evaluation, "subnetwork_logits", walk)
    with pytest.raises(KeyboardInterrupt):
        evaluate()
    resumed = evaluate()
    assert len(walks) == 1  # of four halves
    expected = evaluation.evaluate(make_model("bert"), batches[:1], masks)
    np.testing.assert_array_equal(resumed.log_p[:, :5], expected.log_p)
    last = 4
    for changes in ({"seed": 1}, {"num_attention_heads": 4}):  # heads change no weight
        assert not np.allclose(evaluate(**changes).log_p, resumed.log_p) and len(walks) == 4
    others = evaluate(batches=[batches[0], make_batch(seed=2)])
    assert len(walks) == 2 and not np.allclose(others.log_p[:, 5:], resumed.log_p[:, 5:])


def test_a_table_is_the_same_from_texts_as_from_batches():
    model, tokenizer, texts, labels = tiny_classifier()
    one = evaluation.evaluate(model, (tokenizer, texts, labels))
    other = evaluation.evaluate(LayerwiseAdapter(model), encode(tokenizer, texts, labels), subnetworks.all_masks(4))
    np.testing.assert_array_equal(one.log_p, other.log_p)
    with pytest.raises(InputError, match="needs labels"):
        evaluation.evaluate(model, (tokenizer, texts))
    with pytest.raises(InputError, match="40 texts and 39 labels"):
        evaluation.evaluate(model, (tokenizer, texts, labels[1:]))


def test_exact_shapley_values_equal_those_of_shap_s_exact_explainer():
    table = make_table(12)

    def value(masks):
        return table.log_p[table.rows(masks.astype(bool))]

    masker = shap.maskers.Independent(np.zeros((1, 12)), max_samples=1)
    explained = shap.ExactExplainer(value, masker)(np.ones((1, 12)), silent=True)
    np.testing.assert_allclose(subnetworks.shapley_values(table), explained.values[0].T, atol=1e-6)


def test_interactions_equal_the_sum_over_all_contexts_of_grabisch_and_roubens():
    table = make_table(5, examples=3)
    value = {tuple(np.flatnonzero(mask)): row for mask, row in zip(table.masks, table.log_p, strict=True)}
    for found, (i, j) in zip(subnetworks.shapley_interactions(table).T, combinations(range(5), 2), strict=True):
        expected = 0
        for size in range(4):
            weight = factorial(size) * factorial(3 - size) / factorial(4)
            for others in combinations([layer for layer in range(5) if layer not in (i, j)], size):
                both, one, other = (value[tuple(sorted((*others, *more)))] for more in ((i, j), (i,), (j,)))
                expected = expected + weight * (both - one - other + value[others])
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_shapley_values_along_all_orders_are_the_exact_ones():
    table = make_table(4)
    orders = np.array(list(permutations(range(4))))
    sample = dataclasses.replace(table, orders=orders)
    np.testing.assert_allclose(subnetworks.shapley_values(sample), subnetworks.shapley_values(table), atol=1e-12)


def test_shapley_values_add_up_to_what_all_layers_gain():
    table = make_table(5)
    np.testing.assert_allclose(subnetworks.shapley_values(table).sum(1), table.log_p[-1] - table.log_p[0], atol=1e-12)


def test_best_greedy_and_leave_one_out_equal_naive_searches():
    table = make_table(5, examples=40)
    values = {
        tuple(np.flatnonzero(k)): (c.mean(), p.mean())
        for k, c, p in zip(table.masks, table.values, table.log_p, strict=True)
    }
    for size in range(6):
        expected = max(combinations(range(5), size), key=values.get)
        assert tuple(np.flatnonzero(table.masks[subnetworks.best_row(table, size)])) == expected
    path = [tuple(range(5))]
    while path[-1]:
        path.append(max(combinations(path[-1], len(path[-1]) - 1), key=values.get))
    assert [tuple(np.flatnonzero(table.masks[row])) for row in subnetworks.greedy_path(table)] == path[::-1]
    for layer, lost in enumerate(subnetworks.leave_one_out(table).mean(0)):
        rest = tuple(i for i in range(5) if i != layer)
        assert lost == pytest.approx(values[tuple(range(5))][1] - values[rest][1])


def test_the_best_choice_by_luck_is_no_better_than_chance_on_other_examples():
    table = make_table(8, examples=2000)  # every choice is right 60 times in 100
    assert table.mean_values[subnetworks.best_row(table, 4)] > 0.62
    counts, second_half = statistics.bootstrap_counts(2000, 2, 0), statistics.split_in_halves(2000)
    assert subnetworks.held_out_best(table, counts, second_half)[4, 0] == pytest.approx(0.6, abs=0.02)


def test_the_best_is_selected_anew_on_one_half_of_each_resample_and_measured_on_the_other():
    table, clusters = make_table(4, examples=30), np.repeat(np.arange(10), 3)
    counts = statistics.bootstrap_counts(30, 6, 0, clusters=clusters)
    second_half = statistics.split_in_halves(30, clusters)
    found = subnetworks.held_out_best(table, counts, second_half)
    for r, drawn in enumerate(counts):
        halves = [np.repeat(np.flatnonzero(half), drawn[half]) for half in (~second_half, second_half)]
        assert not {*clusters[halves[0]]} & {*clusters[halves[1]]}
        for size in range(5):
            rows, total = np.flatnonzero(table.sizes == size), 0
            for chosen, measured in (halves, halves[::-1]):
                best = max(rows, key=lambda row, on=chosen: (table.values[row, on].sum(), table.log_p[row, on].sum()))
                total += table.values[best, measured].sum()
            assert found[size, r] == pytest.approx(total / drawn.sum())


def test_a_deeper_model_is_sampled_along_random_orders_with_its_greedy_path():
    adapter, batch = LayerwiseAdapter(make_model("bert")), make_batch()
    choice = np.array([True, False, False, True])
    table = evaluation.evaluate_or_sample(adapter, [batch], [choice], exhaustive_layers=3, permutations=2, seed=0)
    assert not table.complete and table.orders.shape == (2, 4)
    assert len(np.unique(table.masks, axis=0)) == len(table.masks)
    assert table.rows(choice) >= 0 and len(subnetworks.greedy_path(table)) == 5
    table.rows(subnetworks.nested_masks(table.orders))
    whole = evaluation.evaluate_or_sample(adapter, [batch], [choice], exhaustive_layers=4, permutations=2, seed=0)
    assert whole.complete and whole.orders is None
    np.testing.assert_allclose(table.log_p, whole.log_p[whole.rows(table.masks)], atol=1e-6)


def test_nested_choices_are_the_first_of_an_order():
    assert [np.flatnonzero(mask).tolist() for mask in subnetworks.nested_masks(np.array([2, 0, 1]))] == [
        [],
        [2],
        [0, 2],
        [0, 1, 2],
    ]


def test_evenly_spaced_choices_have_their_size_and_are_symmetric_in_depth():
    for depth in (1, 6, 12):
        mask = subnetworks.evenly_spaced_masks(depth)
        assert mask.sum(1).tolist() == list(range(depth + 1))
    assert np.flatnonzero(subnetworks.evenly_spaced_masks(12)[4]).tolist() == [1, 4, 7, 10]


def test_an_evaluation_without_an_example_is_named():
    with pytest.raises(InputError, match="there is no example"):
        evaluation.evaluate(LayerwiseAdapter(make_model("bert")), [], subnetworks.all_masks(4))


@torch.no_grad()
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_layerwise_forward_pass_gives_the_model_s_logits_however_often(architecture):
    model, batch = make_model(architecture), make_batch()
    forward = LayerwiseForward(LayerwiseAdapter(model), batch)
    expected = model(**inputs_of(batch)).logits
    for _ in range(2):  # a cache of keys would make the second time differ
        states = forward.all_states()
        torch.testing.assert_close(forward.run_from(states[-1]), expected)
        torch.testing.assert_close(forward.run_from(states[2], layer=2), expected)


def test_a_model_of_one_layer_leaves_nothing_to_choose():
    with pytest.raises(InputError, match="nothing to choose"):
        evaluation.evaluate_or_sample(LayerwiseAdapter(make_model("bert", layers=1)), [make_batch()], [], 16, 1, 0)
