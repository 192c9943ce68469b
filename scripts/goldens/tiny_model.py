"""Goldens of two whole tiny MoE models: logits, losses, every gradient, ten AdamW steps.

Run from the repository root, with the packages of scripts/goldens/requirements.txt:
    python scripts/goldens/tiny_model.py

tiny_qwen3_moe        Hugging Face Qwen3MoeForCausalLM in f64: qk-norm, softmax top-2 renormalised, first layer dense.
                      Its f32-pinned parts (norm, rotation, router) are replaced by the same formulas in f64.
                      plain_decoder.py must give the same everything.
tiny_sigmoid_shared   plain_decoder.py in f64: no qk-norm, tied embeddings, sigmoid scores with a selection bias, a
                      shared expert. Hugging Face knows this model as Glm4MoeForCausalLM.
Both must agree, over all ten steps, with the Hugging Face class as it comes, in f32.

tests/golden/models/<name>.safetensors: the initial parameters under their Hugging Face names; grad.<parameter> the
gradients of step 1; final.<parameter> the parameters after the ten steps; tokens, targets [2,16]; logits [2,16,64] and
routing.<layer>.{logits,expert} of step 1; loss, loss_cross_entropy, loss_load_balance, loss_z, grad_norm (before
clipping) [10], entry s of step s+1. All steps see the same batch. <name>.json: config, loss coefficients, optimizer.
"""

import json
import tempfile
from pathlib import Path

import safetensors.torch
import torch
import transformers
from torch.nn import functional
from transformers.models.qwen3_moe import modeling_qwen3_moe

import plain_decoder
from golden import MODELS_DIR, Inputs, write

STEPS = 10
BATCH, POSITIONS = 2, 16
COEFFICIENTS = {"load_balance": 0.01, "z_loss": 1e-3}
OPTIMIZER = {"beta1": 0.9, "beta2": 0.95, "epsilon": 1e-8, "weight_decay": 0.1, "clip": 1.0}
SMALLEST_GAP = 5e-4  # between the last chosen and the first refused selection score, over all tokens, layers and steps

BASE = dict(
    vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, head_dim=8, hidden_act="silu", max_position_embeddings=64, moe_intermediate_size=16,
    num_experts_per_tok=2, norm_topk_prob=True, attention_bias=False, attention_dropout=0.0,
    bos_token_id=None, eos_token_id=None, pad_token_id=None,
)
QWEN3_MOE = dict(
    architectures=["Qwen3MoeForCausalLM"], model_type="qwen3_moe", **BASE, num_experts=4, mlp_only_layers=[0],
    decoder_sparse_step=1, rms_norm_eps=1e-6, rope_theta=1e6, tie_word_embeddings=False, router_aux_loss_coef=0.0,
    output_router_logits=False,
)
SIGMOID_SHARED = dict(
    architectures=["Glm4MoeForCausalLM"], model_type="glm4_moe", **BASE, n_routed_experts=4, first_k_dense_replace=1,
    n_shared_experts=1, scoring_func="sigmoid", routed_scaling_factor=1.5, n_group=1, topk_group=1, use_qk_norm=False,
    partial_rotary_factor=1.0, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=True,
)


