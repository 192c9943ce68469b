"""Goldens of Hugging Face model folders: tiny random models as `transformers` writes them, with what they compute.

Run from the repository root, with the packages of scripts/goldens/requirements.txt:
    python scripts/goldens/families.py

tests/golden/families/<case>/: config.json and model.safetensors, or shards with model.safetensors.index.json, written by
save_pretrained; expected.safetensors holds tokens [2,9], logits [2,8,vocab] of the first 8 of each row, loss, the mean
cross-entropy of predicting the last 8, and grad.<file's tensor name>, its gradients. Everything in f32, as the classes
come, also where the file is bf16. Shapes are odd on purpose: heads wider or narrower than hidden / heads, counts of
experts that are no powers of two, a vocabulary that is padded inside. The cases:

llama_tied            tied embeddings, rope stretched as in Llama 3.1
llama_shards          three shards, one key-value head, linear rope
llama_bf16            weights in bf16
mistral               windows of three tokens, heads of six
qwen2                 biases, one key-value head, tied embeddings
qwen3                 head_dim unlike hidden_size / heads, tied embeddings
dots1                 six experts, top-2, sigmoid scores with a selection bias, two shared, the first layer dense
granite               constants on embeddings, residuals, attention and logits
granitemoe            three experts, top-2, stacked in the file, with such constants
mixtral               three experts, top-2
mixtral_window        windows of five tokens
qwen2_moe             five experts, top-2, biases, a gated shared expert, the first layer dense
qwen3_moe             five experts, top-3, every second layer and one more dense, two shards
qwen3_moe_one_expert  one expert, whose router has no say
olmoe                 six experts, top-2, queries and keys normed over all heads, weights not renormalised
"""

import shutil

import safetensors.torch
import torch
import transformers
from torch.nn import functional

from golden import ROOT, sorted_header, write

FAMILIES_DIR = ROOT / "tests" / "golden" / "families"
BATCH, POSITIONS = 2, 8
SMALLEST_GAP = 1e-3  # between the last chosen and the first refused router probability

BASE = dict(
    vocab_size=53, hidden_size=16, intermediate_size=20, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, initializer_range=0.3, bos_token_id=None, eos_token_id=1,
    pad_token_id=None,
)
LLAMA3_ROPE = dict(rope_type="llama3", rope_theta=500.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=16)
LINEAR_ROPE = dict(rope_type="linear", rope_theta=10000.0, factor=2.0)


def names_of_granitemoe(tensors):
    """Files stack experts as models do, under other names."""
    for ours, name in ((".experts.gate_up_proj", ".input_linear.weight"), (".experts.down_proj", ".output_linear.weight"),
                       (".router.weight", ".router.layer.weight")):
        tensors = {key.replace(ours, name): x for key, x in tensors.items()}
    return tensors


def split_experts(tensors, mixtral):
    """Models keep the experts of a layer in two fused tensors; files name each expert's matrices."""
    names = ("w1", "w3", "w2") if mixtral else ("gate_proj", "up_proj", "down_proj")
    split = {}
    for name, x in tensors.items():
        name = name.replace(".mlp.", ".block_sparse_moe.") if mixtral else name
        prefix, _, last = name.rpartition(".")
        for e, matrix in enumerate(x if last in ("gate_up_proj", "down_proj") else ()):
            if last == "gate_up_proj":
                split[f"{prefix}.{e}.{names[0]}.weight"], split[f"{prefix}.{e}.{names[1]}.weight"] = matrix.chunk(2)
            else:
                split[f"{prefix}.{e}.{names[2]}.weight"] = matrix
        if last not in ("gate_up_proj", "down_proj"):
            split[name] = x
    return split


def smallest_gap(model):
    """Watches the routers: the last chosen probability (or biased score) minus the first refused one, over all tokens."""
    gaps = []

    def watch(module, inputs, outputs):
        logits = outputs[0].detach().double()
        bias = getattr(module, "e_score_correction_bias", None)
        scores = torch.softmax(logits, dim=-1) if bias is None else torch.sigmoid(logits) + bias
        probability = scores.sort(descending=True).values
        if module.top_k < probability.shape[-1]:
            gaps.append((probability[:, module.top_k - 1] - probability[:, module.top_k]).min().item())

    for name, module in model.named_modules():
        if name.endswith(("mlp.gate", "moe.router")):
            module.register_forward_hook(watch)
    return gaps


def random_model(config, seed, dtype):
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa",
                                                          experts_implementation="eager").train()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("norm.weight"):
                p.copy_(1 + 0.2 * torch.randn_like(p))
            elif name.endswith(("gate.weight", "router.weight")):
                p.copy_(0.3 * torch.randn_like(p))  # routers start at zero in some classes
            elif name.endswith("bias"):
                p.copy_(0.5 * torch.randn_like(p))
            p.copy_(p.to(dtype).float())
        for name, b in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                b.copy_(0.2 * torch.randn_like(b))
    return model, torch.randint(0, config.vocab_size, (BATCH, POSITIONS + 1))


