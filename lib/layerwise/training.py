"""Training and healing through `transformers.Trainer`: checkpoints, resume, early stopping, the course of gradients."""

import json
import math
import re
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
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
from transformers.utils import ModelOutput

from layerwise import adapter, subsets
from layerwise.adapter import LayerwiseAdapter
from layerwise.errors import InputError
from layerwise.parameters import Parameters
from layerwise.resuming import fingerprint, weights_sha256
from layerwise.terminal import progress

LONGEST_STRETCH = 2000  # steps between two checkpoints at the most, so that a kill loses little of a long epoch
TIMING = re.compile("runtime|per_second")  # of the log's entries, which are the same in each run but for these
TEMPERATURE = 2.0  # at which predictions are softened before a student learns them
MASKED = 0.15  # of the tokens, to be guessed in a warm-up
LEARNED = "learned"  # folder of a run in which what was trained waits until the stage is done
# Parameters that no weight depends on: which models are made, and how they are scored and graded.
OF_NO_TRAINING = {
    *("runs", "bootstrap_samples", "evaluation_batch_size", "export_models", "ratios", "heal", "recommender_heal"),
    *("graded_users", "exhaustive_layers", "permutations"),
}
COURSE_POINTS = 60  # steps at which the gradients' course is recorded, at the most


class Task(NamedTuple):
    """What a model is trained to do, in the terms of the Trainer.

    Attributes:
        trainer: makes a Trainer that learns from labels, with its collator and metrics.
        distillation: makes one that learns from a teacher (`Distillation`), with the same; None if nothing does.
        metric: the one that is largest for the best weights.
        labels: names of the inputs that are no input of the model but what its output is measured by.
        gain: what a prediction gains: for a classifier, whether it is right.
    """

    trainer: Callable[..., Trainer]
    distillation: Callable[..., "Distillation"] | None
    metric: str
    labels: tuple[str, ...] = ("labels",)
    gain: subsets.Gain = subsets.right

    @torch.no_grad()
    def gains(self, model: PreTrainedModel, batches: list[dict[str, torch.Tensor]]) -> np.ndarray:
        """What the predictions of a model gain (examples,), in eval mode and the order of the batches."""
        model.eval()
        found = [self.gain(model(**adapter.inputs(batch, model.device)).logits, batch) for batch in batches]
        return torch.cat(found).cpu().numpy()


def classification(tokenizer: PreTrainedTokenizerBase) -> Task:
    """To give texts one of several labels; the best weights are the most accurate ones."""
    options = {"data_collator": DataCollatorWithPadding(tokenizer), "compute_metrics": _accuracy}
    return Task(partial(Trainer, **options), partial(Distillation, **options), "accuracy")


def masked_words(tokenizer: PreTrainedTokenizerBase) -> Task:
    """To guess the 15 % of tokens that were masked (Devlin et al., 2019); the best weights have the lowest loss."""
    return Task(partial(Trainer, data_collator=Masking(tokenizer, mlm_probability=MASKED)), None, "loss")


