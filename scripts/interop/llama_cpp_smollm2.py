#!/usr/bin/env python3
"""SmolLM2-135M from its GGUF in talpa and in llama.cpp: perplexity of a fixed text (windows of 512
tokens, the second half of each scored) within 1 %, and greedy continuations of five prompts equal
for at least 20 tokens, or up to a near-tie of the two best logits.

Run: .venv-oracle/bin/python scripts/interop/llama_cpp_smollm2.py
"""
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import llama_cpp
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
TALPA = ROOT / os.environ.get("BUILD", "build/release") / "bin" / "talpa"
MODEL = ROOT / ".assets/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONTEXT, STEPS = 512, 32
# Both round activations to int8, with scales of fp16 there and fp32 here, which moves logits by this much.
NEAR_TIE = 0.25
PROMPTS = ["The capital of France is", "def fibonacci(n):", "Moles are small mammals that",
           "In the year 1969,", "The three laws of thermodynamics are"]


def talpa(*arguments):
    output = subprocess.run([TALPA, *map(str, arguments), "--json", "--quiet"], check=True,
                            capture_output=True, text=True).stdout
    return json.loads(output)


def perplexity(model, ids):
    """llama.cpp's own convention (tools/perplexity): whole windows, their second half scored."""
    total, count = 0.0, 0
    for start in range(0, len(ids) - CONTEXT + 1, CONTEXT):
        model.reset()
        model.eval(ids[start:start + CONTEXT])
        first = CONTEXT // 2
        logits = model.scores[first:CONTEXT - 1].astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        targets = np.array(ids[start + first + 1:start + CONTEXT])
        logs = logits[np.arange(len(targets)), targets] - np.log(np.exp(logits).sum(axis=1))
        total -= logs.sum()
        count += len(targets)
    return math.exp(total / count), count


def greedy(model, ids):
    model.reset()
    model.eval(ids)
    out, margins = [], []
    for _ in range(STEPS):
        row = model.scores[model.n_tokens - 1]
        best = np.argsort(row)[-2:][::-1]
        margins.append(float(row[best[0]] - row[best[1]]))
        out.append(int(best[0]))
        model.eval([out[-1]])
    return out, margins


def main():
    model = llama_cpp.Llama(str(MODEL), n_ctx=CONTEXT, n_batch=CONTEXT, logits_all=True,
                            n_threads=1, n_threads_batch=1, verbose=False)
    rows = [json.loads(line)["text"] for line in (ROOT / "models/heldout.jsonl").open()]
    text = "".join(rows)[:40000]
    good = True
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "text.txt"
        path.write_text(text)
        ids = model.tokenize(text.encode(), add_bos=False, special=False)[:CONTEXT * 8]
        theirs, count = perplexity(model, ids)
        report = talpa("eval", "ppl", MODEL, "--file", path, "--convention", "llama.cpp",
                       "--context", CONTEXT, "--max-tokens", len(ids))
        ours = report["perplexity"] if "perplexity" in report else report["rows"][0]["perplexity"]
        print(f"perplexity of {count} tokens: llama.cpp {theirs:.4f}, talpa {ours:.4f}, "
              f"ratio {ours / theirs:.5f}")
        good &= abs(ours / theirs - 1) < 0.01
    for prompt in PROMPTS:
        theirs, margins = greedy(model, model.tokenize(prompt.encode(), add_bos=False))
        ours = talpa("generate", MODEL, "-p", prompt, "-n", STEPS, "--ignore-eos")["tokens"]
        same = next((i for i, (a, b) in enumerate(zip(theirs, ours)) if a != b), STEPS)
        note = "" if same == STEPS else f", then llama.cpp's margin is {margins[same]:.3f} logits"
        print(f"{prompt!r}: {same} of {STEPS} tokens equal{note}")
        good &= same >= 20 or margins[same] < NEAR_TIE
    return 0 if good else 1


sys.exit(main())
