"""Makes tests/golden/model/<case>/: tiny random checkpoints of every family as transformers
saves them, with the logits of a fixed sequence, a greedy continuation, and for some a GGUF
written by gguf-py in the layout of llama.cpp's converter.

Run: .venv-oracle/bin/python scripts/golden/model_families.py [CASE ...]
"""

import json
import pathlib
import shutil
import sys

import gguf
import torch
import transformers
from safetensors.torch import load_file, save_file

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "model"
PROMPT_TOKENS, GREEDY_TOKENS = 24, 16
# A greedy step closer than this could go either way within the tolerance of the tests.
MIN_MARGIN = 0.02

COMMON = dict(
    vocab_size=128, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=2)
CASES = {
    "llama": dict(model_type="llama", intermediate_size=48, rms_norm_eps=1e-5),
    "llama_tied": dict(
        model_type="llama", intermediate_size=64, head_dim=16, tie_word_embeddings=True,
        rope_theta=500000.0, rms_norm_eps=1e-6, eos_token_id=[2, 3]),
    "mixtral": dict(
        model_type="mixtral", intermediate_size=24, num_local_experts=8, num_experts_per_tok=2),
    "qwen2_moe": dict(
        model_type="qwen2_moe", intermediate_size=48, moe_intermediate_size=16, num_experts=8,
        num_experts_per_tok=3, shared_expert_intermediate_size=24, norm_topk_prob=False),
    "qwen3_moe": dict(
        model_type="qwen3_moe", intermediate_size=48, moe_intermediate_size=16, num_experts=8,
        num_experts_per_tok=2, norm_topk_prob=False, mlp_only_layers=[0], head_dim=8),
    "qwen3_moe_sparse": dict(
        model_type="qwen3_moe", intermediate_size=48, moe_intermediate_size=16, num_experts=8,
        num_experts_per_tok=3, norm_topk_prob=True, head_dim=16, tie_word_embeddings=True),
    "olmoe": dict(
        model_type="olmoe", intermediate_size=16, num_experts=8, num_experts_per_tok=3,
        norm_topk_prob=False, clip_qkv=1.5, pad_token_id=None, num_key_value_heads=4),
}
GGUF_ARCHITECTURES = {"llama": "llama", "mixtral": "llama", "qwen2_moe": "qwen2moe"}


def build(settings, seed):
    settings = dict(settings)
    theta = settings.pop("rope_theta", 10000.0)
    config = transformers.AutoConfig.for_model(
        **{**COMMON, **settings}, rope_parameters={"rope_theta": theta, "rope_type": "default"})
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(
        config, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.uniform_(0.5, 1.5)
            elif name.endswith("bias"):
                parameter.normal_(0, 0.3)
            elif "embed" in name:
                parameter.normal_(0, 0.6)
            else:
                gain = 3.0 if "gate.weight" in name else 1.5
                parameter.normal_(0, gain / parameter.shape[-1] ** 0.5)
            parameter.copy_(parameter.to(torch.bfloat16).float())
    return model


@torch.no_grad()
def run(model, seed):
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, model.config.vocab_size, (PROMPT_TOKENS,), generator=generator)
    logits = model(tokens[None]).logits[0]
    sequence, margin = tokens.tolist(), 1e9
    for _ in range(GREEDY_TOKENS):
        best = model(torch.tensor([sequence])).logits[0, -1].topk(2)
        margin = min(margin, (best.values[0] - best.values[1]).item())
        sequence.append(best.indices[0].item())
    return tokens, logits, torch.tensor(sequence[PROMPT_TOKENS:]), margin


def rotary_pairs(weight, heads):
    """The row order of llama.cpp's converter for architecture llama."""
    return (weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
            .swapaxes(1, 2).reshape(weight.shape))


def gguf_tensors(architecture, config, tensors):
    names = gguf.get_tensor_name_map(
        gguf.MODEL_ARCH[architecture.upper()], config.num_hidden_layers)
    stacks = {}
    for name, tensor in sorted(tensors.items()):
        if ".experts." in name:
            head, _, tail = name.partition(".experts.")
            expert, _, matrix = tail.partition(".")
            stacks.setdefault(f"{head}.experts.{matrix}", {})[int(expert)] = tensor
            continue
        if architecture == "llama" and name.endswith("q_proj.weight"):
            tensor = rotary_pairs(tensor, config.num_attention_heads)
        if architecture == "llama" and name.endswith("k_proj.weight"):
            tensor = rotary_pairs(tensor, config.num_key_value_heads)
        if name.endswith("shared_expert_gate.weight"):
            tensor = tensor.squeeze(0)
        yield names.get_name(name, try_suffixes=(".weight", ".bias")), tensor
    for name, experts in stacks.items():
        stack = torch.stack([experts[i] for i in range(len(experts))])
        yield names.get_name(name, try_suffixes=(".weight",)), stack


def write_gguf(path, architecture, config, tensors):
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_bos_token_id(config.bos_token_id)
    writer.add_eos_token_id(config.eos_token_id)
    if architecture != "llama" or hasattr(config, "num_local_experts"):
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
    if hasattr(config, "moe_intermediate_size"):
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
        writer.add_expert_shared_feed_forward_length(config.shared_expert_intermediate_size)
    for name, tensor in gguf_tensors(architecture, config, tensors):
        if tensor.dim() == 1 or "ffn_gate_inp" in name:
            writer.add_tensor(name, tensor.float().numpy())
        else:
            writer.add_tensor(
                name, tensor.contiguous().view(torch.uint8).numpy(),
                raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def make(case):
    for seed in range(1000):
        model = build(CASES[case], seed)
        tokens, logits, greedy, margin = run(model, seed)
        if margin > MIN_MARGIN and len(set(greedy.tolist())) >= 6:
            break
    directory = OUT / case
    shutil.rmtree(directory, ignore_errors=True)
    model.to(torch.bfloat16).save_pretrained(directory)
    save_file({"tokens": tokens.int(), "logits": logits.contiguous(), "greedy": greedy.int()},
              directory / "expected.safetensors")
    tensors = load_file(directory / "model.safetensors")
    if case in GGUF_ARCHITECTURES:
        write_gguf(directory / "model.gguf", GGUF_ARCHITECTURES[case], model.config, tensors)
    size = sum(file.stat().st_size for file in directory.iterdir())
    print(json.dumps({"case": case, "seed": seed, "margin": round(margin, 3), "bytes": size,
                      "logit_std": round(logits.std().item(), 3), "greedy": greedy.tolist()}))


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    for case in sys.argv[1:] or CASES:
        make(case)
