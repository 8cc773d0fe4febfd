import copy
from functools import partial

import numpy as np
import pytest
import torch
from conftest import ARCHITECTURES, inputs_of, make_batch, make_model, make_reviews
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from layerwise import distillation
from layerwise.adapter import LayerwiseAdapter
from layerwise.errors import InputError
from layerwise.importance import scoring
from layerwise.study.config import Parameters
from layerwise.study.data.reviews import load_reviews, prepare_reviews
from layerwise.study.models import classifier, training


@pytest.fixture
def setting(tmp_path):
    """Parameters of a tiny run, and what a training of it needs."""
    make_reviews(300).to_parquet(tmp_path / "reviews.parquet")
    values = {"layers": 2, "hidden_size": 16, "vocabulary_size": 200, "epochs": 3, "learning_rate": 1e-3}
    parameters = Parameters.check(
        {"runs": str(tmp_path / "runs"), "source": str(tmp_path / "reviews.parquet")} | values
    )
    prepare_reviews(parameters)

    def build():
        train, validation = load_reviews(parameters, "train"), load_reviews(parameters, "validation")
        tokenizer, model = classifier.build_classifier(parameters, train)
        tokens = [classifier.tokenize(tokenizer, split) for split in (train, validation)]
        return model, (model, training.classification(tokenizer), *tokens, parameters.recipe())

    return parameters, build


def tokenizer_of(task):
    return task.trainer.keywords["data_collator"].tokenizer


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@torch.no_grad()
def test_the_longest_input_that_is_allowed_goes_through_the_model_and_a_longer_one_has_no_positions(architecture):
    model = make_model(architecture)
    longest = classifier._positions(model)
    ids = torch.full((1, longest + 1), 5)
    assert model(input_ids=ids[:, 1:]).logits.shape == (1, 2)
    if any("position_embeddings" in name or "wpe" in name for name, _ in model.named_parameters()):
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=ids)


class Killed(Exception):
    pass


class KillAtSave(TrainerCallback):
    """When the checkpoint is saved after which training stops."""

    def on_save(self, args, state, control, **kwargs):
        if control.should_training_stop:
            raise Killed


class KillAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            raise Killed


@pytest.mark.parametrize("layer_drop", [0.0, 0.5])
def test_a_killed_run_resumes_from_its_checkpoint_to_the_same_weights_and_log(setting, monkeypatch, layer_drop):
    parameters, build_plain = setting

    def build():
        model, (*others, plain) = build_plain()
        return model, (*others, plain.model_copy(update={"layer_drop": layer_drop}))

    whole, arguments = build()
    expected = training.train(*arguments)
    training.clear_cache(parameters.recipe())

    _, arguments = build()
    steps_an_epoch = expected[-1]["step"] // parameters.epochs
    with monkeypatch.context() as patch:
        patch.setattr(training, "TerminalProgress", lambda: KillAt(2 * steps_an_epoch - 1))
        with pytest.raises(Killed):
            training.train(*arguments)
    (saved,) = parameters.run_dir.glob("cache/*/checkpoints/checkpoint-*")
    (saved.parent / "checkpoint-999999").mkdir()  # as a kill leaves it that came while it was written

    resumed, arguments = build()
    steps = []
    monkeypatch.setattr(
        training.TerminalProgress,
        "on_step_end",
        lambda self, args, state, control, **_: steps.append(state.global_step),
    )
    log = training.train(*arguments)
    assert min(steps) == steps_an_epoch + 1  # the first epoch was not done again
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], weight, rtol=0, atol=0)
    assert log[:-1] == expected[:-1]  # the last row sums up the part that was run
    assert not list(parameters.run_dir.glob("cache/*/checkpoints"))


