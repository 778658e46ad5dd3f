#!/usr/bin/env python3
"""Drops the experts that calibration text uses least, as a rival to factorisation.

usage: prune_experts.py MODEL OUT TEXT.jsonl [--share 0.25]
MODEL is a qwen3_moe directory; OUT gets the same share of experts fewer in every layer.
"""
import argparse
import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast


def routing_mass(model, tokenizer, texts, top_k):
    """Sum of router weights an expert gets, per layer."""
    mass = [torch.zeros(layer.mlp.gate.weight.shape[0]) for layer in model.model.layers]

    def hook(index):
        def record(module, inputs):
            hidden = inputs[0].reshape(-1, inputs[0].shape[-1]).float()
            probs = (hidden @ module.gate.weight.float().t()).softmax(-1)
            values, chosen = probs.topk(top_k, -1)
            values = values / values.sum(-1, keepdim=True)
            mass[index].index_add_(0, chosen.flatten(), values.flatten())
        return record

    for index, layer in enumerate(model.model.layers):
        layer.mlp.register_forward_pre_hook(hook(index))
    with torch.no_grad():
        for text in texts:
            ids = tokenizer(text, return_tensors="pt").input_ids[:, :512]
            model(ids)
    return mass


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--share", type=float, default=0.25)
    args = parser.parse_args()
    config = json.loads((args.model / "config.json").read_text())
    count = config.get("num_experts") or config["num_local_experts"]
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(args.model / "tokenizer.json"))
    rows = [json.loads(line)["text"] for line in args.text.read_text().splitlines()]
    mass = routing_mass(model, tokenizer, rows, config["num_experts_per_tok"])
    keep_count = count - round(count * args.share)

    weights = load_file(args.model / "model.safetensors")
    kept = {}
    for layer, values in enumerate(mass):
        keep = sorted(values.topk(keep_count).indices.tolist())
        prefix = f"model.layers.{layer}.mlp."
        kept[prefix + "gate.weight"] = weights[prefix + "gate.weight"][keep].contiguous()
        for new, old in enumerate(keep):
            for name in ("gate_proj", "up_proj", "down_proj"):
                tensor = weights[f"{prefix}experts.{old}.{name}.weight"]
                kept[f"{prefix}experts.{new}.{name}.weight"] = tensor
    for name, tensor in weights.items():
        if ".mlp." not in name:
            kept[name] = tensor
    args.out.mkdir(parents=True, exist_ok=True)
    for key in ("num_experts", "num_local_experts"):
        if key in config:
            config[key] = keep_count
    (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    shutil.copy(args.model / "tokenizer.json", args.out)
    save_file(kept, args.out / "model.safetensors", metadata={"format": "pt"})
    for layer, values in enumerate(mass):
        share = values / values.mean()
        print(f"layer {layer}: mass {share.min():.2f} to {share.max():.2f} of the mean")


main()