def initial_parameters(config, source):
    """Parameters by Hugging Face checkpoint name; large enough that routing and attention are far from uniform."""
    hidden, heads, kv_heads, head_dim = (config[k] for k in ("hidden_size", "num_attention_heads",
                                                             "num_key_value_heads", "head_dim"))
    experts = config.get("num_experts", config.get("n_routed_experts"))
    dense_layers = config.get("first_k_dense_replace", len(config.get("mlp_only_layers", [])))
    p = {"model.embed_tokens.weight": source.normal(config["vocab_size"], hidden, std=0.5)}

    def norm(name, dim):
        p[name] = source.normal(dim, std=0.1, mean=1.0)

    def mlp(prefix, width):
        for name, shape in (("gate", (width, hidden)), ("up", (width, hidden)), ("down", (hidden, width))):
            p[f"{prefix}.{name}_proj.weight"] = source.normal(*shape, std=0.2)

    for layer in range(config["num_hidden_layers"]):
        prefix = f"model.layers.{layer}"
        norm(f"{prefix}.input_layernorm.weight", hidden)
        for name, rows, columns in (("q", heads * head_dim, hidden), ("k", kv_heads * head_dim, hidden),
                                    ("v", kv_heads * head_dim, hidden), ("o", hidden, heads * head_dim)):
            p[f"{prefix}.self_attn.{name}_proj.weight"] = source.normal(rows, columns, std=0.2)
        if config["model_type"] == "qwen3_moe":
            norm(f"{prefix}.self_attn.q_norm.weight", head_dim)
            norm(f"{prefix}.self_attn.k_norm.weight", head_dim)
        norm(f"{prefix}.post_attention_layernorm.weight", hidden)
        if layer < dense_layers:
            mlp(f"{prefix}.mlp", config["intermediate_size"])
            continue
        p[f"{prefix}.mlp.gate.weight"] = source.normal(experts, hidden, std=0.3)
        if config.get("scoring_func") == "sigmoid":
            p[f"{prefix}.mlp.gate.e_score_correction_bias"] = source.normal(experts, std=0.1)
        for e in range(experts):
            mlp(f"{prefix}.mlp.experts.{e}", config["moe_intermediate_size"])
        if config.get("n_shared_experts", 0) > 0:
            mlp(f"{prefix}.mlp.shared_experts", config["moe_intermediate_size"] * config["n_shared_experts"])
    norm("model.norm.weight", hidden)
    if not config["tie_word_embeddings"]:
        p["lm_head.weight"] = source.normal(config["vocab_size"], hidden, std=0.2)
    return p


def is_buffer(name):
    return name.endswith("e_score_correction_bias")  # moved by a rule after the step (here: not at all), never by AdamW


def train(parameters, evaluate, by_checkpoint_name, tokens, targets, learning_rate):
    """Ten AdamW steps. `evaluate(tokens)` -> logits, record; `by_checkpoint_name(tensors)` renames and splits."""
    parameters = dict(parameters)
    decayed = [x for x in parameters.values() if x.ndim >= 2]
    others = [x for x in parameters.values() if x.ndim < 2]
    optimizer = torch.optim.AdamW(
        [dict(params=decayed, weight_decay=OPTIMIZER["weight_decay"]), dict(params=others, weight_decay=0.0)],
        lr=learning_rate, betas=(OPTIMIZER["beta1"], OPTIMIZER["beta2"]), eps=OPTIMIZER["epsilon"],
    )
    curves = {name: [] for name in ("loss", "loss_cross_entropy", "loss_load_balance", "loss_z", "grad_norm")}
    result, smallest_gap = {}, float("inf")
    for step in range(STEPS):
        optimizer.zero_grad(set_to_none=True)
        logits, record = evaluate(tokens)
        cross_entropy, balance, z = plain_decoder.losses(logits, record, targets, COEFFICIENTS)
        loss = cross_entropy + balance + z
        loss.backward()
        if step == 0:
            gradients = {n: torch.zeros_like(x) if x.grad is None else x.grad.clone() for n, x in parameters.items()}
            result.update({f"grad.{n}": g for n, g in by_checkpoint_name(gradients).items()})
            result["logits"] = logits.detach()
            first_moe = BASE["num_hidden_layers"] - len(record)  # the dense layers come first
            for i, routing in enumerate(record):
                result[f"routing.{first_moe + i}.logits"] = routing.logits.detach()
                result[f"routing.{first_moe + i}.expert"] = routing.expert
        norm = torch.nn.utils.clip_grad_norm_(parameters.values(), OPTIMIZER["clip"])
        optimizer.step()
        for name, value in zip(curves, (loss, cross_entropy, balance, z, norm)):
            curves[name].append(value.item())
        smallest_gap = min([smallest_gap] + [routing.gap.min().item() for routing in record])
    result.update({name: torch.tensor(values, dtype=torch.float64) for name, values in curves.items()})
    result.update({f"final.{n}": x.detach().clone() for n, x in by_checkpoint_name(parameters).items()})
    return result, smallest_gap