@pytest.mark.parametrize("kill", [KillAt, KillAtSave])
def test_a_resumed_run_stops_as_early_as_one_that_was_not_killed_and_a_finished_model_is_cached(
    setting, monkeypatch, kill
):
    parameters, build = setting
    accuracies = [0.8, 0.7, 0.6, 0.9, 0.95, 0.99]

    def learn(done=0):
        model, (_, task, train, validation, plain) = build()
        found = iter(accuracies[done:])
        options = task.trainer.keywords | {"compute_metrics": lambda _: {"accuracy": next(found)}}
        task = task._replace(trainer=partial(Trainer, **options))
        patient = plain.model_copy(update={"epochs": 6, "patience": 2})
        return model, training.train(model, task, train, validation, patient)

    whole, expected = learn()
    assert sum("eval_accuracy" in row for row in expected) == 3
    training.clear_cache(parameters.recipe())
    steps_an_epoch = expected[-1]["step"] // 3
    with monkeypatch.context() as patch:
        patch.setattr(
            training, "TerminalProgress", lambda: KillAt(3 * steps_an_epoch - 1) if kill is KillAt else KillAtSave()
        )
        with pytest.raises(Killed):
            learn()
    assert len(list(parameters.run_dir.glob("cache/*/checkpoints/*"))) == 2  # the best and the last
    resumed, log = learn(done=2 if kill is KillAt else 1)  # what was to stop goes on from the best
    assert log[:-1] == expected[:-1]
    monkeypatch.setattr(Trainer, "train", lambda *args, **kwargs: pytest.fail("it is trained again"))
    again, same = learn()
    assert same == log
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]) and torch.equal(weight, again.state_dict()[name]), name


def test_a_checkpoint_of_other_parameters_or_reviews_is_not_resumed(setting, monkeypatch):
    parameters, build = setting
    _, arguments = build()
    with monkeypatch.context() as patch:
        patch.setattr(training, "TerminalProgress", lambda: KillAt(8))
        with pytest.raises(Killed):
            training.train(*arguments)
    (folder,) = parameters.run_dir.glob("cache/*")
    model, (_, task, train, validation, recipe) = build()
    other = recipe.model_copy(update={"learning_rate": 2e-3})

    def key(model=model, train=train, recipe=recipe):
        return training._fingerprint(task, model, train, validation, recipe, "early stopping")

    assert key() == folder.name
    assert key(recipe=other) != folder.name and key(train=train.take(len(train) - 1)) != folder.name
    changed = copy.deepcopy(model)
    changed.classifier.out_proj.bias.data += 1
    assert key(model=changed) != folder.name
    steps = []
    monkeypatch.setattr(
        training.TerminalProgress,
        "on_step_end",
        lambda self, args, state, control, **_: steps.append(state.global_step),
    )
    training.train(model, task, train, validation, other)
    assert min(steps) == 1


def test_layer_drop_leaves_a_share_of_the_layers_out_of_the_steps_and_none_out_of_evaluation(setting):
    _, build = setting
    model, (*others, recipe) = build()
    computed = {True: [0, 0], False: [0, 0]}
    passes = {True: 0, False: 0}
    for i, layer in enumerate(LayerwiseAdapter(model).layers):
        layer.attention.register_forward_pre_hook(
            lambda m, _, i=i: computed[m.training].__setitem__(i, computed[m.training][i] + 1)
        )
    model.register_forward_pre_hook(lambda m, _: passes.__setitem__(m.training, passes[m.training] + 1))
    training.train(model, *others[1:], recipe.model_copy(update={"layer_drop": 0.25, "epochs": 20, "patience": 20}))
    assert passes[True] > 100 and computed[False] == [passes[False]] * 2
    for times in computed[True]:
        assert times / passes[True] == pytest.approx(0.75, abs=0.12)
    assert computed[True][0] != computed[True][1]  # each for itself


def test_training_ends_with_the_weights_of_the_best_validation_accuracy(setting):
    _, build = setting
    model, arguments = build()
    log = training.train(*arguments)
    task, validation = arguments[1], arguments[3]
    found = task.evaluate(model, classifier.make_batches(tokenizer_of(task), validation)).mean()
    assert found == pytest.approx(max(row["eval_accuracy"] for row in log if "eval_accuracy" in row))


