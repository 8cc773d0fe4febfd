"""Healing: a model that lost some of its layers learns from the whole model to do without them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments
from transformers.trainer_utils import get_last_checkpoint
from transformers.utils import ModelOutput

from layerwise.batches import model_inputs
from layerwise.errors import InputError

TEMPERATURE = 2.0  # that softens the predictions before a student learns them


class Distillation(Trainer):
    """A student with fewer layers learns its teacher's logits and hidden states.

    Each kept layer learns to produce what the next kept layer received in the teacher, and so makes up for the layers
    that were between them; the last one learns what the teacher's head received. The loss is the Kullback-Leibler
    divergence of the softened predictions (Hinton et al., 2015) plus the squared error of the hidden states (Jiao et
    al., 2020) as a share of their variance, without padding. Dropout is off in both: a student with noisy states cannot
    match exact ones, and the teacher's answers already prevent overfitting.

    Args:
        teacher: the whole model.
        kept: the layers of the teacher that the student has, in their order.
        args, kwargs: as for `transformers.Trainer`.
    """

    def __init__(self, *args, teacher: PreTrainedModel, kept: Sequence[int], **kwargs):
        super().__init__(*args, **kwargs)
        self._teacher = teacher.to(self.args.device).eval()
        self._targets = [*kept[1:], teacher.config.num_hidden_layers]  # of the student's layers

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if return_outputs:  # evaluation asks for the labels, not for the teacher
            return super().compute_loss(model, inputs, return_outputs)
        inputs = model_inputs(self._teacher, inputs)
        real = inputs["attention_mask"].bool()
        model.eval()  # at every step, because the Trainer turns dropout on again
        student = model(**inputs, output_hidden_states=True)
        with torch.no_grad(), self.accelerator.autocast():
            teacher = self._teacher(**inputs, output_hidden_states=True)
        loss = TEMPERATURE**2 * F.kl_div(
            (self.predictions(model, student, real).float() / TEMPERATURE).log_softmax(1),
            (self.predictions(self._teacher, teacher, real).float() / TEMPERATURE).log_softmax(1),
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