def train_plain(initial, config, tokens, targets, learning_rate, dtype):
    p = {name: x.to(dtype).clone() for name, x in initial.items()}
    trained = {name: x.requires_grad_() for name, x in p.items() if not is_buffer(name)}
    return train(trained, lambda ids: plain_decoder.forward(p, config, ids), dict, tokens, targets, learning_rate)


def train_plain_f64(initial, config, tokens, targets, learning_rate):
    return train_plain(initial, config, tokens, targets, learning_rate, torch.float64)


def hugging_face_model(initial, config, dtype):
    """The model as `from_pretrained` builds it from a checkpoint with our names; every tensor must be used."""
    with tempfile.TemporaryDirectory() as directory:
        safetensors.torch.save_file({name: x.to(dtype).contiguous() for name, x in initial.items()},
                                    Path(directory) / "model.safetensors", metadata={"format": "pt"})
        (Path(directory) / "config.json").write_text(json.dumps(config))
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            directory, dtype=dtype, attn_implementation="sdpa", experts_implementation="eager",
            output_loading_info=True)
    unused = {kind: names for kind, names in info.items() if names}
    if unused:
        raise ValueError(f"checkpoint and model disagree: {unused}")
    return model.eval()


def split_experts(tensors):
    """Hugging Face keeps the experts of a layer in two fused tensors; checkpoints name each expert's matrices."""
    split = {}
    for name, x in tensors.items():
        prefix, _, last = name.rpartition(".")
        if last == "gate_up_proj":
            for e, both in enumerate(x):
                split[f"{prefix}.{e}.gate_proj.weight"], split[f"{prefix}.{e}.up_proj.weight"] = both.chunk(2)
        elif last == "down_proj":
            split.update({f"{prefix}.{e}.down_proj.weight": y for e, y in enumerate(x)})
        else:
            split[name] = x
    return split


def train_hugging_face(initial, config, tokens, targets, learning_rate):
    """The Hugging Face model as it comes, in f32; its routers' outputs are read by hooks."""
    model = hugging_face_model(initial, config, torch.float32)
    record = []

    def read_router(module, inputs, outputs):
        logits, _, expert = outputs
        score = torch.sigmoid(logits) if config.get("scoring_func") == "sigmoid" else torch.softmax(logits, dim=1)
        probability = score / score.sum(1, keepdim=True)
        record.append(plain_decoder.Routing(logits, probability, expert, torch.full((1,), float("inf"))))

    for name, module in model.named_modules():
        if name.endswith("mlp.gate"):
            module.register_forward_hook(read_router)

    def evaluate(ids):
        record.clear()
        return model(input_ids=ids, use_cache=False).logits, list(record)

    return train(model.named_parameters(), evaluate, split_experts, tokens, targets, learning_rate)


def train_qwen3_moe(initial, config, tokens, targets, learning_rate):
    """Hugging Face's model in f64, its f32-pinned parts replaced by the same formulas in the dtype of their input."""

    def norm_forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon) * self.weight

    def rotary_forward(self, x, position_ids):
        dim = config["head_dim"]
        inv_freq = 1.0 / config["rope_theta"] ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        angle = position_ids[..., None].double() * inv_freq
        angle = torch.cat((angle, angle), dim=-1)
        return angle.cos().to(x.dtype), angle.sin().to(x.dtype)

    record = []

    def router_forward(self, x):
        logits = functional.linear(x.reshape(-1, self.hidden_dim), self.weight)
        probability = torch.softmax(logits, dim=-1)
        ranked, expert = torch.topk(probability, self.top_k + 1, dim=-1)
        weight, expert = ranked[:, : self.top_k], expert[:, : self.top_k]
        gap = (ranked[:, self.top_k - 1] - ranked[:, self.top_k]).detach()
        record.append(plain_decoder.Routing(logits, probability, expert, gap))
        return logits, weight / weight.sum(dim=-1, keepdim=True), expert

    model = hugging_face_model(initial, config, torch.float64)
    for module in model.modules():  # per instance: the f32 check below uses the classes as they come
        for kind, replacement in ((modeling_qwen3_moe.Qwen3MoeRMSNorm, norm_forward),
                                  (modeling_qwen3_moe.Qwen3MoeRotaryEmbedding, rotary_forward),
                                  (modeling_qwen3_moe.Qwen3MoeTopKRouter, router_forward)):
            if isinstance(module, kind):
                module.forward = replacement.__get__(module)

    def evaluate(ids):
        record.clear()
        return model(input_ids=ids, use_cache=False).logits, list(record)

    return train(model.named_parameters(), evaluate, split_experts, tokens, targets, learning_rate)