def test_recorded_gradient_norms_are_those_of_autograd_at_the_first_step(setting, monkeypatch):
    _, build = setting
    monkeypatch.setattr(training, "RECORDED_STEPS", 10**6)  # every step
    seen = []

    class FirstBatch(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
            if not seen:
                clipped = [p.grad.clone() for layer in LayerwiseAdapter(model).layers for p in layer.parameters()]
                seen.append(np.sqrt(sum(float(g.square().sum()) for g in clipped)))
                seen.append(
                    np.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None))
                )

    monkeypatch.setattr(training, "TerminalProgress", FirstBatch)
    _, arguments = build()
    first = training.train(*arguments)[0]
    layers, whole = seen
    assert np.linalg.norm(first["layer_gradient_norms"]) / first["grad_norm"] == pytest.approx(layers / whole, rel=1e-4)
    assert len(first["layer_gradient_norms"]) == 2


def test_checkpoints_that_cannot_be_written_are_named(setting):
    parameters, build = setting
    _, arguments = build()
    parameters.run_dir.mkdir(parents=True)
    (parameters.run_dir / "cache").write_text("a file where a folder should be")
    with pytest.raises(InputError, match="cannot write checkpoints to"):
        training.train(*arguments)


def test_a_model_that_does_not_exist_is_named(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="cannot load the model 'no-such-model' as a sequence classifier"):
        classifier.load_classifier("no-such-model")


def test_a_saved_classifier_loads_with_its_tokenizer_and_gives_the_same_logits(setting, tmp_path):
    _, build = setting
    model, (_, task, tokens, *_) = build()
    tokenizer = tokenizer_of(task)
    classifier.save_classifier(tokenizer, model, tmp_path / "model")
    again, loaded = classifier.load_classifier(tmp_path / "model")
    (batch, *_), (other, *_) = (classifier.make_batches(t, tokens.take(5)) for t in (tokenizer, again))
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask")}
    assert torch.equal(batch["input_ids"], other["input_ids"]) and again.model_max_length == 64
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(**inputs).logits, model.eval()(**inputs).logits, rtol=0, atol=0)


def test_the_linear_baseline_beats_chance_on_separable_texts(setting):
    parameters, _ = setting
    linear, test = (
        classifier.fit_linear_baseline(load_reviews(parameters, "train"), seed=0),
        load_reviews(parameters, "test"),
    )
    assert linear.score(test["text"], test["label"]) == 1


@pytest.mark.parametrize("architecture", ["bert", "gpt2", "llama"])
def test_a_folder_with_any_architecture_can_be_studied(setting, architecture, tmp_path):
    parameters, build = setting
    tokenizer = tokenizer_of(build()[1][1])
    config = AutoConfig.for_model(
        architecture,
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=32,
        max_position_embeddings=48,
        bos_token_id=0,
        eos_token_id=2,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "mine")
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path / "mine")
    own = parameters.model_copy(update={"base_model": str(tmp_path / "mine"), "epochs": 1})
    tokenizer, model = classifier.build_classifier(own, load_reviews(own, "train"))
    tokens = {split: classifier.tokenize(tokenizer, load_reviews(own, split)) for split in ("train", "analysis")}
    task = training.classification(tokenizer)
    log = training.train(model, task, tokens["train"], tokens["analysis"], own.recipe())
    assert tokenizer.model_max_length == 48 and len(log[0]["layer_gradient_norms"]) == 3
    batches = classifier.make_batches(tokenizer, tokens["analysis"])
    assert scoring.score(model, batches, "fisher").per_example.shape == (len(tokens["analysis"]), 3)


