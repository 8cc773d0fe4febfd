"""Squared gradient norms of each layer for each example, from one backward pass a batch.

A batch's backward pass already computes, for every module, the gradient g of each example's output. What is left to do
is to combine it with the input a of the same example, without ever storing a gradient an example:

- a linear map over T tokens has the squared norm || sum_t g_t a_t^T ||^2 = sum_{t,s} (g_t . g_s)(a_t . a_s)
  (Goodfellow, 2015; the "ghost norm" of Li et al., 2022), taken in whichever of the two forms is the cheaper;
- LayerNorm's scale has the gradient sum_t g_t * normalised a_t;
- any other module with weights of its own (RMSNorm, Conv1D) is differentiated by itself, mapped over the examples.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.func import functional_call, vjp, vmap

from layerwise.adapter import LayerwiseAdapter
from layerwise.errors import InputError


def squared_gradient_norms(
    adapter: LayerwiseAdapter, inputs: dict[str, torch.Tensor], objective: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Squared norm of the gradient of each example's objectives with respect to each layer's parameters.

    Args:
        adapter: of a classifier in eval mode.
        inputs: a batch of N examples without labels, on the model's device.
        objective: maps logits (N, classes) to (N, K), K scalars an example to differentiate one after the other.

    Returns:
        Array (K, N, layers).
    """
    seen: list[tuple[int, nn.Module, torch.Tensor, torch.Tensor]] = []
    hooks = [
        module.register_forward_hook(
            lambda module, args, output, index=index: seen.append((index, module, args[0].detach(), output))
        )
        for index, layer in enumerate(adapter.layers)
        for module in layer.modules()
        if module._parameters  # it has weights of its own
    ]
    try:
        with torch.enable_grad():
            targets = objective(adapter.model(**inputs).logits)
    finally:
        for hook in hooks:
            hook.remove()
    modules = [module for _, module, _, _ in seen]
    if len(set(modules)) < len(modules):  # the norm of a sum of gradients is not the sum of their norms
        raise InputError(f"{type(adapter.model).__name__} runs a module of a layer twice in one forward pass")
    outputs = [output for *_, output in seen]
    norms = torch.zeros(targets.shape[1], len(targets), len(adapter), device=targets.device)
    for k, target in enumerate(targets.unbind(dim=1)):
        last = k + 1 == targets.shape[1]
        gradients = torch.autograd.grad(target.sum(), outputs, retain_graph=not last)
        for (index, module, entering, _), gradient in zip(seen, gradients, strict=True):
            norms[k, :, index] += NORMS.get(type(module), _any_module)(module, entering, gradient)
    return norms


def _linear(module: nn.Linear, a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """(N,) from inputs (N, T, in) and output gradients (N, T, out)."""
    tokens, width_in, width_out = a.shape[1], a.shape[2], g.shape[2]
    if tokens * (width_in + width_out) < width_in * width_out:
        norm = ((g @ g.mT) * (a @ a.mT)).sum((1, 2))
    else:
        norm = (g.mT @ a).square().sum((1, 2))
    return norm if module.bias is None else norm + g.sum(1).square().sum(1)


def _layer_norm(module: nn.LayerNorm, a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    normalised = nn.functional.layer_norm(a, module.normalized_shape, eps=module.eps)
    norm = (g * normalised).sum(1).square().sum(1)
    return norm if module.bias is None else norm + g.sum(1).square().sum(1)


def _any_module(module: nn.Module, a: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    weights = {name: weight.detach() for name, weight in module.named_parameters(recurse=False)}

    def gradient(entering: torch.Tensor, leaving: torch.Tensor) -> dict[str, torch.Tensor]:
        return vjp(lambda w: functional_call(module, w, (entering[None],)), weights)[1](leaving[None])[0]

    return sum(each.flatten(1).square().sum(1) for each in vmap(gradient)(a, g).values())


NORMS = {nn.Linear: _linear, nn.LayerNorm: _layer_norm}
