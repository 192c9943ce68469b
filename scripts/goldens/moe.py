"""Goldens of kernels/moe: grouped products, router scores, selection, gate weights, index tables, gather, combine.

Run from the repository root, with the packages of scripts/goldens/requirements.txt:
    python scripts/goldens/moe.py
"""

import torch

from golden import Inputs, exact, gradients, write_op


def grouped_linear():
    """One linear layer per expert over its segment of rows; experts 1 and 4 are empty, segments start every 4 rows."""
    source = Inputs(51)
    experts, rows, in_dim, out_dim, row_alignment = 5, 32, 18, 14, 4
    seg_count = [5, 0, 1, 11, 0]
    seg_start, start = [], 0
    for count in seg_count:
        seg_start.append(start)
        start += (count + row_alignment - 1) // row_alignment * row_alignment
    live = torch.zeros(rows, dtype=torch.bool)
    for first, count in zip(seg_start, seg_count):
        live[first : first + count] = True
    x = (source.normal(rows, in_dim) * live[:, None]).requires_grad_()
    w = source.normal(experts, out_dim, in_dim).requires_grad_()
    dy = source.normal(rows, out_dim) * live[:, None]
    y = torch.zeros(rows, out_dim, dtype=torch.float64)
    for e, (first, count) in enumerate(zip(seg_start, seg_count)):
        product = torch.nn.functional.linear(x[first : first + count], w[e])
        y = torch.cat([y[:first], product, y[first + count :]])
    dx, dw = gradients(y, dy, x, w)
    write_op(
        "grouped_linear",
        dict(x=x, w=w, seg_start=torch.tensor(seg_start), seg_count=torch.tensor(seg_count), live=live, y=y, dy=dy,
             dx=dx, dw=dw),
        experts=experts, rows=rows, in_dim=in_dim, out_dim=out_dim, row_alignment=row_alignment, row_end=start,
    )


def router_scores():
    source = Inputs(52)
    tokens, experts = 9, 70
    logits = source.normal(tokens, experts, std=3.0).requires_grad_()
    dscore = source.normal(tokens, experts)
    links = {
        "softmax": torch.softmax(logits, dim=1),
        "sigmoid": torch.sigmoid(logits),
        "normalised_sigmoid": torch.sigmoid(logits) / (torch.sigmoid(logits).sum(1, keepdim=True) + 1e-20),
    }
    for link, score in links.items():
        (dlogits,) = torch.autograd.grad(score, logits, grad_outputs=dscore, retain_graph=True)
        write_op(
            f"router_scores_{link}",
            dict(logits=logits, score=score, lse=torch.logsumexp(logits, dim=1), dscore=dscore, dlogits=dlogits),
            tokens=tokens, experts=experts, link=link,
        )


def by_token_lists(token, expert, tokens):
    """token_start [tokens+1] and token_entry: the entries of each token that are no holes, ascending."""
    token_start, token_entry = [0], []
    for t in range(tokens):
        token_entry += [n for n in range(len(token)) if token[n] == t and expert[n] >= 0]
        token_start.append(len(token_entry))
    return torch.tensor(token_start), torch.tensor(token_entry + [-1] * (len(token) - len(token_entry)))


def gate_weight():
    """Three entries per token, with holes and inactive entries; token 5 has none that counts."""
    source = Inputs(53)
    tokens, experts, per_token, scale = 7, 6, 3, 2.5
    logits = source.normal(tokens, experts, std=1.5)
    expert = logits.topk(per_token, dim=1).indices
    expert[1, 2] = expert[3, 1] = expert[5, 0] = -1
    active = torch.ones(tokens, per_token, dtype=torch.bool)
    active[2, 0] = active[3, 2] = active[5, 1] = active[5, 2] = False
    counts = active & (expert >= 0)
    token = torch.arange(tokens).repeat_interleave(per_token)
    token_start, token_entry = by_token_lists(token, expert.reshape(-1), tokens)
    dweight = source.normal(tokens, per_token)
    for mode in ("raw", "renormalised", "softmax"):
        score = (logits if mode == "softmax" else exact(torch.sigmoid(logits))).clone().requires_grad_()
        s = score.gather(1, expert.clamp(min=0))
        if mode == "raw":
            weight = scale * s * counts
        elif mode == "renormalised":
            weight = scale * s * counts / ((s * counts).sum(1, keepdim=True) + 1e-20)
        else:
            # Subtracting a maximum changes nothing but keeps exp finite; a block where nothing counts gives 0.
            power = torch.exp(s - (s * counts).amax(1, keepdim=True).detach()) * counts
            total = power.sum(1, keepdim=True)
            weight = scale * power / torch.where(total > 0, total, torch.ones_like(total))
        (dscore,) = gradients(weight, dweight, score)
        write_op(
            f"gate_weight_{mode}",
            dict(score=score, token=token, expert=expert.reshape(-1), active=active.reshape(-1),
                 token_start=token_start, token_entry=token_entry, weight=weight.reshape(-1),
                 dweight=dweight.reshape(-1), dscore=dscore),
            tokens=tokens, experts=experts, entries=tokens * per_token, per_token=per_token, scale=scale, mode=mode,
        )