def heal(build, kept, teacher_seed=0, **changes):
    """A teacher, its student healed, and a batch of the reviews that both know."""
    teacher, (_, task, *tokens, recipe) = build()
    torch.manual_seed(teacher_seed)
    with torch.no_grad():  # opinions that take both layers
        for weight in teacher.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    student = LayerwiseAdapter(teacher).keep(kept)
    healed = training.heal(student, teacher, kept, task, *tokens, recipe.model_copy(update=changes))
    return teacher, healed, classifier.make_batches(tokenizer_of(task), tokens[0], 64)[0]


def test_healing_moves_a_student_towards_its_teacher_and_leaves_the_teacher_unchanged(setting, tmp_path):
    _, build = setting
    teacher, healed, batch = heal(build, [1], epochs=3, learning_rate=1e-2)
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    before, after = (
        distillation.Distillation(student, arguments, teacher=teacher, kept=[1]).compute_loss(student.eval(), batch)
        for student in (LayerwiseAdapter(teacher).keep([1]), healed)
    )
    assert after < 0.7 * before
    untouched, *_ = heal(build, [1], epochs=3, learning_rate=1e-2)
    for name, weight in untouched.state_dict().items():
        assert torch.equal(weight, teacher.state_dict()[name]), name


def test_the_loss_of_healing_equals_its_formula_written_by_hand(tmp_path):
    teacher, kept = make_model("roberta-prelayernorm", layers=4), [0, 2, 3]
    student = LayerwiseAdapter(teacher).keep(kept)
    batch = make_batch()
    arguments = TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[])
    trainer = distillation.Distillation(student, arguments, teacher=teacher, kept=kept)
    found = trainer.compute_loss(student.train(), batch)  # dropout is off all the same

    mine, asked = (m(**inputs_of(batch), output_hidden_states=True) for m in (student, teacher))
    soft, softened = ((out.logits / 2).softmax(1) for out in (asked, mine))
    by_hand = 4 * (soft * (soft / softened).log()).sum(1).mean()
    real = batch["attention_mask"].bool()
    # layer 0 is to hand on what layer 2 received, which is the state after layer 1, and so on up to the head
    for after_kept, in_teacher in ((1, 2), (2, 3), (3, 4)):
        state = asked.hidden_states[in_teacher][real]
        by_hand = by_hand + (mine.hidden_states[after_kept][real] - state).square().mean() / state.var() / 3
    torch.testing.assert_close(found, by_hand)
    whole = distillation.Distillation(teacher, arguments, teacher=teacher, kept=[0, 1, 2, 3])
    assert whole.compute_loss(teacher, batch).item() == pytest.approx(0, abs=1e-6)  # nothing is left to learn


