"""Measures of each example's gradient in each layer, from one backward pass a batch.

The backward pass of a batch already computes, for every module, the gradient g of each example's output. It remains to
combine g with the input a of the same example, without storing the gradient of any example:

- a linear map over T tokens has the squared norm || sum_t g_t a_t^T ||^2 = sum_{t,s} (g_t . g_s)(a_t . a_s)
  (Goodfellow, 2015; the "ghost norm" of Li et al., 2022), taken in whichever of the two forms is the cheaper;
- LayerNorm's scale has the gradient sum_t g_t * normalised a_t;
- any other module with weights of its own (RMSNorm, Conv1D) is differentiated by itself, mapped over the examples;
- the parameters times their gradient need no gradient at all: their sum is g times the change of the module's output
  when the weights move along themselves, which one forward-mode derivative gives.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.func import functional_call, jvp, vjp, vmap
from torch.nn.functional import cross_entropy

from layerwise.adapter import LayerwiseAdapter
from layerwise.batches import Batch, model_inputs
from layerwise.errors import InputError


def squared_gradient_norms(
    adapter: LayerwiseAdapter, inputs: Batch, objective: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Squared norm of the gradient of each example's objectives with respect to each layer's parameters.

    Arguments and result as of `_over_modules`.
    """
    return _over_modules(adapter, inputs, objective, lambda m, a, y, g: NORMS.get(type(m), _any_module)(m, a, g))


def parameters_times_gradients(
    adapter: LayerwiseAdapter, inputs: Batch, objective: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Sum over each layer's parameters of the parameter times its gradient, for each example's objectives.

    Arguments and result as of `_over_modules`.
    """
    return _over_modules(adapter, inputs, objective, _along_parameters)


def measure_loss_gradients(measure: Callable, adapter: LayerwiseAdapter, batches: Sequence[Batch]) -> torch.Tensor:
    """One of the two measures above for each example's cross-entropy: (examples, layers)."""
    rows = []
    for batch in batches:
        labels = batch["labels"].to(adapter.device)
        loss = lambda logits, labels=labels: cross_entropy(logits, labels, reduction="none")[:, None]  # noqa: E731
        rows.append(measure(adapter, model_inputs(adapter.model, batch), loss)[0].cpu())
    return torch.cat(rows).double()


def _over_modules(
    adapter: LayerwiseAdapter,
    inputs: Batch,
    objective: Callable[[torch.Tensor], torch.Tensor],
    measure: Callable[[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """The sum, over the modules of each layer, of a measure of each example's gradient.

    Args:
        adapter: of a classifier in eval mode.
        inputs: a batch of N examples without labels, on the model's device.
        objective: maps logits (N, classes) to (N, K), K scalars an example to differentiate one after the other.
        measure: maps a module with weights of its own, its input, its output and the gradient of that to (N,).

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
    if len(set(modules)) < len(modules):  # the gradient is the sum of both uses, and no measure of it is
        raise InputError(f"{type(adapter.model).__name__} runs a module of a layer twice in one forward pass")
    outputs = [output for *_, output in seen]
    found = torch.zeros(targets.shape[1], len(targets), len(adapter), device=targets.device)
    for k, target in enumerate(targets.unbind(dim=1)):
        last = k + 1 == targets.shape[1]
        gradients = torch.autograd.grad(target.sum(), outputs, retain_graph=not last)
        for (index, module, entering, output), gradient in zip(seen, gradients, strict=True):
            found[k, :, index] += measure(module, entering, output, gradient)
    return found


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
    weights = _own_weights(module)

    def gradient(entering: torch.Tensor, leaving: torch.Tensor) -> dict[str, torch.Tensor]:
        return vjp(lambda w: functional_call(module, w, (entering[None],)), weights)[1](leaving[None])[0]

    return sum(each.flatten(1).square().sum(1) for each in vmap(gradient)(a, g).values())


def _along_parameters(module: nn.Module, a: torch.Tensor, y: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """How the output changes when the module's weights move along themselves, times what that does."""
    change = y.detach()  # a linear map, its bias included, is its own derivative
    if type(module) not in NORMS:
        weights = _own_weights(module)
        change = jvp(lambda w: functional_call(module, w, (a,)), (weights,), (weights,))[1]
    return (g * change).flatten(1).sum(1)


def _own_weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: weight.detach() for name, weight in module.named_parameters(recurse=False)}


NORMS = {nn.Linear: _linear, nn.LayerNorm: _layer_norm}
