"""Training through `transformers.Trainer`: checkpoints, resume, early stopping, gradient norms of the layers."""

import json
import math
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from datasets import Dataset
from transformers import (
    MODEL_FOR_MASKED_LM_MAPPING,
    AutoModelForMaskedLM,
    DataCollatorForLanguageModeling,
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import get_last_checkpoint

from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch, model_inputs
from layerwise.distillation import Distillation, Teacher
from layerwise.errors import InputError
from layerwise.evaluation import Metric, is_correct
from layerwise.progress import progress
from layerwise.study.cache import batches_sha256, fingerprint, tokens_sha256, weights_sha256
from layerwise.study.config import Recipe
from layerwise.study.models.device import reproducible_device

MAX_STEPS_BETWEEN_CHECKPOINTS = 2000  # so that a kill loses little of a long epoch
RECORDED_STEPS = 60  # at most: steps at which gradient norms are recorded
WARMUP = 0.1  # share of the steps in which the learning rate rises; of those of an epoch, if it then stays constant
MASKED_SHARE = 0.15  # of the tokens, in masked language modelling
TIMING = re.compile("runtime|per_second")  # entries of the log that differ between equal runs


class Task(NamedTuple):
    """What a model is trained to do, in the terms of the Trainer.

    Attributes:
        trainer: makes a Trainer that learns from labels, with its collator and metrics.
        distillation: makes one that learns from a teacher (`Distillation`); None if there is none for the task.
        selection_metric: that selects the best weights.
        labels: names of the inputs that are not for the model but for the metrics.
        metric: of each prediction; for a classifier whether it is correct.
    """

    trainer: Callable[..., Trainer]
    distillation: Callable[..., Distillation] | None
    selection_metric: str
    labels: tuple[str, ...] = ("labels",)
    metric: Metric = is_correct

    @torch.no_grad()
    def evaluate(self, model: PreTrainedModel, batches: Iterable[Batch]) -> np.ndarray:
        """The metric of each prediction of a model (examples,), in eval mode and in the order of the batches."""
        model.eval()
        values = [self.metric(model(**model_inputs(model, batch)).logits, batch) for batch in batches]
        return torch.cat(values).cpu().numpy()


def classification(tokenizer: PreTrainedTokenizerBase) -> Task:
    """Classify texts; the best weights are the most accurate ones."""
    options = {"data_collator": DataCollatorWithPadding(tokenizer), "compute_metrics": _accuracy}
    return Task(partial(Trainer, **options), partial(Distillation, **options), "accuracy")


def masked_language_modelling(tokenizer: PreTrainedTokenizerBase) -> Task:
    """Predict 15 % of the tokens, which are masked (Devlin et al., 2019); the best weights have the lowest loss."""
    return Task(partial(Trainer, data_collator=MaskingCollator(tokenizer, mlm_probability=MASKED_SHARE)), None, "loss")


class MaskingCollator(DataCollatorForLanguageModeling):
    """Draws the masks from the batch alone, so they are the same at each evaluation, and after a kill."""

    def torch_call(self, examples: list[dict]) -> Batch:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(sum(sum(example["input_ids"]) for example in examples))
            return super().torch_call(examples)


def pretrain_mlm(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Dataset,
    validation: Dataset,
    recipe: Recipe,
) -> None:
    """Pretrain the layers and embeddings of a classifier, in place, by masked language modelling.

    The head that predicts the masked tokens is new, and is not kept. Finished work is cached until `clear_cache`.

    Args:
        texts, validation: of `classifier.tokenize`; labels are not used.

    Raises:
        InputError: there is no masked language model of this architecture, or checkpoints cannot be written.
    """
    if type(model.config) not in MODEL_FOR_MASKED_LM_MAPPING or tokenizer.mask_token is None:
        raise InputError(
            f"a {model.config.model_type} cannot be pretrained by masked language modelling: "
            "set pretraining_texts to null"
        )
    masked = AutoModelForMaskedLM.from_config(model.config)
    _copy_weights(model, masked)
    task = masked_language_modelling(tokenizer)
    texts, validation = (split.select_columns(["input_ids", "length"]) for split in (texts, validation))
    key = _fingerprint(task, masked, texts, validation, recipe, "mlm")
    masked, _ = _train_once(task.trainer, task, key, masked, texts, validation, recipe)
    _copy_weights(masked, model)


def train(model: PreTrainedModel, task: Task, train: Dataset, validation: Dataset, recipe: Recipe) -> list[dict]:
    """Train a model in place; it ends with the weights that have the best validation metric.

    It is evaluated and saved once an epoch, or every 2,000 steps of a longer one. A killed run resumes from its last
    checkpoint if data and recipe are the same, and ends with the same weights. Finished work is cached until
    `clear_cache`.

    Args:
        train, validation: datasets for the task, such as those of `classifier.tokenize`.

    Returns:
        The Trainer's log: rows with `loss`, `grad_norm` and `layer_gradient_norms` (L floats) at some steps, rows with
        `eval_loss` and metrics such as `eval_accuracy` after each evaluation, each with `step` and `epoch`.

    Raises:
        InputError: checkpoints cannot be written.
    """
    key = _fingerprint(task, model, train, validation, recipe, "early stopping")
    callbacks: list[TrainerCallback] = [EarlyStoppingCallback(recipe.patience), GradientNorms()]
    if recipe.layer_drop:
        callbacks.append(LayerDrop(recipe.layer_drop))
    trained, history = _train_once(task.trainer, task, key, model, train, validation, recipe, callbacks)
    model.load_state_dict(trained.state_dict())
    return history


def heal(
    student: PreTrainedModel,
    teacher: PreTrainedModel | Teacher,
    kept: Sequence[int],
    task: Task,
    train: Dataset,
    validation: Dataset,
    recipe: Recipe,
) -> PreTrainedModel:
    """Heal a student that kept some of its teacher's layers, by the task's distillation, as in `distillation.heal`.

    It ends with the weights that have the best validation metric. Finished work is cached until `clear_cache`.

    Args:
        teacher: the whole model, or the `distillation.Teacher` of several students.
        kept: the layers of the teacher that the student has, in their order.
        train, validation: as for `train`.

    Raises:
        InputError: checkpoints cannot be written.
    """
    assert task.distillation is not None
    teacher = Teacher.of(teacher)
    key = _fingerprint(task, student, train, validation, recipe, kept, weights_sha256(teacher.model))
    trainer = partial(task.distillation, teacher=teacher, kept=kept)
    healed, _ = _train_once(trainer, task, key, student, train, validation, recipe)
    return healed


def heal_by_epoch(
    student: PreTrainedModel,
    teacher: PreTrainedModel | Teacher,
    kept: Sequence[int],
    task: Task,
    train: Dataset,
    validation: Dataset,
    recipe: Recipe,
    batches: Sequence[Batch],
) -> tuple[np.ndarray, np.ndarray]:
    """Heal a student once, as `heal` does, and evaluate it after every epoch: its value at each budget of healing.

    With `recipe.constant_rate`, the student after an epoch is the one that a healing of so many epochs ends with. With
    a cosine, the rate at a checkpoint is higher than at the end of a shorter healing, and only the last is comparable.
    A killed healing resumes from its last epoch. Finished work, without weights, is cached until `clear_cache`.

    Args:
        student, teacher, kept, train, validation: as for `heal`.
        batches: on which the student is evaluated.

    Returns:
        (epochs, examples), the metric of each prediction; (epochs,), the selection metric on validation.

    Raises:
        InputError: checkpoints or results cannot be written.
    """
    assert task.distillation is not None
    teacher = Teacher.of(teacher)
    data = kept, weights_sha256(teacher.model), batches_sha256(batches)
    folder = recipe.cache / _fingerprint(task, student, train, validation, recipe, "by epoch", *data)
    finished = folder.with_suffix(".json")
    if not finished.is_file():
        trainer = partial(task.distillation, teacher=teacher, kept=kept)
        callbacks = [EvaluateEpochs(task, batches)]
        history = _fit(trainer, task, folder / "checkpoints", student, train, validation, recipe, callbacks)
        try:
            (folder / "part").write_text(json.dumps(history))
        except OSError as error:
            raise InputError(f"cannot write the results to {folder}: {error.strerror or error}") from error
        (folder / "part").rename(finished)
        shutil.rmtree(folder)
    history = json.loads(finished.read_text())
    values = [row["values"] for row in history if "values" in row]
    name = f"eval_{task.selection_metric}"
    metrics = {math.ceil(row["epoch"]): row[name] for row in history if name in row}  # the last of each epoch
    return np.array(values), np.array([*metrics.values()])


def train_from_scratch(
    model: PreTrainedModel, task: Task, train: Dataset, validation: Dataset, recipe: Recipe
) -> PreTrainedModel:
    """Train a small model with random weights on the labels alone, to be compared with a healed one.

    It ends with the weights that have the best validation metric. Finished work is cached until `clear_cache`.
    """
    key = _fingerprint(task, model, train, validation, recipe)
    trained, _ = _train_once(task.trainer, task, key, model, train, validation, recipe)
    return trained


def clear_cache(recipe: Recipe) -> None:
    """Delete the cached models of a run, once the stage has saved its results."""
    shutil.rmtree(recipe.cache, ignore_errors=True)


def _train_once(
    trainer: Callable[..., Trainer],
    task: Task,
    key: str,
    model: PreTrainedModel,
    train: Dataset,
    validation: Dataset,
    recipe: Recipe,
    callbacks: Sequence[TrainerCallback] = (),
) -> tuple[PreTrainedModel, list[dict]]:
    """The trained model and its log, from the cache if they are there."""
    folder = recipe.cache / key
    trained, log = folder / "model", "log.json"
    if not trained.is_dir():
        history = _fit(trainer, task, folder / "checkpoints", model, train, validation, recipe, callbacks)
        try:
            model.save_pretrained(folder / "part")
            (folder / "part" / log).write_text(json.dumps(history))
        except OSError as error:
            raise InputError(f"cannot write the model to {folder}: {error.strerror or error}") from error
        (folder / "part").rename(trained)
        shutil.rmtree(folder / "checkpoints")
    cached = type(model).from_pretrained(trained).to(reproducible_device())
    return cached, json.loads((trained / log).read_text())


def _fit(
    trainer: Callable[..., Trainer],
    task: Task,
    folder: Path,
    model: PreTrainedModel,
    train: Dataset,
    validation: Dataset,
    recipe: Recipe,
    callbacks: Sequence[TrainerCallback],
) -> list[dict]:
    """Train in place, with checkpoints in the folder, up to the weights with the best validation metric; the log."""
    for checkpoint in folder.glob("checkpoint-*"):
        if not _is_resumable(checkpoint):
            shutil.rmtree(checkpoint)
    arguments = _training_arguments(task, folder, recipe, steps_an_epoch=math.ceil(len(train) / recipe.batch_size))
    callbacks = [*callbacks, TerminalProgress()]
    try:
        run = trainer(model, arguments, train_dataset=train, eval_dataset=validation, callbacks=callbacks)
        run.remove_callback(PrinterCallback)
        run.train(resume_from_checkpoint=get_last_checkpoint(folder))
    except OSError as error:
        raise InputError(f"cannot write checkpoints to {folder}: {error.strerror or error}") from error
    return [{name: row[name] for name in row if not TIMING.search(name)} for row in run.state.log_history]


def _training_arguments(task: Task, folder: Path, recipe: Recipe, steps_an_epoch: int) -> TrainingArguments:
    strategy = "epoch" if steps_an_epoch <= MAX_STEPS_BETWEEN_CHECKPOINTS else "steps"
    on_cpu = reproducible_device().type == "cpu"
    return TrainingArguments(
        output_dir=str(folder),
        seed=recipe.seed,
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        lr_scheduler_type="constant_with_warmup" if recipe.constant_rate else "cosine",
        warmup_steps=math.ceil(WARMUP * steps_an_epoch) if recipe.constant_rate else WARMUP,
        weight_decay=0.01,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=2 * recipe.batch_size,
        train_sampling_strategy="group_by_length",
        bf16=recipe.bf16,
        use_cpu=on_cpu,
        eval_strategy=strategy,
        eval_steps=MAX_STEPS_BETWEEN_CHECKPOINTS,
        save_strategy=strategy,
        save_steps=MAX_STEPS_BETWEEN_CHECKPOINTS,
        save_total_limit=1,
        load_best_model_at_end=True,
        restore_callback_states_from_checkpoint=True,  # early stopping continues its count
        metric_for_best_model=task.selection_metric,
        label_names=list(task.labels),
        logging_steps=max(1, steps_an_epoch * recipe.epochs // RECORDED_STEPS),
        dataloader_pin_memory=not on_cpu,
        disable_tqdm=True,
        report_to=[],
    )


def _is_resumable(checkpoint: Path) -> bool:
    """Whether a run can resume from a checkpoint and end as if it had not been killed.

    Not from an incomplete one, without its state, which is written last; nor from one after which training was to stop,
    which the Trainer would forget, unless it holds the best weights, with which training ends.
    """
    if not (checkpoint / TRAINER_STATE_NAME).is_file():
        return False
    state = TrainerState.load_from_json(checkpoint / TRAINER_STATE_NAME)
    stops = state.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]
    return not stops or state.global_step == state.best_global_step


class GradientNorms(TrainerCallback):
    """Adds to each logged step `layer_gradient_norms`: the gradient norm of each layer before clipping.

    A layer that was left out of the step has the norm 0.
    """

    def on_train_begin(self, args, state, control, model, **kwargs):
        self._layers = LayerwiseAdapter(model).layers

    def on_pre_optimizer_step(self, args, state, control, model, **kwargs):
        if (state.global_step + 1) % state.logging_steps == 0:
            squares = [
                sum(float(p.grad.square().sum()) for p in layer.parameters() if p.grad is not None)
                for layer in self._layers
            ]
            total = sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None)
            self._shares = np.sqrt(np.array(squares) / total)

    def on_log(self, args, state, control, logs, **kwargs):
        if "grad_norm" in logs:  # the norm of the whole model before clipping, which scaled every layer alike
            state.log_history[-1]["layer_gradient_norms"] = (self._shares * logs["grad_norm"]).tolist()