def count_texts(model, answered):
    """Lets a model note how many texts each of its forward passes reads."""
    model.register_forward_pre_hook(
        lambda module, args, kwargs: answered.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    return model


def test_a_teacher_answers_each_text_once_for_all_students_and_epochs_and_every_time_where_memory_is_short(
    setting, monkeypatch
):
    _, build = setting
    weights, answers = {}, {}
    for room in (distillation.KEPT_BYTES, 0):
        monkeypatch.setattr(distillation, "KEPT_BYTES", room)
        model, (_, task, train, validation, recipe) = build()
        answered = answers[room] = []
        students = {i: LayerwiseAdapter(model).keep([i]) for i in range(2)}
        teacher = distillation.Teacher(count_texts(model.eval(), answered))
        for i, student in students.items():
            healed = training.heal(student, teacher, [i], task, train, validation, recipe)
            weights.setdefault(room, []).append(healed.state_dict())
        training.clear_cache(recipe)
    kept_answers, new_answers = (sum(each) for each in answers.values())
    assert kept_answers == len(train) and new_answers == 2 * recipe.epochs * len(train)
    for remembered, anew in zip(*weights.values(), strict=True):
        for name in anew:
            torch.testing.assert_close(remembered[name], anew[name], atol=1e-4, rtol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize(("architecture", "side"), [("roberta-prelayernorm", "right"), ("llama", "left")])
def test_the_answers_that_a_teacher_keeps_are_those_it_gives_whatever_the_batch(architecture, side):
    model = make_model(architecture)
    batch = inputs_of(make_batch(examples=6))
    if side == "left":
        batch = {name: value.flip(1) for name, value in batch.items()}
    rows = [
        {"input_ids": ids[mask.bool()]} for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
    ]
    teacher = distillation.Teacher(model)
    teacher.prepare(rows, pad, batch_size=2)
    expected = model(**batch, output_hidden_states=True)
    answered = []
    count_texts(model, answered)
    found, real = teacher.answer(batch), batch["attention_mask"].bool()
    assert not answered
    torch.testing.assert_close(found.logits, expected.logits, atol=1e-5, rtol=1e-5)
    for state, whole in zip(found.hidden_states, expected.hidden_states, strict=True):
        assert state.shape == whole.shape
        torch.testing.assert_close(state[real], whole[real], atol=1e-5, rtol=1e-5)
    teacher.answer({name: value[:, 1:] for name, value in batch.items()})  # texts that it has not prepared for
    assert answered == [6]


def test_a_stream_of_texts_heals_without_being_read_in_advance(tmp_path):
    model, batch = make_model("bert"), make_batch(examples=8)
    rows = [dict(zip(batch, row, strict=True)) for row in zip(*batch.values(), strict=True)]
    stream = Dataset.from_list([{name: value.tolist() for name, value in row.items()} for row in rows])
    arguments = TrainingArguments(output_dir=str(tmp_path), max_steps=2, use_cpu=True, report_to=[], save_strategy="no")
    student = LayerwiseAdapter(model).keep([0, 2])
    before = student.state_dict()["classifier.weight"].clone()
    distillation.heal(student, model, [0, 2], stream.to_iterable_dataset(), None, arguments)
    assert not torch.equal(student.state_dict()["classifier.weight"], before)


def pad(rows):
    ids = torch.nn.utils.rnn.pad_sequence([row["input_ids"] for row in rows], batch_first=True, padding_value=1)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row["input_ids"]) for row in rows], batch_first=True)
    return {"input_ids": ids, "attention_mask": mask}


def pretrain(build, **changes):
    """A classifier pretrained on its own training texts, and the other arguments."""
    model, (_, task, train, validation, recipe) = build()
    recipe = recipe.model_copy(update={"epochs": 1, "learning_rate": 1e-2} | changes)
    given = (tokenizer_of(task), train, validation, recipe)
    training.pretrain_mlm(model, *given)
    return model, given


def test_a_pretrained_classifier_has_the_encoder_of_the_masked_language_model_and_its_own_head(setting):
    parameters, build = setting
    cold, _ = build()
    model, (tokenizer, _, validation, *_) = pretrain(build, epochs=30)
    head = {name: weight for name, weight in model.state_dict().items() if name.startswith("classifier")}
    assert head and all(torch.equal(weight, cold.state_dict()[name]) for name, weight in head.items())
    (folder,) = parameters.run_dir.glob("cache/*/model")
    masked_model = AutoModelForMaskedLM.from_pretrained(folder)
    for name, weight in model.base_model.state_dict().items():
        assert torch.equal(weight, masked_model.base_model.state_dict()[name]), name
        assert not torch.equal(weight, cold.base_model.state_dict()[name]), name

    for text in validation["input_ids"]:  # "... bought number ... last year"
        masked = torch.tensor([[*text[:-2], tokenizer.mask_token_id, text[-1]]])
        with torch.no_grad():
            assert masked_model(masked).logits[0, -2].argmax() == text[-2] != tokenizer.mask_token_id


