#!/usr/bin/env python3
"""Several processes train what one does: losses and weights of both, step by step.

usage: tests/train/ranks.py PATH/TO/talpa [--steps N] [--ranks 2,4] [--modes data,sharded,experts]

Every mode and number of processes runs a recipe with dense or latent experts, a selection bias, the
balance loss over the global batch, Muon, averages and document masks. Shown is the largest
difference of loss from one process' run; more than 1e-5 fails. Sums in another order differ in the
last bit, and where two experts are as good as equal that decides between them: from the first such
step on, which is shown, two runs part, and an evaluation that chose otherwise may be off by what
one choice is worth. Then a run is stopped on several processes, goes on with one, and must end at
the same loss; and two runs of several processes must have the same bits.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOLERANCE = 1e-5
ONE_CHOICE = 2e-4  # what another expert for one of an evaluation's 768 tokens may do to its loss

RECIPE = """name = "ranks"
[model]
family = "talpa"
vocab_size = 300
dim = 64
num_layers = 2
ffn_dim = 64
tie_embeddings = true
eos_tokens = [0]
[model.attention]
num_heads = 2
num_kv_heads = 1
head_dim = 32
[model.moe]
num_experts = 8
top_k = 2
hidden_dim = 32
shared_hidden_dim = 32
selection_bias = true
balance_loss = 0.01
z_loss = 0.001
{latent}
[data]
train = "text.jsonl"
valid = "text.jsonl"
tokenizer = "tokenizer"
cache = "ids"
sequence_length = 64
batch_size = 6
eval_batches = 2
document_mask = true
[balance]
scope = "{scope}"
bias = "{bias}"
[trainer]
steps = {steps}
micro_batches = 2
log_every = 1
eval_every = 0
checkpoint_every = {half}
threads = 1
ema_decay = 0.9
[trainer.optimizer]
kind = "{optimizer}"
[trainer.spike_guard]
deviations = 20
[trainer.schedule]
warmup_steps = 5
learning_rate = 0.002
"""

MODELS = {
    "dense": {"latent": "", "scope": "global_batch", "bias": "sign", "optimizer": "muon"},
    "latent": {"latent": "[model.moe.latent]\nlatent_dim = 16", "scope": "micro_batch",
               "bias": "quantile", "optimizer": "adamw"},
    "groups": {"latent": "[model.moe.latent]\nlatent_dim = 16\ngroup_size = 4\nfactor_down = true",
               "scope": "sequence", "bias": "sign", "optimizer": "muon"},
}
MODES = {
    "data": [],
    "sharded": ["trainer.distribution.shard_optimizer=true"],
    "experts": ["trainer.distribution.expert_parallel={ranks}"],
    "mixed": ["trainer.distribution.expert_parallel=2",
              "trainer.distribution.shard_optimizer=true"],
}


class Work:
    def __init__(self, talpa, folder, steps):
        self.talpa, self.folder, self.steps = Path(talpa).resolve(), Path(folder), steps
        lines = [json.dumps({"text": f"{i} plus {i % 7} is {i + i % 7}."}) for i in range(900)]
        (self.folder / "text.jsonl").write_text("\n".join(lines) + "\n")
        (self.folder / "tokenizer").mkdir()
        subprocess.run([self.talpa, "tokenizer", "train", "text.jsonl", "--vocab-size", "300",
                        "-o", "tokenizer/tokenizer.json", "-q"], cwd=self.folder, check=True)
        for name, settings in MODELS.items():
            (self.folder / f"{name}.toml").write_text(
                RECIPE.format(steps=steps, half=max(steps // 2, 1), **settings))

    def start(self, model, run, ranks, settings, *more):
        command = [self.talpa]
        if ranks > 1:
            command += ["launch", "-n", str(ranks)]
        command += ["train", f"{model}.toml", "-o", run, "-q", *more]
        for setting in settings:
            command += ["--set", setting.format(ranks=ranks)]
        return subprocess.Popen(command, cwd=self.folder,
                                env={**os.environ, "OMP_WAIT_POLICY": "passive"})

    def train(self, *arguments):
        if (status := self.start(*arguments).wait()) != 0:
            raise SystemExit(f"{arguments}: ended with {status}")

    def rows(self, run):
        text = (self.folder / run / "metrics.jsonl").read_text()
        return [json.loads(line) for line in text.splitlines()]

    def losses(self, run):
        """(step, name) -> loss, and (step, name) -> load of experts."""
        losses, load = {}, {}
        for row in self.rows(run):
            for key in ("loss", "lm_loss", "balance_loss"):
                if key in row:
                    losses[row["step"], key] = row[key]
            for key in ("valid_", "valid_ema_"):
                if key + "loss" in row:
                    losses[row["step"], key] = row[key + "loss"]
                    load[row["step"], key] = [row[key + "load_entropy"], row[key + "load_max"],
                                              row[key + "load_min"]]
            if "expert_load" in row:
                load[row["step"], "loss"] = row["expert_load"]
        return losses, load

    def difference(self, one, other):
        """Largest up to the first training step that chose an expert otherwise, largest of
        evaluations before it that did, that step, and largest of all."""
        (a, load_a), (b, load_b) = self.losses(one), self.losses(other)
        if a.keys() != b.keys():
            raise SystemExit(f"{other} has other steps than {one}: {sorted(a.keys() ^ b.keys())}")
        apart = {key for key in load_a if load_a[key] != load_b[key]}
        flip = min((step for step, key in apart if key == "loss"), default=self.steps + 1)

        def largest(keys):
            return max((abs(a[key] - b[key]) for key in keys), default=0.0)
        before = {key for key in a if key[0] < flip}
        return largest(before - apart), largest(before & apart), flip, largest(a)

    def check(self, what, one, other, more=""):
        difference, evaluated, flip, whole = self.difference(one, other)
        chosen = "" if flip > self.steps else \
            f" before a choice of experts differs at step {flip}, {whole:.1e} after"
        if evaluated > 0:
            chosen += f", {evaluated:.1e} where an evaluation chose otherwise"
        print(f"{what}: largest difference {difference:.1e}{chosen}{more}", flush=True)
        if difference > TOLERANCE or evaluated > ONE_CHOICE or flip <= self.steps // 4:
            raise SystemExit("differs")


def compare(work, ranks, modes):
    for model in MODELS:
        work.train(model, f"{model}-1", 1, [])
        for count in ranks:
            for mode in modes:
                if mode == "mixed" and count < 4:
                    continue
                run = f"{model}-{count}-{mode}"
                work.train(model, run, count, MODES[mode])
                row = [r for r in work.rows(run) if "loss" in r][-1]
                moved = ""
                if "expert_bytes" in row:
                    share = row["expert_bytes"] / row["expert_bytes_of_whole_rows"]
                    moved = f"; {row['expert_bytes']:.0f} bytes a step, {share:.2f} of whole rows"
                work.check(f"{model:7} {mode:8} {count} ranks", f"{model}-1", run, moved)


def stop_and_go_on(work, ranks):
    """Stops by a signal to the launcher, goes on with one process; repeats a run for its bits."""
    model, run = "dense", "stopped"
    process = work.start(model, run, ranks, MODES["experts"] + ["trainer.checkpoint_every=1"])
    while not any((work.folder / run / "checkpoints").glob("step-*")) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    if (status := process.wait()) != 130:
        raise SystemExit(f"the stopped run ended with {status}")
    work.train(model, run, 1, [], "--resume")
    work.check(f"stopped on {ranks} processes with shared experts, gone on with one", f"{model}-1",
               run)
    for again in ("again-a", "again-b"):
        work.train(model, again, ranks, MODES["sharded"])
    a, b = (work.folder / r / "final" / "model.safetensors" for r in ("again-a", "again-b"))
    if a.read_bytes() != b.read_bytes():
        raise SystemExit("two runs of the same processes have other bits")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("talpa")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--ranks", default="2")
    parser.add_argument("--modes", default=",".join(MODES))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Work(options.talpa, folder, options.steps)
        ranks = [int(n) for n in options.ranks.split(",")]
        compare(work, ranks, options.modes.split(","))
        stop_and_go_on(work, ranks[-1])


if __name__ == "__main__":
    sys.exit(main())