def topk_select():
    """Descending top-k without ties; with bias and expert groups in the second file."""
    source = Inputs(54)
    tokens, experts, k = 17, 72, 6
    score = exact(torch.softmax(source.normal(tokens, experts), dim=1))
    token = torch.arange(tokens).repeat_interleave(k)
    write_op("topk_select", dict(score=score, token=token, expert=score.topk(k, dim=1).indices.reshape(-1)),
             tokens=tokens, experts=experts, k=k)

    groups, groups_kept, group_top = 8, 3, 2
    score = exact(torch.sigmoid(source.normal(tokens, experts)))
    bias = source.normal(experts, std=0.2)
    biased = score + bias
    strength = biased.view(tokens, groups, -1).topk(group_top, dim=2).values.sum(2)
    kept = torch.zeros_like(strength).scatter(1, strength.topk(groups_kept, dim=1).indices, 1.0).bool()
    biased = biased.masked_fill(~kept.repeat_interleave(experts // groups, dim=1), float("-inf"))
    write_op("topk_select_grouped",
             dict(score=score, bias=bias, token=token, expert=biased.topk(k, dim=1).indices.reshape(-1)),
             tokens=tokens, experts=experts, k=k, groups=groups, groups_kept=groups_kept, group_top=group_top)


def top_p_select():
    source = Inputs(55)
    tokens, experts, p, max_per_token = 15, 8, 0.7, 4
    probability = exact(torch.softmax(source.normal(tokens, experts, std=1.5), dim=1))
    value, order = probability.sort(dim=1, descending=True)
    before = value.cumsum(1) - value                      # an expert is needed while the sum before it is not above p
    expert = torch.where(before <= p, order, -1)[:, :max_per_token]
    token = torch.where(expert >= 0, torch.arange(tokens)[:, None], -1)
    write_op("top_p_select", dict(probability=probability, token=token.reshape(-1), expert=expert.reshape(-1)),
             tokens=tokens, experts=experts, max_per_token=max_per_token, p=p)


def expert_choice_select():
    source = Inputs(56)
    tokens, experts, capacity, group_tokens = 24, 6, 5, 12
    score = exact(torch.softmax(source.normal(tokens, experts), dim=1))
    grouped = score.view(tokens // group_tokens, group_tokens, experts)
    chosen = grouped.topk(capacity, dim=1).indices.transpose(1, 2)  # [groups, experts, capacity], ids within a group
    token = chosen + group_tokens * torch.arange(tokens // group_tokens)[:, None, None]
    expert = torch.arange(experts)[None, :, None].expand_as(token)
    write_op("expert_choice_select", dict(score=score, token=token.reshape(-1), expert=expert.reshape(-1)),
             tokens=tokens, experts=experts, capacity=capacity, group_tokens=group_tokens)


def index_tables(token, expert, kept, tokens, experts, row_alignment):
    """The tables of kernels/moe/index_build.h, from their definition, entry by entry."""
    entries = len(token)
    rows = -(-(entries + experts * (row_alignment - 1)) // row_alignment) * row_alignment
    row_entry, row_token, entry_row = [-1] * rows, [-1] * rows, [-1] * entries
    seg_start, seg_count, row = [], [], 0
    for e in range(experts):
        seg_start.append(row)
        members = [n for n in range(entries) if expert[n] == e and kept[n]]
        for offset, n in enumerate(members):
            row_entry[row + offset], row_token[row + offset], entry_row[n] = n, int(token[n]), row + offset
        seg_count.append(len(members))
        row += -(-len(members) // row_alignment) * row_alignment
    token_start, token_entry = by_token_lists(token, expert, tokens)
    lists = dict(seg_start=seg_start, seg_count=seg_count, row_end=[row], row_entry=row_entry, row_token=row_token,
                 entry_row=entry_row)
    return dict({name: torch.tensor(values) for name, values in lists.items()}, token_start=token_start,
                token_entry=token_entry)


def assignments(source, tokens, experts, per_token):
    """A routing with holes, dropped entries, a token without any row (4) and an expert without any (2)."""
    score = source.uniform(tokens, experts)
    score[:, 2] = -1.0
    expert = score.topk(per_token, dim=1).indices.reshape(-1)
    token = torch.arange(tokens).repeat_interleave(per_token)
    expert[per_token * 3] = -1
    kept = torch.ones(tokens * per_token, dtype=torch.bool)
    kept[per_token * 4 : per_token * 5] = False
    kept[per_token * 6] = False
    kept[expert < 0] = False
    return token, expert, kept


def gather_and_combine():
    source = Inputs(57)
    tokens, experts, per_token, dim, row_alignment = 10, 5, 2, 12, 4
    token, expert, kept = assignments(source, tokens, experts, per_token)
    tables = index_tables(token, expert, kept, tokens, experts, row_alignment)
    entries, rows, row_end = len(token), len(tables["row_entry"]), int(tables["row_end"])
    live = tables["row_token"] >= 0
    row_entry, row_token = tables["row_entry"][live], tables["row_token"][live]
    shapes = dict(tokens=tokens, experts=experts, slots=experts, entries=entries, rows=rows, dim=dim,
                  row_alignment=row_alignment)
    routing = dict(token=token, expert=expert, kept=kept, **tables)

    def scatter_rows(values):
        """values of the live rows at their places in a buffer of `rows` rows, zero elsewhere"""
        place = torch.nn.functional.one_hot(torch.nonzero(live)[:, 0], rows).double()
        return place.T @ values

    x = source.normal(tokens, dim).requires_grad_()
    weight = source.uniform(entries, low=0.1).requires_grad_()
    dy = source.normal(rows, dim) * live[:, None]
    y_plain = scatter_rows(x[row_token])
    y_weighted = scatter_rows(x[row_token] * weight[row_entry, None])
    (dx_plain,) = gradients(y_plain, dy, x)
    dx_weighted, dweight = gradients(y_weighted, dy, x, weight)
    write_op("gather_rows",
             dict(routing, x=x, weight=weight, y=y_plain, dy=dy, dx=dx_plain, y_weighted=y_weighted,
                  dx_weighted=dx_weighted, dweight=dweight), **shapes)

    y = (source.normal(rows, dim) * live[:, None]).requires_grad_()
    identity = source.normal(tokens, dim).requires_grad_()
    dout = source.normal(tokens, dim)
    dropped = torch.nonzero((expert >= 0) & (tables["entry_row"] < 0))[:, 0]
    to_token = torch.nn.functional.one_hot(row_token, tokens).double()
    out = to_token.T @ (weight[row_entry, None] * y[live])
    dropped_to_token = torch.nn.functional.one_hot(token[dropped], tokens).double()
    out_identity = out + dropped_to_token.T @ (weight[dropped, None] * identity[token[dropped]])
    dy, dweight = torch.autograd.grad(out, (y, weight), grad_outputs=dout, retain_graph=True)
    dy_identity, dweight_identity, didentity = gradients(out_identity, dout, y, weight, identity)
    if not torch.equal(dy, dy_identity):
        raise ValueError("the identity term must not change dy")
    write_op("combine",
             dict(routing, y=y, weight=weight, out=out, dout=dout, dy=dy, dweight=dweight, identity=identity,
                  out_identity=out_identity, dweight_identity=dweight_identity, didentity=didentity), **shapes)
    if row_end >= rows:
        raise ValueError("this case should leave rows beyond row_end")


if __name__ == "__main__":
    grouped_linear()
    router_scores()
    gate_weight()
    topk_select()
    top_p_select()
    expert_choice_select()
    gather_and_combine()