def test_masks_depend_on_the_batch_and_not_on_earlier_random_numbers(setting):
    _, build = setting
    _, (_, task, train, *_) = build()
    mask = training.masked_language_modelling(tokenizer_of(task)).trainer.keywords["data_collator"]
    batches = [train.select_columns(["input_ids"]).select(range(i, i + 32)).to_list() for i in (0, 32)]
    torch.manual_seed(1)
    (first, other), drawn = (mask(batch) for batch in batches), torch.rand(1)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), drawn)  # it has not touched what dropout draws from
    assert all(torch.equal(value, mask(batches[0])[name]) for name, value in first.items())
    shares = [float((batch["labels"] != -100).sum() / batch["attention_mask"].sum()) for batch in (first, other)]
    assert all(0.08 < share < 0.2 for share in shares) and shares[0] != shares[1]


def test_a_pretraining_finished_before_a_kill_is_not_repeated(setting, monkeypatch):
    _, build = setting
    first, _ = pretrain(build)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train", lambda *args, **kwargs: pytest.fail("it is trained again"))
        second, _ = pretrain(build)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name]), name


def test_a_causal_architecture_cannot_be_pretrained_by_masked_language_modelling(setting):
    _, build = setting
    _, given = pretrain(build)
    with pytest.raises(
        InputError, match="a gpt2 cannot be pretrained by masked language modelling: set pretraining_texts to null"
    ):
        training.pretrain_mlm(make_model("gpt2"), *given)


def test_a_model_trained_before_a_kill_is_not_trained_again(setting, monkeypatch):
    parameters, build = setting

    def learn():
        model, (_, *rest) = build()
        return heal(build, [1], epochs=1)[1], training.train_from_scratch(model, *rest)

    first = learn()
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train", lambda *args, **kwargs: pytest.fail("it is trained again"))
        second = learn()
    for before, after in zip(first, second, strict=True):
        for name, weight in before.state_dict().items():
            assert torch.equal(weight, after.state_dict()[name]), name
    for kept, teacher_seed in (([0], 0), ([1], 1)):  # as many layers, but others, or those of another teacher
        _, other, *_ = heal(build, kept, teacher_seed, epochs=1)
        assert not torch.equal(other.state_dict()[name], first[0].state_dict()[name])
    training.clear_cache(parameters.recipe())
    assert not (parameters.run_dir / "cache").exists()


def test_a_checkpoint_of_another_task_is_trained_first_and_else_refused(setting, tmp_path):
    parameters, build = setting
    tokenizer = tokenizer_of(build()[1][1])
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    config = AutoConfig.for_model("bert", **sizes, vocab_size=len(tokenizer), num_labels=5)
    for kind in (AutoModelForCausalLM, AutoModelForSequenceClassification):
        folder = tmp_path / kind.__name__
        classifier.save_classifier(tokenizer, kind.from_config(config), folder)
        with pytest.raises(InputError, match="is a checkpoint of another task than telling negative from positive"):
            classifier.load_classifier(folder)
        model = parameters.model_copy(update={"base_model": str(folder)})
        assert classifier.build_classifier(model, None)[1].config.num_labels == 2


def test_models_are_built_and_loaded_where_the_gpu_is(setting, tmp_path, monkeypatch):
    parameters, build = setting
    model, (_, task, *_) = build()
    classifier.save_classifier(tokenizer_of(task), model, tmp_path / "saved")
    monkeypatch.setattr(classifier, "reproducible_device", lambda: torch.device("meta"))  # any device but the CPU
    _, loaded = classifier.load_classifier(tmp_path / "saved")
    _, built = classifier.build_classifier(parameters, load_reviews(parameters, "train"))
    assert loaded.device.type == built.device.type == "meta"


def test_parameters_of_evaluation_alone_do_not_invalidate_a_training(setting):
    parameters, build = setting
    model, (_, task, train, validation, _) = build()

    def key(**changed):
        recipe = Parameters.check(parameters.model_dump() | changed).recipe()
        return training._fingerprint(task, model, train, validation, recipe)

    assert key(evaluation_batch_size=8, export_models=False) == key() != key(batch_size=8)
