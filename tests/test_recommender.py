from itertools import permutations
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import inputs_of
from sklearn.metrics import ndcg_score
from test_interactions import parameters_for
from torch.nn.functional import cross_entropy
from transformers import TrainingArguments

from layerwise import grading, importance, recommender, subsets, training
from layerwise.adapter import LayerwiseAdapter
from layerwise.errors import InputError
from layerwise.interactions import load, prepare
from layerwise.recommender import TASK, SASRec

PRODUCTS, LENGTH = 30, 6


def make_histories(users: int = 90, seed: int = 0) -> list[np.ndarray]:
    """Whoever takes a product takes the next one after it; 30 comes before 1."""
    draw = np.random.default_rng(seed)
    return [(draw.integers(PRODUCTS) + np.arange(draw.integers(5, 12))) % PRODUCTS + 1 for _ in range(users)]


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """A recommender that was trained on such histories, what it learned from, and batches that were held out."""
    values = {
        "layers": 3,
        "hidden_size": 16,
        "max_length": LENGTH,
        "epochs": 12,
        "learning_rate": 0.01,
        "batch_size": 8,
    }
    parameters = parameters_for(
        tmp_path_factory.mktemp("recommender"), **{f"recommender_{name}": value for name, value in values.items()}
    ).for_the_recommender()
    histories = make_histories()
    splits = recommender.split(histories, LENGTH, None)
    learn = [history[:-2] for history in histories]
    untrained, model = (recommender.build(parameters, learn, PRODUCTS) for _ in range(2))
    log = training.train(model, TASK, splits["train"], splits["validation"], parameters, "")
    batches = {name: recommender.batches(rows, 16) for name, rows in splits.items() if name != "train"}
    return SimpleNamespace(**locals())