class EvaluateEpochs(TrainerCallback):
    """Adds a row with `values` to the log after each epoch: the metric of each prediction of these batches."""

    def __init__(self, task: Task, batches: Sequence[Batch]):
        self._task = task
        self._batches = batches

    def on_epoch_end(self, args, state, control, model, **kwargs):
        values = self._task.evaluate(model, self._batches).tolist()
        state.log_history.append({"epoch": state.epoch, "step": state.global_step, "values": values})


class LayerDrop(TrainerCallback):
    """Leaves each layer out of a step with this probability, so the others learn to do without it (Fan et al., 2020).

    In evaluation, no layer is left out.
    """

    def __init__(self, probability: float):
        self._probability = probability
        self._step = ExitStack()

    def on_train_begin(self, args, state, control, model, **kwargs):
        self._adapter = LayerwiseAdapter(model)

    def on_step_begin(self, args, state, control, **kwargs):
        dropped = torch.rand(len(self._adapter)) < self._probability  # its state is part of each checkpoint
        self._step.enter_context(self._adapter.bypass(dropped.nonzero().flatten().tolist()))

    def on_step_end(self, args, state, control, **kwargs):
        self._step.close()


class TerminalProgress(TrainerCallback):
    """A progress bar on the terminal."""

    def on_train_begin(self, args, state, control, **kwargs):
        self._bar = progress(total=state.max_steps, initial=state.global_step, description="training")

    def on_step_end(self, args, state, control, **kwargs):
        self._bar.update()

    def on_train_end(self, args, state, control, **kwargs):
        self._bar.close()


def _copy_weights(source: PreTrainedModel, target: PreTrainedModel) -> None:
    """Copy the weights below the heads, except a pooler, which only a classifier may have."""
    mismatch = target.base_model.load_state_dict(source.base_model.state_dict(), strict=False)
    if any(not name.startswith("pooler.") for name in (*mismatch.missing_keys, *mismatch.unexpected_keys)):
        raise InputError(
            f"a {source.config.model_type} has other layers as a masked language model than as a classifier: "
            "set pretraining_texts to null"
        )


def _accuracy(evaluated: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float((evaluated.predictions.argmax(1) == evaluated.label_ids).mean())}


def _fingerprint(
    task: Task, model: PreTrainedModel, train: Dataset, validation: Dataset, recipe: Recipe, *more: object
) -> str:
    """Of all that decides what training does: a checkpoint is resumed only if none of it has changed."""
    data = tokens_sha256(train), tokens_sha256(validation)
    config = model.config.to_json_string()
    modules = [__name__, task.metric.__module__]  # that of a metric is that of its task
    return fingerprint(modules, recipe.settings, data, config, weights_sha256(model), *more)
