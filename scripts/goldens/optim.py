"""Goldens of kernels/optim: ten AdamW steps, and the gradient norm with its clip coefficient.

Run from the repository root, with the packages of scripts/goldens/requirements.txt:
    python scripts/goldens/optim.py
"""

import torch

from golden import Inputs, write_op


def adamw():
    """torch.optim.AdamW on a given gradient per step; learning rate and clip coefficient change from step to step."""
    source = Inputs(41)
    count, steps = 100, 10
    beta1, beta2, epsilon, weight_decay = 0.9, 0.95, 1e-8, 0.1
    initial = source.normal(count)
    grad = source.normal(steps, count)
    grad[:, 0] = 0.0          # a weight that only decays
    grad[:, 1] *= 1e-6        # a gradient near epsilon's scale
    grad[1:, 2] = 0.0         # moments that fade
    grad = grad.float().double()
    learning_rate = source.uniform(steps, low=1e-3, high=1e-1)
    clip_coefficient = source.uniform(steps, low=0.2, high=1.0)
    weight = torch.nn.Parameter(initial.clone())
    optimizer = torch.optim.AdamW([weight], lr=1.0, betas=(beta1, beta2), eps=epsilon, weight_decay=weight_decay)
    weight_per_step = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = learning_rate[step].item()
        weight.grad = grad[step] * clip_coefficient[step]
        optimizer.step()
        weight_per_step.append(weight.detach().clone())
    state = optimizer.state[weight]
    write_op(
        "adamw",
        dict(initial=initial, grad=grad, learning_rate=learning_rate, clip_coefficient=clip_coefficient,
             weight=torch.stack(weight_per_step), m=state["exp_avg"], v=state["exp_avg_sq"]),
        count=count, steps=steps, beta1=beta1, beta2=beta2, epsilon=epsilon, weight_decay=weight_decay,
    )


def grad_norm():
    """Norm over two tensors (the second longer than one summation block of 4096), clipped and not clipped."""
    source = Inputs(42)
    a, b = source.normal(7, 5, std=0.05), source.normal(4500, std=0.05)
    tensors = dict(a=a, b=b)
    for case, max_norm in (("clipped", 1.0), ("unclipped", 100.0)):
        parameters = [torch.nn.Parameter(torch.zeros_like(x)) for x in (a, b)]
        for parameter, gradient in zip(parameters, (a, b)):
            parameter.grad = gradient.clone()
        norm = torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        tensors["norm"] = norm.reshape(1)
        tensors[f"max_norm_{case}"] = torch.tensor([max_norm], dtype=torch.float64)
        tensors[f"a_{case}"] = parameters[0].grad
        tensors[f"clip_coefficient_{case}"] = (parameters[0].grad[0, 0] / a[0, 0]).reshape(1)
    write_op("grad_norm", tensors)


if __name__ == "__main__":
    adamw()
    grad_norm()
