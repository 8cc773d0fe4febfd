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

from layerwise import evaluation, statistics, subnetworks
from layerwise.adapter import LayerwiseAdapter
from layerwise.errors import InputError
from layerwise.importance.scoring import score
from layerwise.study.data.interactions import load_interactions, prepare_interactions
from layerwise.study.models import recommender, training
from layerwise.study.models.recommender import TASK, SASRec
from layerwise.study.profiles import RECOMMENDER_METHODS

PRODUCTS, LENGTH = 30, 6


def make_histories(users: int = 90, seed: int = 0) -> list[np.ndarray]:
    """Each user takes products in the order of their numbers; 1 follows 30."""
    draw = np.random.default_rng(seed)
    return [(draw.integers(PRODUCTS) + np.arange(draw.integers(5, 12))) % PRODUCTS + 1 for _ in range(users)]


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    """A recommender that was trained on such histories, its training data, and held-out batches."""
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
    splits = recommender.split_histories(histories, LENGTH, None)
    training_histories = [history[:-2] for history in histories]
    untrained, model = (recommender.build_recommender(parameters, training_histories, PRODUCTS) for _ in range(2))
    log = training.train(model, TASK, splits["train"], splits["validation"], parameters.recipe())
    batches = {name: recommender.make_batches(rows, 16) for name, rows in splits.items() if name != "train"}
    return SimpleNamespace(**locals())