def random_scores(seed: int, decimals: int = 9) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Scores of twelve products for eight users, each of whom has had some; rounded, they are often alike."""
    draw = torch.Generator().manual_seed(seed)
    scores = torch.rand(8, 13, generator=draw, dtype=torch.double).round(decimals=decimals)
    order = torch.stack([torch.randperm(12, generator=draw) + 1 for _ in range(8)])
    seen = order[:, 1:6] * (torch.arange(5) < torch.arange(8)[:, None])  # of the first user none, padded with 0
    return scores, {"labels": order[:, 0], "seen": seen}


def unseen(batch, user) -> list[int]:
    return [product for product in range(1, 13) if product not in batch["seen"][user]]


@pytest.mark.parametrize("decimals", [9, 1])
@pytest.mark.parametrize("seed", range(5))
def test_ndcg_is_that_of_scikit_learn_where_scores_are_alike_as_well(seed, decimals):
    scores, batch = random_scores(seed, decimals)
    found = recommender.measures(scores, batch)[:, 1]
    for user in range(8):
        ranked = unseen(batch, user)
        relevant = [[int(product == batch["labels"][user]) for product in ranked]]
        assert found[user] == pytest.approx(ndcg_score(relevant, [scores[user, ranked].tolist()], k=10), abs=1e-9)


@pytest.mark.parametrize("decimals", [9, 0])
def test_the_measures_are_means_over_all_orders_that_the_scores_allow(decimals):
    scores, batch = random_scores(0, decimals)
    batch["seen"] = torch.stack([torch.randperm(12)[:12] + 1 for _ in range(8)])[:, :7]  # five are left: 120 orders
    batch["labels"] = torch.tensor([unseen(batch, user)[0] for user in range(8)])
    found = recommender.measures(scores, batch)
    for user in range(8):
        by_hand = []
        for order in permutations(unseen(batch, user)):
            values = [scores[user, product] for product in order]
            if values == sorted(values, reverse=True):
                rank = order.index(batch["labels"][user]) + 1
                by_hand.append([float(rank <= 10), (rank <= 10) / np.log2(rank + 1), 1 / rank])
        np.testing.assert_allclose(found[user], np.mean(by_hand, axis=0), rtol=0, atol=1e-9)


def test_beyond_rank_ten_only_the_reciprocal_rank_is_left():
    scores = -torch.arange(20.0)[None]
    batch = {"labels": torch.tensor([11]), "seen": torch.zeros(1, 1, dtype=torch.long)}
    np.testing.assert_allclose(recommender.measures(scores, batch), [[0, 0, 1 / 11]], atol=1e-12)
    batch["seen"] = torch.tensor([[3]])  # one less above it
    np.testing.assert_allclose(recommender.measures(scores, batch), [[1, 1 / np.log2(11), 1 / 10]], atol=1e-12)


def test_no_product_that_is_asked_for_is_ever_in_an_input_nor_any_later_one():
    # everyone has products of their own, so that a number tells whose it is and where in the history it stood
    histories = [np.arange(1, 9) + 100 * user for user in range(30)]
    found = recommender.split(histories, 4, None)
    last, before = {h[-1] for h in histories}, {h[-2] for h in histories}
    for row in found["train"]:
        assert not {*row["input_ids"], *row["labels"]} & (last | before)
    for name in ("validation", "analysis", "selection"):
        for row in found[name]:
            assert row["labels"] in before and not {*row["input_ids"], *row["seen"]} & (last | before)
    for row, history in zip(found["test"], histories, strict=True):
        assert row["labels"] == history[-1] and row["seen"] == history[:-1].tolist()
        assert row["input_ids"] == history[-5:-1].tolist()
    for name, size in (("validation", 10), ("analysis", 10), ("selection", 10), ("test", 30)):
        assert len(found[name]) == size
    users = [{row["labels"] // 100 for row in found[name]} for name in ("validation", "analysis", "selection")]
    assert not set.intersection(*users) and len(set.union(*users)) == 30


@pytest.mark.parametrize("length", [1, 4, 50])
def test_all_products_of_a_history_but_the_first_are_learned_once_from_those_before(length):
    history = np.arange(1, 12)
    rows = recommender.windows([history, history[:1]], length)
    assert sorted(label for row in rows for label in row["labels"]) == history[1:].tolist()
    for row in rows:
        assert row["labels"] == [product + 1 for product in row["input_ids"]] and len(row["labels"]) <= length


def test_who_follows_whom_is_learned_from_nearly_nothing_and_popularity_knows_it_not(setting):
    found = recommender.measured(recommender.transformer(setting.model), setting.batches["test"]).mean(0)
    blind = recommender.measured(recommender.popularity(setting.learn, PRODUCTS), setting.batches["test"]).mean(0)
    assert found[1] > 0.9 > 0.4 > blind[1]


def test_the_trainer_keeps_the_epoch_of_the_best_ndcg_as_it_is_measured_here(setting):
    found = TASK.gains(setting.model, setting.batches["validation"]).mean()
    logged = [row["eval_ndcg_10"] for row in setting.log if "eval_ndcg_10" in row]
    assert found == pytest.approx(max(logged), abs=1e-9)
    measured = recommender.measured(recommender.transformer(setting.model), setting.batches["validation"])
    assert measured[:, 1].mean() == pytest.approx(found, abs=1e-9)


def test_a_layer_changes_nothing_before_it_has_learned(setting):
    batch = inputs_of(setting.batches["test"][0])
    batch.pop("seen")
    adapter = LayerwiseAdapter(setting.untrained.eval())
    with torch.no_grad(), adapter.bypass(range(3)) as model:
        without = model(**batch).logits
    torch.testing.assert_close(setting.untrained(**batch).logits, without)
    near = setting.untrained.get_input_embeddings().weight.detach()[1:]
    similar = torch.nn.functional.cosine_similarity(near, near.roll(-1, 0)).mean()
    assert similar > 0.5  # neighbours lie near each other


def test_the_loss_is_that_of_every_place_of_every_history(setting, tmp_path):
    rows = setting.splits["train"].to_list()[:5]
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    model = setting.model.eval()
    found = recommender.NextProduct(model, arguments).compute_loss(model, recommender.collate(rows))
    by_hand = [
        cross_entropy(model(torch.tensor([row["input_ids"][: place + 1]])).logits, torch.tensor([label]))
        for row in rows
        for place, label in enumerate(row["labels"])
    ]
    torch.testing.assert_close(found, torch.stack(by_hand).mean())


def test_a_student_learns_what_its_teacher_expects_at_every_place(setting, tmp_path):
    teacher, rows = setting.model, setting.splits["train"].to_list()[:5]
    student = LayerwiseAdapter(teacher).keep([0, 2]).eval()
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    trainer = recommender.NextProductDistillation(student, arguments, teacher=teacher, kept=[0, 2])
    batch = recommender.collate(rows)
    found = trainer.compute_loss(student, dict(batch))

    def soft(model):
        places = [row["input_ids"][: place + 1] for row in rows for place in range(len(row["input_ids"]))]
        return torch.cat([(model(torch.tensor([place])).logits / 2).softmax(1) for place in places])

    with torch.no_grad():
        asked, mine = soft(teacher), soft(student)
        by_hand = 4 * (asked * (asked / mine).log()).sum(1).mean()
        real = batch["attention_mask"].bool()
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        states, right = (m(**inputs, output_hidden_states=True).hidden_states for m in (student, teacher))
        for mine, asked in ((1, 2), (2, 3)):
            by_hand += (states[mine][real] - right[asked][real]).square().mean() / right[asked][real].var() / 2
    torch.testing.assert_close(found.detach(), by_hand)


def test_healing_brings_a_student_nearer_to_its_teacher(setting, tmp_path):
    student = LayerwiseAdapter(setting.model).keep([1])
    recipe = setting.parameters.model_copy(update={"heal_epochs": 6})
    rows = setting.splits["train"], setting.splits["validation"]
    healed = training.heal(student, setting.model, [1], TASK, *rows, recipe, "")
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    batch = recommender.collate(setting.splits["test"].remove_columns("seen").to_list())
    before, after = (
        recommender.NextProductDistillation(model, arguments, teacher=setting.model, kept=[1]).compute_loss(
            model, batch
        )
        for model in (LayerwiseAdapter(setting.model).keep([1]), healed)
    )
    assert after < 0.7 * before
    assert TASK.gains(healed, setting.batches["test"]).mean() > 0.8


def test_neither_padding_nor_what_comes_later_changes_what_is_expected(setting):
    long, short = np.arange(1, 7), np.arange(4, 7)
    together = recommender.collate(recommender.held_out([np.append(h, 1) for h in (long, short)], 1, LENGTH).to_list())
    with torch.no_grad():
        found = setting.model.eval()(**{name: together[name] for name in ("input_ids", "attention_mask")}).logits
        for row, history in enumerate((long, short)):
            torch.testing.assert_close(found[row], setting.model(torch.tensor(history)[None]).logits[0])
        hidden = setting.model(torch.tensor(long)[None], output_hidden_states=True).hidden_states[-1]
        torch.testing.assert_close(
            setting.model.score(hidden[0, 2]), setting.model(torch.tensor(long[None, :3])).logits[0]
        )


def test_a_saved_recommender_gives_the_same_scores_and_has_its_embeddings_once(setting, tmp_path):
    setting.model.save_pretrained(tmp_path)
    loaded = SASRec.from_pretrained(tmp_path).eval()
    assert loaded.score.weight is loaded.get_input_embeddings().weight
    assert loaded.num_parameters() == setting.model.num_parameters()
    batch = setting.batches["test"][0]
    for one, other in zip(*(recommender.transformer(m)(batch) for m in (loaded, setting.model)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_adapter_takes_it_apart_as_it_does_a_classifier(setting):
    adapter, batch = LayerwiseAdapter(setting.model.eval()), setting.batches["test"][0]
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    kept = adapter.keep([0, 2])
    with torch.no_grad(), adapter.bypass([1]) as model:
        torch.testing.assert_close(kept(**inputs).logits, model(**inputs).logits)
    assert kept.score.weight is kept.get_input_embeddings().weight
    assert kept.num_parameters() < setting.model.num_parameters()


@pytest.mark.parametrize("method", recommender.SCORES)
def test_each_score_that_makes_sense_is_there_for_every_user_and_layer(setting, method):
    found = importance.score(method, LayerwiseAdapter(setting.model), setting.batches["analysis"])
    assert found.shape == (30, 3) and found.std() > 0


def test_a_sub_network_is_worth_the_ndcg_of_the_model_that_keeps_its_layers(setting):
    adapter, batches = LayerwiseAdapter(setting.model), setting.batches["selection"]
    table = subsets.evaluate(adapter, batches, subsets.every(3), TASK.gain)
    for kept, gain in zip(table.kept[1:], table.gain[1:], strict=True):
        smaller = adapter.keep(np.flatnonzero(kept).tolist())
        np.testing.assert_allclose(
            gain, recommender.measured(recommender.transformer(smaller), batches)[:, 1], atol=1e-9
        )
    assert table.mean_gain[-1] == pytest.approx(TASK.gains(setting.model, batches).mean(), abs=1e-9)


def test_nobody_is_recommended_what_they_have_had_by_anyone(setting):
    rivals, trials = recommender.baselines(setting.learn, PRODUCTS, setting.batches["validation"], seed=0)
    assert list(rivals) == ["popularity", "item_neighbours", "als"]
    for name, rival in rivals.items():
        best = max(trial["ndcg_10"] for trial in trials if trial["name"] == name)
        found = recommender.measured(rival, setting.batches["validation"])[:, 1].mean()
        assert found == pytest.approx(best), name
    for recommends in (*rivals.values(), recommender.transformer(setting.model)):
        for batch in setting.batches["test"]:
            for user, found in enumerate(recommender.top(recommends, batch)):
                assert len(set(found)) == 10 and not {*found} & {0, *batch["seen"][user].tolist()}


def test_popularity_counts_and_item_neighbours_add_up_likenesses(setting):
    batch = setting.batches["test"][0]
    counts = np.bincount(np.concatenate(setting.learn), minlength=PRODUCTS + 1)
    np.testing.assert_array_equal(recommender.popularity(setting.learn, PRODUCTS)(batch)[3], counts)
    taken = np.zeros((len(setting.learn), PRODUCTS + 1))
    for user, history in enumerate(setting.learn):
        taken[user, history] = 1
    # users who took much say little: their weight is the logarithm of how rare they are among the products
    weighted = taken * (np.log(PRODUCTS + 1) - np.log1p(taken.sum(1)))[:, None]
    weighted /= np.maximum(np.linalg.norm(weighted, axis=0), 1e-12)
    found = recommender.item_neighbours(setting.learn, PRODUCTS, PRODUCTS + 1)(batch)
    by_hand = [(weighted.T @ weighted)[batch["seen"][user][batch["seen"][user] > 0]].sum(0) for user in range(4)]
    np.testing.assert_allclose(found[:4], by_hand, rtol=1e-6, atol=1e-9)


def test_metrics_are_means_over_users_with_intervals_around_them():
    measured = np.random.default_rng(0).random((50, 3))
    found = recommender.metrics(measured, grading.resamples(50, 200, seed=0))
    for name, mean in zip(("hit_rate_10", "ndcg_10", "mrr"), measured.mean(0), strict=True):
        interval = getattr(found, name)
        assert interval.value == pytest.approx(mean) and interval.low < mean < interval.high and interval.n == 50


def test_somebody_asks_with_titles_and_an_unknown_one_is_refused(tmp_path):
    parameters = parameters_for(tmp_path)
    prepare(parameters)
    histories, products = load(parameters)
    popular = recommender.popularity(histories, len(products))
    found = recommender.recommend(popular, products, ["Toy Story (1995)", "50"], 5)
    assert len(found) == 10 and "Star Wars (1977)" not in found  # whose number in MovieLens is 50
    with pytest.raises(InputError, match="nobody took a product called 'Toy Story 9'"):
        recommender.recommend(popular, products, ["Toy Story (1995)", "Toy Story 9"], 5)
