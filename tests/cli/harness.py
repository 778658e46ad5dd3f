"""Runs the talpa program, and makes tiny models for it to run on."""

import json
import math
import os
import random
import struct
import subprocess
import tempfile
import unittest
from pathlib import Path

PROGRAM = os.environ.get("TALPA_PROGRAM", "build/dev/bin/talpa")
VOCAB = 260
END = "<|endoftext|>"


def run(*arguments, text=None, timeout=120, environment=None):
    """The finished process of `talpa arguments...`, output as text."""
    return subprocess.run(
        [PROGRAM, *map(str, arguments)], input=text, capture_output=True, text=True,
        timeout=timeout, env={**os.environ, **(environment or {})}, check=False)


def byte_alphabet():
    """GPT-2's visible character of each byte."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {byte: chr(byte) for byte in visible}
    for byte in range(256):
        if byte not in table:
            table[byte] = chr(256 + len(table) - len(visible))
    return table


def tokenizer_json():
    """Byte-level BPE without merges: 256 bytes, then special tokens."""
    specials = [END, "<|im_start|>", "<|im_end|>", "<|pad|>"]
    vocabulary = {char: index for index, char in enumerate(byte_alphabet().values())}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "normalizer": None,
        "added_tokens": [
            {"id": 256 + i, "content": token, "single_word": False, "lstrip": False,
             "rstrip": False, "normalized": False, "special": True}
            for i, token in enumerate(specials)],
        "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None,
                  "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False,
                  "vocab": {**vocabulary, **{t: 256 + i for i, t in enumerate(specials)}},
                  "merges": []}}


CONFIG = {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "vocab_size": VOCAB,
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "intermediate_size": 64,
    "moe_intermediate_size": 16, "num_experts": 4, "num_experts_per_tok": 2,
    "norm_topk_prob": True, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
    "max_position_embeddings": 128, "tie_word_embeddings": False, "attention_bias": False,
    "decoder_sparse_step": 1, "mlp_only_layers": [], "hidden_act": "silu",
    "bos_token_id": 256, "eos_token_id": 256, "use_sliding_window": False,
    "torch_dtype": "float32"}


def shapes(config):
    dim, head = config["hidden_size"], config["head_dim"]
    heads, kv = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    width = config["moe_intermediate_size"]
    result = {"model.embed_tokens.weight": [config["vocab_size"], dim],
              "lm_head.weight": [config["vocab_size"], dim], "model.norm.weight": [dim]}
    for layer in range(config["num_hidden_layers"]):
        name = f"model.layers.{layer}."
        result |= {
            name + "input_layernorm.weight": [dim],
            name + "post_attention_layernorm.weight": [dim],
            name + "self_attn.q_proj.weight": [heads, dim],
            name + "self_attn.k_proj.weight": [kv, dim],
            name + "self_attn.v_proj.weight": [kv, dim],
            name + "self_attn.o_proj.weight": [dim, heads],
            name + "self_attn.q_norm.weight": [head],
            name + "self_attn.k_norm.weight": [head],
            name + "mlp.gate.weight": [config["num_experts"], dim]}
        for expert in range(config["num_experts"]):
            part = f"{name}mlp.experts.{expert}."
            result |= {part + "gate_proj.weight": [width, dim],
                       part + "up_proj.weight": [width, dim],
                       part + "down_proj.weight": [dim, width]}
    return result


def write_safetensors(path, tensors):
    """tensors: name -> (dtype, shape, bytes)."""
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            file.write(data)


def random_tensors(config, seed=0):
    generator = random.Random(seed)
    tensors = {}
    for name, shape in shapes(config).items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [1.0] * count if "norm" in name else [generator.gauss(0, 0.15) for _ in range(count)]
        tensors[name] = ("F32", shape, struct.pack(f"<{count}f", *values))
    return tensors


def make_model(folder, seed=0, config=None, tensors=None, tokenizer=True):
    """A tiny Qwen3-MoE directory with random weights."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    config = {**CONFIG, **(config or {})}
    (folder / "config.json").write_text(json.dumps(config))
    write_safetensors(folder / "model.safetensors",
                      tensors if tensors is not None else random_tensors(config, seed))
    if tokenizer:
        (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    return folder


def make_mixed_model(folder, seed=0):
    """The tiny model's shape with experts on low-rank mixed bases, one an expert (talpa's layout)."""
    dim, width, experts, rank = CONFIG["hidden_size"], CONFIG["moe_intermediate_size"], 4, 4
    latent = {"latent_dim": width, "group_size": 1, "factor_gate": True, "factor_up": True,
              "factor_down": True, "share_gate_up_latent": False, "mixed": True,
              "basis_activation": "silu", "basis_rank": rank}
    talpa = {"family": "talpa", "origin": "qwen3_moe", "vocab_size": VOCAB, "dim": dim,
             "num_layers": 2, "ffn_dim": 64, "norm_eps": 1e-6, "max_positions": 128,
             "bos_token": 256, "eos_tokens": [256],
             "attention": {"num_heads": 2, "num_kv_heads": 1, "head_dim": 16,
                           "qk_norm": "per_head"},
             "moe": {"num_experts": experts, "top_k": 2, "hidden_dim": width, "latent": latent}}
    config = {"architectures": ["TalpaForCausalLM"], "model_type": "talpa", "talpa": talpa}
    tensors = {name: value for name, value in random_tensors(CONFIG, seed).items()
               if ".experts." not in name}
    generator = random.Random(seed)

    def add(name, *shape, pivots=0):
        count = math.prod(shape)
        values = ([float(i % shape[-1] < pivots) for i in range(count)] if pivots
                  else [generator.gauss(0, 0.4) for _ in range(count)])
        tensors[name] = ("F32", list(shape), struct.pack(f"<{count}f", *values))

    for layer in range(2):
        mlp = f"model.layers.{layer}.mlp."
        for side, matrices in (("fc1", ("gate", "up")), ("fc2", ("down",))):
            for matrix in matrices:
                part = f".{matrix}" if side == "fc1" else ""
                down = side == "fc2"
                add(f"{mlp}experts.{matrix}_proj.weight", experts, width, width)
                add(f"{mlp}{side}_latent_proj{part}.weight", experts,
                    *((dim, rank) if down else (rank, dim)))
                add(f"{mlp}{side}_latent_basis{part}.weight", experts,
                    *((rank, width - rank) if down else (width - rank, rank)))
                add(f"{mlp}{side}_latent_pivot{part}.weight", experts, width, pivots=rank)
                add(f"{mlp}{side}_latent_mix{part}.weight", experts, experts)
    return make_model(folder, config=config, tensors=tensors)


def shard(folder):
    """Splits a directory's model.safetensors in two and writes the index."""
    tensors = random_tensors(CONFIG)
    names = list(tensors)
    parts = {"model-00001-of-00002.safetensors": names[:10],
             "model-00002-of-00002.safetensors": names[10:]}
    for file, chosen in parts.items():
        write_safetensors(folder / file, {name: tensors[name] for name in chosen})
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(
        {"metadata": {}, "weight_map": {n: f for f, chosen in parts.items() for n in chosen}}))


class WithModel(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        root = Path(cls.folder.name)
        cls.root, cls.model = root, make_model(root / "tiny")
        cls.other = make_model(root / "other", seed=1)
        cls.text = root / "text.txt"
        cls.text.write_text("It was the best of times, it was the worst of times. " * 20)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def output(self, *arguments, **options):
        result = run(*arguments, **options)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def report(self, *arguments, **options):
        return json.loads(self.output(*arguments, "--json", **options))
