#!/usr/bin/env python3
"""A whole training step in fp32 of talpa and of transformers, in turn: CPU seconds a step.

A Qwen3-MoE of 22 M parameters (width 256, 6 layers, 32 experts of 128, 4 a token), AdamW, gradients
clipped, load-balance loss, 6,144 tokens a step. transformers takes its experts
implementation that is the faster here, and torch's fused AdamW. A step of talpa is what a longer
run takes more than a shorter one. Memory is the process' peak. Needs the corpus (scripts/fetch-data)
and torch with transformers (scripts/bootstrap --oracle).

usage: bench/peers/train_step.py [--rounds N] [--length N] [--threads N] [--talpa PROGRAM]
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_WAIT_POLICY"] = "passive"  # threads that wait take no CPU time
ROOT = Path(__file__).resolve().parents[2]
SHORT, LONG, TOKENS = 2, 6, 6144
RECIPE = f"""
name = "step"
[model]
family = "talpa"
vocab_size = 4096
dim = 256
num_layers = 6
norm_eps = 1e-6
tie_embeddings = true
max_positions = 1024
bos_token = 0
eos_tokens = [0]
[model.attention]
num_heads = 4
num_kv_heads = 2
head_dim = 64
qk_norm = "per_head"
[model.moe]
num_experts = 32
top_k = 4
hidden_dim = 128
normalize_top_k = true
balance_loss = 0.02
[data]
train = "{ROOT}/.assets/corpus/train.jsonl"
valid = "{ROOT}/.assets/corpus/valid.jsonl"
tokenizer = "{ROOT}/models/tokenizer-4k"
eval_batches = 1
[trainer]
log_every = 1
eval_every = 1000
checkpoint_every = 1000
[trainer.optimizer]
clip_norm = 1.0
"""


def children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_talpa(options, steps):
    """CPU seconds of a run, and its peak in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder) / "step.toml"
        recipe.write_text(RECIPE, encoding="utf-8")
        before = children()
        settings = {"trainer.steps": steps, "data.sequence_length": options.length,
                    "data.batch_size": TOKENS // options.length}
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        subprocess.run([options.talpa, "train", recipe, "-o", f"{folder}/run", "--threads",
                        str(options.threads), *words], check=True, stderr=subprocess.PIPE)
        lines = (Path(folder) / "run/metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return children() - before, json.loads(lines[0])["peak_memory_bytes"]


def run_transformers(options, way):
    """CPU seconds a step, and the process' peak in bytes."""
    done = subprocess.run([sys.executable, __file__, "--step-of", way, "--threads",
                           str(options.threads), "--length", str(options.length)],
                          check=True, stdout=subprocess.PIPE, text=True)
    seconds, peak = done.stdout.split()
    return float(seconds), float(peak)


def step_of(way, threads, length):
    import torch
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM
    torch.set_num_threads(threads)
    config = Qwen3MoeConfig(
        vocab_size=4096, hidden_size=256, num_hidden_layers=6, num_attention_heads=4,
        num_key_value_heads=2, head_dim=64, num_experts=32, num_experts_per_tok=4,
        moe_intermediate_size=128, norm_topk_prob=True, tie_word_embeddings=True,
        output_router_logits=True, router_aux_loss_coef=0.02, use_cache=False,
        max_position_embeddings=1024)
    config._experts_implementation = way
    model = Qwen3MoeForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    ids = torch.randint(0, 4096, (TOKENS // length, length))
    seconds = []
    for _ in range(LONG - SHORT):
        start = time.process_time()
        model(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        seconds.append(time.process_time() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(statistics.median(seconds[1:]), peak)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--length", type=int, default=512, help="tokens of a sequence")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--talpa", default=str(ROOT / "build/release/bin/talpa"))
    parser.add_argument("--step-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step_of:
        return step_of(options.step_of, options.threads, options.length)
    ways = ("eager", "grouped_mm")
    times = {way: [] for way in ("talpa", *ways)}
    peaks = {}
    for _ in range(options.rounds):
        (short, _), (long, peaks["talpa"]) = (run_talpa(options, n) for n in (SHORT, LONG))
        times["talpa"].append((long - short) / (LONG - SHORT))
        for way in ways:
            seconds, peaks[way] = run_transformers(options, way)
            times[way].append(seconds)
    ratios = [min(t) / own for own, *t in zip(times["talpa"], *(times[way] for way in ways))]
    print("| | CPU s a step | tokens a CPU second | peak memory |\n|---|---|---|---|")
    for way, seconds in times.items():
        median = statistics.median(seconds)
        print(f"| {way} | {median:.2f} | {TOKENS / median:.0f} | {peaks[way] / 1e9:.2f} GB |")
    print(f"best of transformers / talpa: {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
