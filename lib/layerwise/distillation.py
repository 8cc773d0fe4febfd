"""Healing: a model that lost some of its layers learns from the whole model to do without them."""

from collections.abc import Callable, Sequence, Sized

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import ModelOutput

from layerwise.batches import Batch, model_inputs
from layerwise.errors import InputError

TEMPERATURE = 2.0  # that softens the predictions before a student learns them
KEPT_BYTES = 2**30  # of a teacher's answers to the training examples


class Teacher:
    """The whole model, which answers each training example once for all of its students and their epochs.

    Its answers are its logits and hidden states. They are kept if those to all examples take at most `KEPT_BYTES`; else
    it answers each batch anew.

    Args:
        model: the whole model.
    """

    def __init__(self, model: PreTrainedModel):
        self.model = model
        self._prepared_for: object = None
        self._answers: dict[tuple[bytes, ...], tuple[torch.Tensor, torch.Tensor]] = {}

    @classmethod
    def of(cls, model: "PreTrainedModel | Teacher") -> "Teacher":
        """The teacher of a model; a teacher is returned as it is."""
        return model if isinstance(model, cls) else cls(model)

    def prepare(self, examples, collate: Callable[[list], Batch], batch_size: int) -> None:
        """Answer all examples in an order of their own: the shortest first, so that there is little padding.

        Args:
            examples: the training data; rows with input_ids.
            collate: makes a batch of rows.
        """
        if examples is self._prepared_for:
            return
        self._prepared_for, self._answers = examples, {}
        config = self.model.config
        room = KEPT_BYTES // (4 * config.hidden_size * (config.num_hidden_layers + 1))
        lengths: list[int] = []
        for i in range(len(examples)):
            lengths.append(len(examples[i]["input_ids"]))
            room -= lengths[-1]
            if room < 0:
                return
        for rows in torch.tensor(lengths).argsort(stable=True).split(batch_size):
            inputs = model_inputs(self.model, collate([examples[i] for i in rows.tolist()]))
            output, real = self.model(**inputs, output_hidden_states=True), inputs["attention_mask"].bool()
            for i, key in enumerate(_keys(inputs)):
                states = torch.stack([each[i, real[i]] for each in output.hidden_states], dim=1)
                self._answers[key] = output.logits[i].clone(), states

    def answer(self, inputs: Batch) -> ModelOutput:
        """Logits, and the L + 1 hidden states (examples, tokens, hidden size); those of padding may be zero."""
        keys = _keys(inputs) if self._answers else []
        if not keys or not self._answers.keys() >= {*keys}:
            return self.model(**inputs, output_hidden_states=True)
        known = [self._answers[key] for key in keys]
        real, first = inputs["attention_mask"].bool(), known[0][1]
        states = first.new_zeros(*real.shape, *first.shape[1:])
        states[real] = torch.cat([each for _, each in known])
        return ModelOutput(logits=torch.stack([each for each, _ in known]), hidden_states=states.unbind(2))


def _keys(inputs: Batch) -> list[tuple[bytes, ...]]:
    """What tells the examples of a batch apart: their tokens without padding, of each input."""
    real = inputs["attention_mask"].bool().cpu()
    of_tokens = [value.cpu() for value in inputs.values() if value.shape == real.shape]
    return [tuple(value[i, real[i]].numpy().tobytes() for value in of_tokens) for i in range(len(real))]


class Distillation(Trainer):
    """A student with fewer layers learns its teacher's logits and hidden states.

    Each kept layer learns to produce what the next kept layer received in the teacher, and so makes up for the layers
    that were between them; the last one learns what the teacher's head received. The loss is the Kullback-Leibler
    divergence of the softened predictions (Hinton et al., 2015) plus the squared error of the hidden states (Jiao et
    al., 2020) as a share of their variance, without padding. Dropout is off in both: a student with noisy states cannot
    match exact ones, and the teacher's answers already prevent overfitting.

    Args:
        teacher: the whole model, or the `Teacher` of several students.
        kept: the layers of the teacher that the student has, in their order.
        args, kwargs: as for `transformers.Trainer`.
    """

    def __init__(self, *args, teacher: PreTrainedModel | Teacher, kept: Sequence[int], **kwargs):
        super().__init__(*args, **kwargs)
        self._teacher = Teacher.of(teacher)
        whole = self._teacher.model.to(self.args.device).eval()
        self._targets = [*kept[1:], whole.config.num_hidden_layers]  # of the student's layers

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if return_outputs:  # evaluation asks for the labels, not for the teacher
            return super().compute_loss(model, inputs, return_outputs)
        inputs = model_inputs(self._teacher.model, inputs)
        real = inputs["attention_mask"].bool()
        model.eval()  # at every step, because the Trainer turns dropout on again
        student = model(**inputs, output_hidden_states=True)
        with torch.no_grad(), self.accelerator.autocast():
            if isinstance(self.train_dataset, Sized):  # a stream is read once, by the training
                self._teacher.prepare(self.train_dataset, self.data_collator, self.args.eval_batch_size)
            teacher = self._teacher.answer(inputs)
        loss = TEMPERATURE**2 * F.kl_div(
            (self.predictions(model, student, real).float() / TEMPERATURE).log_softmax(1),
            (self.predictions(self._teacher.model, teacher, real).float() / TEMPERATURE).log_softmax(1),
            reduction="batchmean",
            log_target=True,
        )
        for layer, target in enumerate(self._targets, start=1):
            learned = student.hidden_states[layer][real].float()
            wanted = teacher.hidden_states[target][real].float()
            loss = loss + F.mse_loss(learned, wanted) / wanted.var() / len(self._targets)
        return loss

    def predictions(self, model: PreTrainedModel, output: ModelOutput, real: torch.Tensor) -> torch.Tensor:
        """Logits (predictions, classes) that the student learns from its teacher: one prediction for each example.

        Args:
            output: of the model, with its hidden states.
            real: (examples, tokens), True where there is no padding.
        """
        return output.logits


def heal(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    kept: Sequence[int],
    train,
    validation,
    args: TrainingArguments,
    trainer: type[Distillation] = Distillation,
    resume: bool = False,
    **options,
) -> PreTrainedModel:
    """Heal a student that kept some of its teacher's layers, in place, by `Distillation`.

    The teacher is moved to the device of the training and left in eval mode.

    Args:
        student: of `LayerwiseAdapter.keep`.
        teacher: the whole model.
        kept: the layers of the teacher that the student has, in their order.
        train, validation: datasets of rows with input_ids, attention_mask and labels.
        args: epochs, learning rate, output folder and the like.
        trainer: how predictions are distilled.
        resume: continue from the last checkpoint in `args.output_dir`, if there is one.
        options: further arguments of the Trainer, such as `data_collator`.

    Raises:
        InputError: `kept` does not name one layer of the teacher for each layer of the student.

    Returns:
        The student; with `load_best_model_at_end`, its weights with the best validation metric.

    Source: Hinton et al. (2015), Jiao et al. (2020).
    """
    kept, depth = list(kept), teacher.config.num_hidden_layers
    if len(kept) != student.config.num_hidden_layers or kept != sorted(set(kept) & set(range(depth))):
        layers = student.config.num_hidden_layers
        raise InputError(f"kept is {kept}: name the {layers} layers of 0 to {depth - 1} that are kept, in their order")
    run = trainer(student, args, teacher=teacher, kept=kept, train_dataset=train, eval_dataset=validation, **options)
    run.remove_callback(PrinterCallback)
    run.train(resume_from_checkpoint=get_last_checkpoint(args.output_dir) if resume else None)
    return student