def evaluate(model, tokens):
    """Logits, loss and the smallest gap of a router's choice."""
    gaps = smallest_gap(model)
    logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
    loss = functional.cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))
    return logits, loss, min(gaps, default=1)


def make(case, config, dtype=torch.float32, max_shard_size="50GB"):
    for seed in range(1, 100):  # the first seed whose routers are not near a tie
        model, tokens = random_model(config, seed, dtype)
        logits, loss, gap = evaluate(model, tokens)
        if gap > SMALLEST_GAP:
            break
    loss.backward()
    print(f"{case}: seed {seed}, loss {loss.item():.4f}, smallest gap {gap:.1e}")
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}  # before the model is rounded for its file
    if config.model_type == "granitemoe":
        gradients = names_of_granitemoe(gradients)
    else:
        gradients = split_experts(gradients, config.model_type == "mixtral")

    folder = FAMILIES_DIR / case
    shutil.rmtree(folder, ignore_errors=True)
    model.to(dtype).save_pretrained(folder, max_shard_size=max_shard_size)
    (folder / "generation_config.json").unlink(missing_ok=True)
    stored = {}
    for path in sorted(folder.glob("*.safetensors")):
        path.write_bytes(sorted_header(path.read_bytes()))
        stored.update(safetensors.torch.load_file(path))
    weights = {name for name in stored if not name.endswith("e_score_correction_bias")}  # which has no gradient
    if set(gradients) != weights:
        raise ValueError(f"{case}: gradients and files differ: {sorted(set(gradients) ^ weights)[:4]}")
    write(folder / "expected.safetensors",
          dict(tokens=tokens, logits=logits, loss=loss.reshape(1), **{f"grad.{n}": g for n, g in gradients.items()}), {})


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    t = transformers
    make("llama_tied", t.LlamaConfig(**BASE, tie_word_embeddings=True, rms_norm_eps=1e-5, rope_parameters=LLAMA3_ROPE))
    make("llama_shards", t.LlamaConfig(**dict(BASE, num_key_value_heads=1), head_dim=6, rope_parameters=LINEAR_ROPE),
         max_shard_size="9KB")
    make("llama_bf16", t.LlamaConfig(**dict(BASE, num_key_value_heads=4)), dtype=torch.bfloat16)
    make("mistral", t.MistralConfig(**BASE, head_dim=6, sliding_window=3))
    make("qwen2", t.Qwen2Config(**dict(BASE, num_key_value_heads=1), tie_word_embeddings=True))
    make("qwen3", t.Qwen3Config(**BASE, head_dim=10, tie_word_embeddings=True))
    make("dots1", t.Dots1Config(**BASE, moe_intermediate_size=12, n_routed_experts=6, n_shared_experts=2,
                                num_experts_per_tok=2, first_k_dense_replace=1, norm_topk_prob=True,
                                routed_scaling_factor=2.5))
    multipliers = dict(embedding_multiplier=3.0, residual_multiplier=0.4, attention_multiplier=0.3, logits_scaling=1.5)
    make("granite", t.GraniteConfig(**BASE, **multipliers, tie_word_embeddings=True))
    make("granitemoe", t.GraniteMoeConfig(**BASE, **multipliers, num_local_experts=3, num_experts_per_tok=2))
    make("mixtral", t.MixtralConfig(**BASE, num_local_experts=3, num_experts_per_tok=2))
    make("mixtral_window", t.MixtralConfig(**BASE, num_local_experts=3, num_experts_per_tok=2, sliding_window=5))
    make("qwen2_moe", t.Qwen2MoeConfig(**BASE, moe_intermediate_size=12, shared_expert_intermediate_size=14,
                                       num_experts=5, num_experts_per_tok=2, mlp_only_layers=[0]))
    qwen3_moe = dict(BASE, head_dim=6, moe_intermediate_size=12)
    make("qwen3_moe", t.Qwen3MoeConfig(**dict(qwen3_moe, num_hidden_layers=4), num_experts=5, num_experts_per_tok=3,
                                       norm_topk_prob=True, decoder_sparse_step=2, mlp_only_layers=[3]),
         max_shard_size="20KB")
    make("qwen3_moe_one_expert", t.Qwen3MoeConfig(**qwen3_moe, num_experts=1, num_experts_per_tok=1))
    make("olmoe", t.OlmoeConfig(**BASE, num_experts=6, num_experts_per_tok=2))