class Masking(DataCollatorForLanguageModeling):
    """Masks by the batch and not by what was drawn before it: the same at each evaluation, and after a kill."""

    def torch_call(self, examples: list[dict]) -> dict[str, torch.Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(sum(sum(example["input_ids"]) for example in examples))
            return super().torch_call(examples)


def warm_up(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Dataset,
    validation: Dataset,
    parameters: Parameters,
    data_sha256: str,
) -> None:
    """The layers and embeddings of a classifier learn masked words, `warm_up_epochs` times over the texts, in place.

    The head that guesses the words is new, and is thrown away.

    What they learned before the run was killed is not learned again, until `discard_learned` is called.

    Args:
        texts, validation: as `classifier.tokenize` cut them; labels are not looked at.
        data_sha256: of what they were made of.

    Raises:
        InputError: the model is not one that guesses masked words, or the checkpoints cannot be written.
    """
    if type(model.config) not in MODEL_FOR_MASKED_LM_MAPPING or tokenizer.mask_token is None:
        raise InputError(
            f"a {model.config.model_type} does not guess masked words, so it cannot warm up: set warm_up to null"
        )
    reader = AutoModelForMaskedLM.from_config(model.config)
    _copy(model, reader)
    recipe = parameters.model_copy(update={"epochs": parameters.warm_up_epochs})
    digest = _fingerprint(reader, recipe, data_sha256, "warm-up")
    task = masked_words(tokenizer)
    texts, validation = (split.select_columns(["input_ids", "length"]) for split in (texts, validation))
    reader, _ = _once(task.trainer, task, digest, reader, texts, validation, recipe)
    _copy(reader, model)


def train(
    model: PreTrainedModel,
    task: Task,
    train: Dataset,
    validation: Dataset,
    parameters: Parameters,
    data_sha256: str,
) -> list[dict]:
    """Train the model in place and leave it with the weights that validate best.

    It is evaluated and saved once an epoch, or every 2,000 steps of a longer one. A run that was killed goes on from
    its last checkpoint, if data and parameters are still the same, and ends with the same weights; what was learned to
    the end is not learned again, until `discard_learned` is called.

    Args:
        train, validation: what the task learns from, such as reviews that `classifier.tokenize` has cut.
        data_sha256: of what they were made of.

    Returns:
        The Trainer's log: rows with `loss`, `grad_norm` and `layer_gradient_norms` (a float a layer) at some steps,
        rows with `eval_loss` and the metrics, such as `eval_accuracy`, after each evaluation, each with `step` and
        `epoch`.

    Raises:
        InputError: the checkpoints cannot be written.
    """
    digest = _fingerprint(model, parameters, data_sha256, "early stopping")
    callbacks = [EarlyStoppingCallback(parameters.patience), GradientCourse()]
    if parameters.layer_drop:
        callbacks.append(LayerDrop(parameters.layer_drop))
    trained, history = _once(task.trainer, task, digest, model, train, validation, parameters, callbacks)
    model.load_state_dict(trained.state_dict())
    return history


def heal(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    kept: list[int],
    task: Task,
    train: Dataset,
    validation: Dataset,
    parameters: Parameters,
    data_sha256: str,
) -> PreTrainedModel:
    """A student that kept some of its teacher's layers learns to do without the others (see `Distillation`).

    It sees the training data `heal_epochs` times; the weights that validate best are kept. What was
    healed before the run was killed is not healed again, until `discard_learned` is called.

    Args:
        kept: the layers of the teacher that the student has, in their order.
        train, validation, data_sha256: as for `train`.

    Raises:
        InputError: the checkpoints cannot be written.
    """
    recipe = parameters.model_copy(update={"epochs": parameters.heal_epochs})
    digest = _fingerprint(student, recipe, data_sha256, kept, weights_sha256(teacher))
    trainer = partial(task.distillation, teacher=teacher, kept=kept)
    healed, _ = _once(trainer, task, digest, student, train, validation, recipe)
    return healed


def learn_anew(
    model: PreTrainedModel,
    task: Task,
    train: Dataset,
    validation: Dataset,
    parameters: Parameters,
    data_sha256: str,
) -> PreTrainedModel:
    """A small model of random weights learns from the labels alone, to be compared with one that was healed.

    As with `heal`, and with the same arguments, the weights that validate best are kept, until `discard_learned` is
    called.
    """
    digest = _fingerprint(model, parameters, data_sha256)
    learned, _ = _once(task.trainer, task, digest, model, train, validation, parameters)
    return learned


def discard_learned(parameters: Parameters) -> None:
    """Once the stage has its results: forget the models that a killed run would have needed again."""
    shutil.rmtree(parameters.run_dir / LEARNED, ignore_errors=True)


class Distillation(Trainer):
    """A student with fewer layers learns to give its teacher's logits, and its hidden states on the way.

    Each layer that was kept is to hand on what the next kept one received in the teacher, and so to make up for the
    layers that were between them; the last one is to hand on what the teacher's head received. The loss is the
    divergence of the softened predictions (Hinton et al., 2015) plus the squared error of the hidden states
    (Jiao et al., 2020), as a share of their variance and without padding. Dropout is off in both: a student whose own
    states are noisy cannot meet exact ones, and the teacher's answers are what keeps it from overfitting.
    """

    def __init__(self, *args, teacher: PreTrainedModel, kept: list[int], **kwargs):
        super().__init__(*args, **kwargs)
        self._teacher = teacher.to(self.args.device).eval()
        self._handed_on = [*kept[1:], teacher.config.num_hidden_layers]  # states that are to leave the student's layers

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if return_outputs:  # evaluation asks for the labels, not for the teacher
            return super().compute_loss(model, inputs, return_outputs)
        inputs = adapter.inputs(inputs)
        real = inputs["attention_mask"].bool()
        model.eval()  # at every step, as the Trainer turns dropout on again
        found = model(**inputs, output_hidden_states=True)
        with torch.no_grad(), self.accelerator.autocast():
            asked = self._teacher(**inputs, output_hidden_states=True)
        loss = TEMPERATURE**2 * F.kl_div(
            (self.predictions(model, found, real).float() / TEMPERATURE).log_softmax(1),
            (self.predictions(self._teacher, asked, real).float() / TEMPERATURE).log_softmax(1),
            reduction="batchmean",
            log_target=True,
        )
        for layer, state in enumerate(self._handed_on, start=1):
            mine, right = found.hidden_states[layer][real].float(), asked.hidden_states[state][real].float()
            loss = loss + F.mse_loss(mine, right) / right.var() / len(self._handed_on)
        return loss

    def predictions(self, model: PreTrainedModel, output: ModelOutput, real: torch.Tensor) -> torch.Tensor:
        """Logits (predictions, classes) that the student learns from its teacher: of each example, one.

        Args:
            output: of the model, with its hidden states.
            real: (examples, tokens), where no padding is.
        """
        return output.logits


def _once(
    trainer: Callable[..., Trainer],
    task: Task,
    digest: str,
    model: PreTrainedModel,
    train: Dataset,
    validation: Dataset,
    parameters: Parameters,
    callbacks: Sequence[TrainerCallback] = (),
) -> tuple[PreTrainedModel, list[dict]]:
    """The model trained, and the log of it; or what was saved of both by this digest."""
    folder = parameters.run_dir / LEARNED / digest
    trained, log = folder / "model", "log.json"
    if not trained.is_dir():
        history = _fit(trainer, task, folder / "checkpoints", model, train, validation, parameters, callbacks)
        try:
            model.save_pretrained(folder / "part")
            (folder / "part" / log).write_text(json.dumps(history))
        except OSError as error:
            raise InputError(f"cannot write the model to {folder}: {error.strerror or error}") from error
        (folder / "part").rename(trained)
        shutil.rmtree(folder / "checkpoints")
    return type(model).from_pretrained(trained).to(adapter.device()), json.loads((trained / log).read_text())


def _fit(
    trainer: Callable[..., Trainer],
    task: Task,
    folder: Path,
    model: PreTrainedModel,
    train: Dataset,
    validation: Dataset,
    parameters: Parameters,
    callbacks: Sequence[TrainerCallback],
) -> list[dict]:
    """Train in place, with checkpoints in the folder, up to the weights that validate best; the log."""
    epoch = math.ceil(len(train) / parameters.batch_size)
    strategy = "epoch" if epoch <= LONGEST_STRETCH else "steps"
    on_cpu = adapter.device().type == "cpu"
    arguments = TrainingArguments(
        output_dir=str(folder),
        seed=parameters.seed,
        num_train_epochs=parameters.epochs,
        learning_rate=parameters.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        weight_decay=0.01,
        per_device_train_batch_size=parameters.batch_size,
        per_device_eval_batch_size=2 * parameters.batch_size,
        train_sampling_strategy="group_by_length",
        bf16=parameters.bf16,
        use_cpu=on_cpu,
        eval_strategy=strategy,
        eval_steps=LONGEST_STRETCH,
        save_strategy=strategy,
        save_steps=LONGEST_STRETCH,
        save_total_limit=1,
        load_best_model_at_end=True,
        restore_callback_states_from_checkpoint=True,  # early stopping counts on where it was
        metric_for_best_model=task.metric,
        label_names=list(task.labels),
        logging_steps=max(1, epoch * parameters.epochs // COURSE_POINTS),
        dataloader_pin_memory=not on_cpu,
        disable_tqdm=True,
        report_to=[],
    )
    for saved in folder.glob("checkpoint-*"):
        if not _goes_on(saved):
            shutil.rmtree(saved)
    try:
        run = trainer(
            model,
            arguments,
            train_dataset=train,
            eval_dataset=validation,
            callbacks=[*callbacks, TerminalProgress()],
        )
        run.remove_callback(PrinterCallback)
        run.train(resume_from_checkpoint=get_last_checkpoint(folder))
    except OSError as error:
        raise InputError(f"cannot write checkpoints to {folder}: {error.strerror or error}") from error
    return [{name: row[name] for name in row if not TIMING.search(name)} for row in run.state.log_history]


def _goes_on(checkpoint: Path) -> bool:
    """Whether a run can be resumed from a checkpoint and end as if it had not been killed.

    Not from one that was cut off, whose state, which is written last, is missing; nor from one after which training was
    to stop, which the Trainer would forget, unless it holds the best weights and is what training ends with.
    """
    if not (checkpoint / TRAINER_STATE_NAME).is_file():
        return False
    state = TrainerState.load_from_json(checkpoint / TRAINER_STATE_NAME)
    stops = state.stateful_callbacks["TrainerControl"]["args"]["should_training_stop"]
    return not stops or state.global_step == state.best_global_step


class GradientCourse(TrainerCallback):
    """Adds to each logged step the gradient norm of each layer, `layer_gradient_norms`, as it was before clipping.

    A layer that was left out of the step has none, which is 0.
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


class LayerDrop(TrainerCallback):
    """Leaves each layer out of a step with this chance, so that the others learn to do without it (Fan et al., 2020).

    Every layer is there when the model is evaluated.
    """

    def __init__(self, chance: float):
        self._chance = chance
        self._step = ExitStack()

    def on_train_begin(self, args, state, control, model, **kwargs):
        self._adapter = LayerwiseAdapter(model)

    def on_step_begin(self, args, state, control, **kwargs):
        dropped = torch.rand(len(self._adapter)) < self._chance  # its state is part of each checkpoint
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


def _copy(source: PreTrainedModel, target: PreTrainedModel) -> None:
    """The weights below the heads, but for a pooler, which a classifier may have alone."""
    other = target.base_model.load_state_dict(source.base_model.state_dict(), strict=False)
    if any(not name.startswith("pooler.") for name in (*other.missing_keys, *other.unexpected_keys)):
        raise InputError(
            f"a {source.config.model_type} has other layers for masked words than for labels, so it cannot warm up: "
            "set warm_up to null"
        )


def _accuracy(evaluated: EvalPrediction) -> dict[str, float]:
    return {"accuracy": float((evaluated.predictions.argmax(1) == evaluated.label_ids).mean())}


def _fingerprint(model: PreTrainedModel, parameters: Parameters, data_sha256: str, *more: object) -> str:
    """Of all that decides what training does: a checkpoint is resumed only where none of it has changed."""
    said = parameters.model_dump_json(exclude_unset=True, exclude=OF_NO_TRAINING)
    return fingerprint(said, data_sha256, model.config.to_json_string(), *more)
