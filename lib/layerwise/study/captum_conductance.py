"""Conductance as Captum computes it: the reference that our own, faster implementation is compared with."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from captum.attr import LayerConductance
from torch import nn

from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch


def captum_conductance(adapter: LayerwiseAdapter, batches: Sequence[Batch], steps: int) -> np.ndarray:
    """Conductance of the layers' updates by `captum.attr.LayerConductance`, at evenly spaced points of the path.

    Captum takes the gradient at the end of each step; the mean of the path and its reverse takes it at both ends, as
    `importance.conductance` does.

    Args:
        adapter: of a classifier in eval mode.
        batches: with input_ids and attention_mask.
        steps: of the path from the mean word embedding to the example's own embeddings.

    Returns:
        Array (examples, layers), in logits.

    Source: Dhamdhere et al. (2019); Kokhlikyan et al. (2020), "Captum".
    """
    model, rows = _MarginModel(adapter), []
    embedding = adapter.model.get_input_embeddings()
    for batch in batches:
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"].bool(), strict=True):
            inputs = {"input_ids": ids[mask][None].to(adapter.device)}
            words = embedding(inputs["input_ids"]).detach()
            mean = embedding.weight.detach().mean(0).expand_as(words)
            classes = adapter.model(**inputs).logits.topk(2).indices
            rows.append([_both_ways(model, update, words, mean, classes, steps) for update in model.updates])
    return np.array(rows)


def _both_ways(
    model: "_MarginModel", update: nn.Module, words: torch.Tensor, mean: torch.Tensor, classes: torch.Tensor, steps: int
) -> float:
    attribute: Callable = LayerConductance(model, update).attribute
    options = {"additional_forward_args": (classes,), "n_steps": steps, "method": "riemann_trapezoid"}
    there = attribute(words, mean, **options).sum().item()
    back = attribute(mean, words, **options).sum().item()
    return (there - back) / 2


class _MarginModel(nn.Module):
    """From word embeddings to the margin of two classes; each layer's update passes through a module of its own."""

    def __init__(self, adapter: LayerwiseAdapter):
        super().__init__()
        self.adapter = adapter
        self.updates = nn.ModuleList(nn.Identity() for _ in adapter.layers)

    def forward(self, words: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        def pass_update(index: int) -> Callable:
            def hook(layer: nn.Module, args: tuple, output: torch.Tensor | tuple) -> torch.Tensor | tuple:
                states, *others = output if isinstance(output, tuple) else (output,)
                states = args[0] + self.updates[index](states - args[0])
                return (states, *others) if isinstance(output, tuple) else states

            return hook

        hooks = [layer.register_forward_hook(pass_update(i)) for i, layer in enumerate(self.adapter.layers)]
        try:
            logits = self.adapter.model(inputs_embeds=words).logits
        finally:
            for each in hooks:
                each.remove()
        return logits.gather(1, classes[:, :1])[:, 0] - logits.gather(1, classes[:, 1:])[:, 0]
