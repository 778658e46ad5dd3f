"""Checks that lm-evaluation-harness scores a model behind `talpa serve` as it does with transformers.

A multiple-choice task of 200 items is made of models/heldout.jsonl: the beginning of a passage, and
four continuations, three of which are from elsewhere. Log-likelihoods of every choice must agree
within 1e-2, and the accuracies be the same. Times are of the wall and of the processor, loading left out.

Run: PYTHON scripts/interop/lm_eval_serve.py [MODEL], where PYTHON has lm_eval, transformers and torch.
MODEL: a Hugging Face folder, or a GGUF file that transformers can read (models/reference-moe).
"""

import argparse
import json
import pathlib
import random
import resource
import sys
import tempfile
import time

import lm_eval
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.models.openai_completions import LocalCompletionsAPI
from lm_eval.tasks import TaskManager
from transformers import AutoModelForCausalLM, AutoTokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/serve"), str(ROOT / "bench/peers")]
from machine import process_seconds  # noqa: E402
from running_server import MODEL, RunningServer  # noqa: E402

ITEMS, CONTEXT, CHOICE, TOLERANCE = 200, 500, 80, 1e-2
TASK = """task: talpa_continuations
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{context}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{label}}}}"
target_delimiter: ""
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""


def make_task(folder):
    passages = []
    for line in (ROOT / "models/heldout.jsonl").read_text(encoding="utf-8").splitlines():
        text = json.loads(line)["text"]
        for start in range(0, len(text) - CONTEXT - CHOICE, CONTEXT + CHOICE):
            passages.append(text[start:start + CONTEXT + CHOICE])
    generator = random.Random(1)
    items = []
    for i in generator.sample(range(len(passages)), ITEMS):
        others = generator.sample([j for j in range(len(passages)) if j != i], 3)
        order = generator.sample([i, *others], 4)
        items.append({"context": passages[i][:CONTEXT], "label": order.index(i),
                      "choices": [passages[j][CONTEXT:] for j in order]})
    file = folder / "items.jsonl"
    file.write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    (folder / "talpa_continuations.yaml").write_text(TASK.format(file=file), encoding="utf-8")


def evaluate(folder, model, cpu_seconds):
    wall, cpu = time.monotonic(), cpu_seconds()
    results = lm_eval.simple_evaluate(
        model=model, tasks=["talpa_continuations"], bootstrap_iters=0, log_samples=True,
        task_manager=TaskManager(include_path=str(folder), include_defaults=False))
    seconds = time.monotonic() - wall, cpu_seconds() - cpu
    samples = sorted(results["samples"]["talpa_continuations"], key=lambda s: s["doc_id"])
    scores = [response for sample in samples for response in sample["filtered_resps"]]
    return results["results"]["talpa_continuations"], scores, seconds


def load_transformers(model):
    folder, options = (model, {}) if model.is_dir() else (model.parent, {"gguf_file": model.name})
    return (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options),
            AutoTokenizer.from_pretrained(folder, **options))


def own_cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", type=pathlib.Path, default=MODEL)
    model = parser.parse_args().model.resolve()
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        make_task(folder)
        network, tokenizer = load_transformers(model)
        tokenizer.save_pretrained(folder / "tokenizer")
        theirs, their_scores, their_time = evaluate(
            folder, HFLM(pretrained=network, tokenizer=tokenizer, batch_size=16, device="cpu"),
            own_cpu_seconds)
        with RunningServer("--dtype", "f32", "--parallel", 16, "--ctx-size", 1024,
                           model=model) as server:
            ours, our_scores, our_time = evaluate(
                folder,
                LocalCompletionsAPI(
                    model="served", base_url=f"{server.url}/v1/completions", batch_size=16,
                    tokenizer=str(folder / "tokenizer"), tokenizer_backend="huggingface", num_concurrent=1,
                    max_length=1024),
                lambda: process_seconds(server.process.pid))
    worst = max(abs(a[0] - b[0]) for a, b in zip(our_scores, their_scores))
    greedy = sum(bool(a[1]) != bool(b[1]) for a, b in zip(our_scores, their_scores))
    print(f"{len(our_scores)} choices: largest difference of a log-likelihood {worst:.2e}, "
          f"{greedy} greedy flags differ")
    for name, result, (wall, cpu) in (("transformers", theirs, their_time),
                                      ("talpa", ours, our_time)):
        print(f"{name:13} acc {result['acc,none']:.4f}  acc_norm {result['acc_norm,none']:.4f}  "
              f"{wall:.1f} s, {cpu:.1f} CPU s")
    assert len(our_scores) == len(their_scores) == 4 * ITEMS
    assert worst < TOLERANCE and greedy == 0
    assert ours["acc,none"] == theirs["acc,none"]
    assert ours["acc_norm,none"] == theirs["acc_norm,none"]


if __name__ == "__main__":
    main()
