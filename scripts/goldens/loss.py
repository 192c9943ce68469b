"""Goldens of kernels/loss and kernels/moe/balance: linear + cross-entropy, and the balance losses with their gradients.

Run from the repository root, with the packages of scripts/goldens/requirements.txt:
    python scripts/goldens/loss.py
"""

import torch

from golden import Inputs, exact, gradients, write_op


def cross_entropy():
    """logits = x weight^T; loss_mean = sum of row losses * inv_loss_tokens; targets below 0 are ignored."""
    source = Inputs(31)
    rows, dim, vocab = 21, 24, 50
    x = source.normal(rows, dim).requires_grad_()
    weight = source.normal(vocab, dim, std=0.5).requires_grad_()
    target = source.integers(0, vocab, rows)
    target[4] = target[20] = -1
    inv_loss_tokens = 1.0 / 32  # a global batch of 32 target tokens, of which these are some
    logits = torch.nn.functional.linear(x, weight)
    logits.retain_grad()
    loss = torch.nn.functional.cross_entropy(logits, target, ignore_index=-1, reduction="none")
    loss_mean = loss.sum() * inv_loss_tokens
    loss_mean.backward()
    write_op(
        "cross_entropy",
        dict(x=x, weight=weight, target=target, logits=logits, loss=loss, loss_mean=loss_mean.reshape(1),
             dlogits=logits.grad, dx=x.grad, dweight=weight.grad),
        rows=rows, dim=dim, vocab=vocab, inv_loss_tokens=inv_loss_tokens,
    )


def load_balance(name, seed, group_tokens):
    """alpha E sum_e f_e mean_t P, per group of tokens, as this batch's share of tokens_in_batch; top-2 gives f."""
    source = Inputs(seed)
    tokens, experts, per_token, coefficient, tokens_in_batch = 16, 6, 2, 0.05, 64
    probability = exact(torch.softmax(source.normal(tokens, experts), dim=1)).requires_grad_()
    expert = probability.detach().topk(per_token, dim=1).indices
    groups = tokens // group_tokens
    chosen = torch.nn.functional.one_hot(expert, experts).double().sum(1).view(groups, group_tokens, experts)
    fraction = exact(chosen.mean(1) / per_token)
    mean_probability = probability.view(groups, group_tokens, experts).mean(1)
    loss_per_group = coefficient * experts * (fraction * mean_probability).sum(1)
    loss = loss_per_group.sum() * group_tokens / tokens_in_batch
    (dprobability,) = gradients(loss.reshape(1), torch.ones(1, dtype=torch.float64), probability)
    write_op(
        name,
        dict(probability=probability, token=torch.arange(tokens).repeat_interleave(per_token),
             expert=expert.reshape(-1), fraction=fraction, loss=loss.reshape(1), dprobability=dprobability),
        tokens=tokens, experts=experts, per_token=per_token, group_tokens=group_tokens, coefficient=coefficient,
        inv_batch_tokens=1.0 / tokens_in_batch,
    )


def z_loss():
    source = Inputs(34)
    tokens, experts, coefficient, inv_batch_tokens = 11, 70, 1e-2, 1.0 / 32
    logits = source.normal(tokens, experts, std=4.0).requires_grad_()
    loss = coefficient * torch.logsumexp(logits, dim=1).square().sum() * inv_batch_tokens
    (dlogits,) = gradients(loss.reshape(1), torch.ones(1, dtype=torch.float64), logits)
    write_op("z_loss", dict(logits=logits, loss=loss.reshape(1), dlogits=dlogits),
             tokens=tokens, experts=experts, coefficient=coefficient, inv_batch_tokens=inv_batch_tokens)


def entropy_loss():
    """Entropy of each token's distribution; P is an independent input (rows need not sum to one after rounding)."""
    source = Inputs(35)
    tokens, experts, coefficient, inv_batch_tokens = 11, 6, 1e-2, 1.0 / 32
    probability = exact(torch.softmax(source.normal(tokens, experts, std=2.0), dim=1)).requires_grad_()
    loss = coefficient * torch.special.entr(probability).sum() * inv_batch_tokens
    (dprobability,) = gradients(loss.reshape(1), torch.ones(1, dtype=torch.float64), probability)
    write_op("entropy_loss", dict(probability=probability, loss=loss.reshape(1), dprobability=dprobability),
             tokens=tokens, experts=experts, coefficient=coefficient, inv_batch_tokens=inv_batch_tokens)


def squared_cv():
    source = Inputs(36)
    count, tokens, coefficient, inv_batch_tokens = 9, 16, 0.1, 1.0 / 64
    values = source.uniform(count, low=0.1, high=5.0).requires_grad_()
    loss = coefficient * tokens * inv_batch_tokens * values.var(correction=0) / values.mean().square()
    (dvalues,) = gradients(loss.reshape(1), torch.ones(1, dtype=torch.float64), values)
    write_op("squared_cv", dict(values=values, loss=loss.reshape(1), dvalues=dvalues),
             count=count, tokens=tokens, coefficient=coefficient, inv_batch_tokens=inv_batch_tokens)


def importance():
    """importance[e] = sum of the weights of e's entries; entries of expert -1 are holes."""
    source = Inputs(37)
    entries, experts = 23, 5
    expert = source.integers(-1, experts - 1, entries)  # the last expert has no entry
    weight = source.uniform(entries).requires_grad_()
    dimportance = source.normal(experts)
    importance = torch.stack([weight[expert == e].sum() for e in range(experts)])
    (dweight,) = gradients(importance, dimportance, weight)
    write_op("importance", dict(expert=expert, weight=weight, importance=importance, dimportance=dimportance,
                                dweight=dweight), entries=entries, experts=experts)


if __name__ == "__main__":
    cross_entropy()
    load_balance("load_balance", 32, group_tokens=16)
    load_balance("load_balance_sequence", 33, group_tokens=8)
    z_loss()
    entropy_loss()
    squared_cv()
    importance()