def random_scores(seed: int, decimals: int = 9) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Scores of twelve products for eight users, who took some of them; rounded scores are often equal."""
    draw = torch.Generator().manual_seed(seed)
    scores = torch.rand(8, 13, generator=draw, dtype=torch.double).round(decimals=decimals)
    order = torch.stack([torch.randperm(12, generator=draw) + 1 for _ in range(8)])
    seen = order[:, 1:6] * (torch.arange(5) < torch.arange(8)[:, None])  # none of the first user, padded with 0
    return scores, {"labels": order[:, 0], "seen": seen}


def list_unseen(batch, user) -> list[int]:
    return [product for product in range(1, 13) if product not in batch["seen"][user]]


@pytest.mark.parametrize("decimals", [9, 1])
@pytest.mark.parametrize("seed", range(5))
def test_ndcg_equals_that_of_scikit_learn_also_where_scores_are_equal(seed, decimals):
    scores, batch = random_scores(seed, decimals)
    ndcg = recommender.ranking_metrics(scores, batch)[:, 1]
    for user in range(8):
        ranked = list_unseen(batch, user)
        relevant = [[int(product == batch["labels"][user]) for product in ranked]]
        assert ndcg[user] == pytest.approx(ndcg_score(relevant, [scores[user, ranked].tolist()], k=10), abs=1e-9)


@pytest.mark.parametrize("decimals", [9, 0])
def test_ranking_metrics_are_means_over_all_orders_of_equal_scores(decimals):
    scores, batch = random_scores(0, decimals)
    batch["seen"] = torch.stack([torch.randperm(12)[:12] + 1 for _ in range(8)])[:, :7]  # five are left: 120 orders
    batch["labels"] = torch.tensor([list_unseen(batch, user)[0] for user in range(8)])
    metrics = recommender.ranking_metrics(scores, batch)
    for user in range(8):
        by_hand = []
        for order in permutations(list_unseen(batch, user)):
            values = [scores[user, product] for product in order]
            if values == sorted(values, reverse=True):
                rank = order.index(batch["labels"][user]) + 1
                by_hand.append([float(rank <= 10), (rank <= 10) / np.log2(rank + 1), 1 / rank])
        np.testing.assert_allclose(metrics[user], np.mean(by_hand, axis=0), rtol=0, atol=1e-9)


def test_beyond_rank_ten_only_the_reciprocal_rank_is_above_zero():
    scores = -torch.arange(20.0)[None]
    batch = {"labels": torch.tensor([11]), "seen": torch.zeros(1, 1, dtype=torch.long)}
    np.testing.assert_allclose(recommender.ranking_metrics(scores, batch), [[0, 0, 1 / 11]], atol=1e-12)
    batch["seen"] = torch.tensor([[3]])  # one fewer above it
    np.testing.assert_allclose(recommender.ranking_metrics(scores, batch), [[1, 1 / np.log2(11), 1 / 10]], atol=1e-12)


def test_no_input_contains_a_held_out_product_or_a_later_one():
    # no two users share products, so that a number gives the user and the place in the history
    histories = [np.arange(1, 9) + 100 * user for user in range(30)]
    splits = recommender.split_histories(histories, 4, None)
    last, before = {h[-1] for h in histories}, {h[-2] for h in histories}
    for row in splits["train"]:
        assert not {*row["input_ids"], *row["labels"]} & (last | before)
    for name in ("validation", "analysis", "selection"):
        for row in splits[name]:
            assert row["labels"] in before and not {*row["input_ids"], *row["seen"]} & (last | before)
    for row, history in zip(splits["test"], histories, strict=True):
        assert row["labels"] == history[-1] and row["seen"] == history[:-1].tolist()
        assert row["input_ids"] == history[-5:-1].tolist()
    for name, size in (("validation", 10), ("analysis", 10), ("selection", 10), ("test", 30)):
        assert len(splits[name]) == size
    users = [{row["labels"] // 100 for row in splits[name]} for name in ("validation", "analysis", "selection")]
    assert not set.intersection(*users) and len(set.union(*users)) == 30


@pytest.mark.parametrize("length", [1, 4, 50])
def test_each_product_of_a_history_but_the_first_is_a_label_once_after_those_before_it(length):
    history = np.arange(1, 12)
    rows = recommender.cut_windows([history, history[:1]], length)
    assert sorted(label for row in rows for label in row["labels"]) == history[1:].tolist()
    for row in rows:
        assert row["labels"] == [product + 1 for product in row["input_ids"]] and len(row["labels"]) <= length


def test_the_order_of_products_is_learned_from_few_histories_and_popularity_does_not_predict_it(setting):
    transformer, popularity = (
        recommender.evaluate_recommender(each, setting.batches["test"]).mean(0)
        for each in (
            recommender.as_recommender(setting.model),
            recommender.fit_popularity(setting.training_histories, PRODUCTS),
        )
    )
    assert transformer[1] > 0.9 > 0.4 > popularity[1]


def test_training_ends_with_the_epoch_of_the_best_ndcg_and_all_evaluations_agree_on_it(setting):
    ndcg = TASK.evaluate(setting.model, setting.batches["validation"]).mean()
    logged = [row["eval_ndcg_10"] for row in setting.log if "eval_ndcg_10" in row]
    assert ndcg == pytest.approx(max(logged), abs=1e-9)
    metrics = recommender.evaluate_recommender(recommender.as_recommender(setting.model), setting.batches["validation"])
    assert metrics[:, 1].mean() == pytest.approx(ndcg, abs=1e-9)


def test_layers_change_nothing_before_training(setting):
    batch = inputs_of(setting.batches["test"][0])
    batch.pop("seen")
    adapter = LayerwiseAdapter(setting.untrained.eval())
    with torch.no_grad(), adapter.bypass(range(3)) as model:
        without = model(**batch).logits
    torch.testing.assert_close(setting.untrained(**batch).logits, without)
    embeddings = setting.untrained.get_input_embeddings().weight.detach()[1:]
    similarity = torch.nn.functional.cosine_similarity(embeddings, embeddings.roll(-1, 0)).mean()
    assert similarity > 0.5  # consecutive products have similar embeddings


def test_the_loss_is_the_mean_over_every_place_of_every_history(setting, tmp_path):
    rows = setting.splits["train"].to_list()[:5]
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    model = setting.model.eval()
    loss = recommender.NextProduct(model, arguments).compute_loss(model, recommender.collate(rows))
    by_hand = [
        cross_entropy(model(torch.tensor([row["input_ids"][: place + 1]])).logits, torch.tensor([label]))
        for row in rows
        for place, label in enumerate(row["labels"])
    ]
    torch.testing.assert_close(loss, torch.stack(by_hand).mean())


def test_a_student_learns_the_predictions_and_states_of_its_teacher_at_every_place(setting, tmp_path):
    teacher, rows = setting.model, setting.splits["train"].to_list()[:5]
    student = LayerwiseAdapter(teacher).keep([0, 2]).eval()
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    trainer = recommender.NextProductDistillation(student, arguments, teacher=teacher, kept=[0, 2])
    batch = recommender.collate(rows)
    loss = trainer.compute_loss(student, dict(batch))

    def soften(model):
        places = [row["input_ids"][: place + 1] for row in rows for place in range(len(row["input_ids"]))]
        return torch.cat([(model(torch.tensor([place])).logits / 2).softmax(1) for place in places])

    with torch.no_grad():
        target, prediction = soften(teacher), soften(student)
        by_hand = 4 * (target * (target / prediction).log()).sum(1).mean()
        real = batch["attention_mask"].bool()
        inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
        states, targets = (m(**inputs, output_hidden_states=True).hidden_states for m in (student, teacher))
        for own, other in ((1, 2), (2, 3)):
            by_hand += (states[own][real] - targets[other][real]).square().mean() / targets[other][real].var() / 2
    torch.testing.assert_close(loss.detach(), by_hand)


def test_healing_makes_a_student_more_like_its_teacher(setting, tmp_path):
    student = LayerwiseAdapter(setting.model).keep([1])
    recipe = setting.parameters.recipe(epochs=6)
    rows = setting.splits["train"], setting.splits["validation"]
    healed = training.heal(student, setting.model, [1], TASK, *rows, recipe)
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    batch = recommender.collate(setting.splits["test"].remove_columns("seen").to_list())
    before, after = (
        recommender.NextProductDistillation(model, arguments, teacher=setting.model, kept=[1]).compute_loss(
            model, batch
        )
        for model in (LayerwiseAdapter(setting.model).keep([1]), healed)
    )
    assert after < 0.7 * before
    assert TASK.evaluate(healed, setting.batches["test"]).mean() > 0.8


def test_neither_padding_nor_later_products_change_a_prediction(setting):
    long, short = np.arange(1, 7), np.arange(4, 7)
    together = recommender.collate(recommender.hold_out([np.append(h, 1) for h in (long, short)], 1, LENGTH).to_list())
    with torch.no_grad():
        logits = setting.model.eval()(**{name: together[name] for name in ("input_ids", "attention_mask")}).logits
        for row, history in enumerate((long, short)):
            torch.testing.assert_close(logits[row], setting.model(torch.tensor(history)[None]).logits[0])
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
    for one, other in zip(*(recommender.as_recommender(m)(batch) for m in (loaded, setting.model)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_the_adapter_bypasses_and_keeps_layers_of_a_recommender(setting):
    adapter, batch = LayerwiseAdapter(setting.model.eval()), setting.batches["test"][0]
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    smaller = adapter.keep([0, 2])
    with torch.no_grad(), adapter.bypass([1]) as model:
        torch.testing.assert_close(smaller(**inputs).logits, model(**inputs).logits)
    assert smaller.score.weight is smaller.get_input_embeddings().weight
    assert smaller.num_parameters() < setting.model.num_parameters()


@pytest.mark.parametrize("method", RECOMMENDER_METHODS)
def test_each_method_of_the_recommender_scores_every_user_and_layer(setting, method):
    scores = score(setting.model, setting.batches["analysis"], method).per_example
    assert scores.shape == (30, 3) and scores.std() > 0


def test_a_sub_network_has_the_ndcg_of_the_model_that_keeps_its_layers(setting):
    adapter, batches = LayerwiseAdapter(setting.model), setting.batches["selection"]
    table = evaluation.evaluate(adapter, batches, subnetworks.all_masks(3), TASK.metric)
    for mask, ndcg in zip(table.masks[1:], table.values[1:], strict=True):
        smaller = adapter.keep(np.flatnonzero(mask).tolist())
        np.testing.assert_allclose(
            ndcg, recommender.evaluate_recommender(recommender.as_recommender(smaller), batches)[:, 1], atol=1e-9
        )
    assert table.mean_values[-1] == pytest.approx(TASK.evaluate(setting.model, batches).mean(), abs=1e-9)


def test_no_recommender_recommends_a_product_that_the_user_has_taken(setting):
    validation = setting.batches["validation"]
    baselines, trials = recommender.fit_baselines(setting.training_histories, PRODUCTS, validation, seed=0)
    assert list(baselines) == ["popularity", "item_neighbours", "als"]
    for name, baseline in baselines.items():
        best = max(trial["ndcg_10"] for trial in trials if trial["name"] == name)
        ndcg = recommender.evaluate_recommender(baseline, validation)[:, 1].mean()
        assert ndcg == pytest.approx(best), name
    for each in (*baselines.values(), recommender.as_recommender(setting.model)):
        for batch in setting.batches["test"]:
            for user, products in enumerate(recommender.top_products(each, batch)):
                assert len(set(products)) == 10 and not {*products} & {0, *batch["seen"][user].tolist()}


def test_popularity_counts_users_and_item_neighbours_add_up_similarities(setting):
    batch = setting.batches["test"][0]
    histories = setting.training_histories
    counts = np.bincount(np.concatenate(histories), minlength=PRODUCTS + 1)
    np.testing.assert_array_equal(recommender.fit_popularity(histories, PRODUCTS)(batch)[3], counts)
    taken = np.zeros((len(histories), PRODUCTS + 1))
    for user, history in enumerate(histories):
        taken[user, history] = 1
    # inverse document frequency: users who took many products have a small weight
    weighted = taken * (np.log(PRODUCTS + 1) - np.log1p(taken.sum(1)))[:, None]
    weighted /= np.maximum(np.linalg.norm(weighted, axis=0), 1e-12)
    scores = recommender.fit_item_neighbours(histories, PRODUCTS, PRODUCTS + 1)(batch)
    by_hand = [(weighted.T @ weighted)[batch["seen"][user][batch["seen"][user] > 0]].sum(0) for user in range(4)]
    np.testing.assert_allclose(scores[:4], by_hand, rtol=1e-6, atol=1e-9)


def test_metrics_are_means_over_users_with_intervals_around_them():
    values = np.random.default_rng(0).random((50, 3))
    metrics = recommender.summarise_metrics(values, statistics.bootstrap_counts(50, 200, seed=0))
    for name, mean in zip(("hit_rate_10", "ndcg_10", "mrr"), values.mean(0), strict=True):
        interval = getattr(metrics, name)
        assert interval.value == pytest.approx(mean) and interval.low < mean < interval.high and interval.n == 50


def test_products_are_recommended_by_titles_and_an_unknown_title_is_refused(tmp_path):
    parameters = parameters_for(tmp_path)
    prepare_interactions(parameters)
    histories, products = load_interactions(parameters)
    popularity = recommender.fit_popularity(histories, len(products))
    titles = recommender.recommend(popularity, products, ["Toy Story (1995)", "50"], 5)
    assert len(titles) == 10 and "Star Wars (1977)" not in titles  # it has the number 50 in MovieLens
    with pytest.raises(InputError, match="nobody took a product called 'Toy Story 9'"):
        recommender.recommend(popularity, products, ["Toy Story (1995)", "Toy Story 9"], 5)
