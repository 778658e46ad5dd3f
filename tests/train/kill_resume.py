#!/usr/bin/env python3
"""Kills a training run at random moments, goes on, and asks for the same bits in the end.

usage: tests/train/kill_resume.py PATH/TO/talpa [--kills N] [--seed S]

The recipe has everything that a checkpoint must hold: Muon and AdamW, averaged weights, a selection
bias, the spike guard; it saves every other step, so that many kills fall into saving. What is
compared with a run that nothing disturbed: the final model, its averages, and the last checkpoint's
weights, optimiser and position.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from pathlib import Path

RECIPE = """name = "kill"
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
hidden_dim = 32
selection_bias = true
[data]
train = "text.jsonl"
valid = "text.jsonl"
tokenizer = "tokenizer"
cache = "ids"
sequence_length = 64
batch_size = 4
eval_batches = 1
document_mask = true
[balance]
bias = "sign"
[trainer]
steps = {steps}
micro_batches = 2
log_every = 5
eval_every = 0
checkpoint_every = 2
threads = 1
ema_decay = 0.9
[trainer.optimizer]
kind = "muon"
[trainer.spike_guard]
deviations = 6
"""
COMPARED = ["final/model.safetensors", "final-ema/model.safetensors"]
COMPARED_IN_CHECKPOINT = ["model.safetensors", "optimizer.safetensors", "ema.safetensors",
                          "trainer.json"]


class Work:
    def __init__(self, talpa, folder, steps):
        self.talpa, self.folder, self.steps = Path(talpa).resolve(), Path(folder), steps
        lines = [json.dumps({"text": f"{i} plus {i % 7} is {i + i % 7}."}) for i in range(900)]
        (self.folder / "text.jsonl").write_text("\n".join(lines) + "\n")
        (self.folder / "tokenizer").mkdir()
        subprocess.run([self.talpa, "tokenizer", "train", "text.jsonl", "--vocab-size", "300",
                        "-o", "tokenizer/tokenizer.json", "-q"], cwd=self.folder, check=True)
        (self.folder / "recipe.toml").write_text(RECIPE.format(steps=steps))

    def start(self, run, *more):
        return subprocess.Popen(
            [self.talpa, "train", "recipe.toml", "-o", run, "-q", *more], cwd=self.folder,
            env={**os.environ, "OMP_WAIT_POLICY": "passive"}, start_new_session=True)

    def whole(self, run):
        if (status := self.start(run).wait()) != 0:
            raise SystemExit(f"the undisturbed run ended with {status}")

    def disturbed(self, run, kills, chance):
        """Kills until that many kills have hit a run that had begun to save; then lets it end."""
        hits = 0
        checkpoints = self.folder / run / "checkpoints"
        while hits < kills:
            begun = (self.folder / run / "config.json").exists()
            process = self.start(run, *(["--resume"] if begun else []))
            # Every other kill hits while a checkpoint is being written.
            saving = hits % 2 == 1
            before = self.names(checkpoints)
            while process.poll() is None and not any(
                    name.startswith(".") == saving for name in self.names(checkpoints) - before):
                time.sleep(0.001)
            time.sleep(chance.uniform(0, 0.02 if saving else 0.25))
            if process.poll() is not None:
                raise SystemExit(f"ended with {process.returncode} after {hits} kills: too fast, "
                                 "or it could not go on")
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            hits += 1
            print(f"kill {hits}: left {sorted(self.names(checkpoints))}", flush=True)
        if (status := self.start(run, "--resume").wait()) != 0:
            raise SystemExit(f"the last resume ended with {status}")

    @staticmethod
    def names(folder):
        return set(os.listdir(folder)) if folder.exists() else set()

    def same(self, a, b):
        last = f"checkpoints/step-{self.steps:08}/"
        one, other = self.folder / a, self.folder / b
        different = [name for name in COMPARED + [last + n for n in COMPARED_IN_CHECKPOINT]
                     if (one / name).read_bytes() != (other / name).read_bytes()]
        if different:
            raise SystemExit(f"differ after kills: {different}")
        leftovers = [n for n in os.listdir(self.folder / b / "checkpoints") if n.startswith(".")]
        if leftovers:
            raise SystemExit(f"left behind: {leftovers}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("talpa")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        # About 20 steps pass between a start and its kill.
        work = Work(options.talpa, folder, steps=60 + 40 * options.kills)
        work.whole("whole")
        work.disturbed("killed", options.kills, random.Random(options.seed))
        work.same("whole", "killed")
    print(f"{options.kills} kills, same bits")


if __name__ == "__main__":
    main()