def relative_error(a, b):
    return ((a.double() - b.double()).norm() / b.double().norm().clamp(min=1e-30)).item()


def largest_error(a, b, prefix):
    return max(relative_error(a[name], b[name]) for name in b if name.startswith(prefix))


def check(claim, error, bound):
    print(f"  {claim}: {error:.2e}")
    if not error <= bound:
        raise ValueError(f"{claim}: {error} exceeds {bound}")


def make(name, config, seed, learning_rate, train_reference):
    source = Inputs(seed)
    initial = initial_parameters(config, source)
    ids = source.integers(0, config["vocab_size"], BATCH, POSITIONS + 1)
    tokens, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    golden, gap = train_reference(initial, config, tokens, targets, learning_rate)
    print(f"{name}: loss {golden['loss'][0]:.6f} -> {golden['loss'][-1]:.6f}, smallest selection gap {gap:.2e}")
    if gap < SMALLEST_GAP:
        raise ValueError(f"{name}: a selection gap of {gap} is too close to a tie; choose another seed")
    if set(n[5:] for n in golden if n.startswith("grad.")) != set(n for n in initial if not is_buffer(n)):
        raise ValueError(f"{name}: gradients and parameters do not have the same names")

    if train_reference is not train_plain_f64:
        plain, _ = train_plain_f64(initial, config, tokens, targets, learning_rate)
        for part in ("loss", "logits", "grad", "final"):
            check(f"plain f64 {part}", largest_error(plain, golden, part), 1e-10)
    hugging_face, _ = train_hugging_face(initial, config, tokens, targets, learning_rate)
    for part in ("loss", "logits", "grad", "final"):
        check(f"Hugging Face f32 {part}", largest_error(hugging_face, golden, part), 1e-5)

    # What f32 arithmetic alone costs, by the same formulas: the tests' tolerances can be judged against it.
    single, _ = train_plain(initial, config, tokens, targets, learning_rate, torch.float32)
    errors = {f"f32_error_{part}": largest_error(single, golden, part) for part in ("loss", "logits", "grad", "final")}
    print("  " + ", ".join(f"{n} {e:.1e}" for n, e in errors.items()))

    final_buffers = {f"final.{n}": x for n, x in initial.items() if is_buffer(n)}
    tensors = dict(initial, tokens=tokens, targets=targets, **golden, **final_buffers)
    write(MODELS_DIR / f"{name}.safetensors", tensors, {})
    description = dict(
        config=config,
        losses=dict(COEFFICIENTS, scope="micro_batch", sum_over="moe_layers"),
        optimizer=dict(OPTIMIZER, learning_rate=learning_rate, steps=STEPS,
                       decayed="parameters with at least two dimensions"),
        batch=dict(samples=BATCH, positions=POSITIONS),
        smallest_selection_gap=float(f"{gap:.2e}"),
        **{n: float(f"{e:.1e}") for n, e in errors.items()},
    )
    (MODELS_DIR / f"{name}.json").write_text(json.dumps(description, indent=2) + "\n")


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    make("tiny_qwen3_moe", QWEN3_MOE, 63, 0.01, train_qwen3_moe)
    # This seed leaves one expert of the first MoE layer without a token in step 1: its gradients are exactly zero.
    make("tiny_sigmoid_shared", SIGMOID_SHARED, 86, 0.003, train_plain_f64)
