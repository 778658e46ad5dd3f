#!/usr/bin/env python3
"""Checks that the programs compute the same: greedy tokens of a prompt, and loss of a text.

Tokens must be equal up to where the other program's two best logits are nearly equal (activations
are rounded differently), the loss equal within half a percent.
usage: check.py [MODEL ...] [--talpa PATH] [--isa avx2]
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import isas
import machine
from programs import ROOT, Job, all_programs
from run import models_of

TOKENS = 16
PROMPT_BYTES = 200
NEAR_TIE = 0.1  # of the two best logits, in standard deviations of all logits
LOSS_TOKENS = 256


def talpa(program, *arguments):
    done = subprocess.run([program.binary, *map(str, arguments), "--json", "--quiet"], check=True,
                          capture_output=True, text=True, timeout=300, env=program.environment)
    return json.loads(done.stdout)


def write_ids(path, ids):
    path.write_bytes(b"".join(value.to_bytes(2, "little") for value in ids))


def peer(program, task, model, ids, counts, threads=2):
    job = Job(model, ids, *counts, threads)
    done = machine.run(program.worker(task, job), program.environment, 300, machine.NoNeighbour())
    return json.loads(done.output)


def check(name, program, model, files, ours):
    prompt, text = files
    theirs = peer(program, "greedy", model, prompt, (ours["prompt_tokens"], TOKENS))
    same = next((i for i, (a, b) in enumerate(zip(theirs["tokens"], ours["tokens"])) if a != b),
                TOKENS)
    tie = same < TOKENS and theirs["margins"][same] < NEAR_TIE
    loss = peer(program, "nll", model, text, (LOSS_TOKENS, 0))["nll"]
    good = abs(loss / ours["nll"] - 1) < 5e-3 and (same == TOKENS or tie)
    print(f"{model.stem}, {name}: {same} of {TOKENS} greedy tokens equal"
          f"{', then nearly a tie' if tie else ''}; loss {loss:.4f}, talpa's {ours['nll']:.4f}"
          f"{'' if good else ': THEY DIFFER'}", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", type=pathlib.Path)
    parser.add_argument("--talpa", default=ROOT / "build/release/bin/talpa", type=pathlib.Path)
    isas.add_option(parser)
    options = parser.parse_args()
    programs = all_programs(options.talpa, options.isa)
    own = programs["talpa"]
    peers = {name: program for name, program in programs.items()
             if hasattr(program, "worker") and "passive" not in name and not program.missing()}
    if not peers:
        sys.exit("no peer is installed: run bench/peers/setup")
    with (ROOT / "models/heldout.jsonl").open(encoding="utf-8") as file:
        text = json.loads(file.readline())["text"]
    good = True
    with tempfile.TemporaryDirectory() as scratch:
        files = pathlib.Path(scratch) / "prompt.u16", pathlib.Path(scratch) / "text.u16"
        for model in models_of(options):
            for path, part in zip(files, (text[:PROMPT_BYTES], text)):
                write_ids(path, talpa(own, "tokenize", model, part)["ids"])
            ours = talpa(own, "generate", model, "-p", text[:PROMPT_BYTES], "-n", TOKENS,
                         "--ignore-eos", "--threads", 2)
            loss = talpa(own, "eval", "ppl", model, "--file", files[1], "--ids",
                         "--context", LOSS_TOKENS, "--max-tokens", LOSS_TOKENS, "--threads", 2)
            ours["nll"] = loss["nll"]
            for name, program in peers.items():
                good &= check(name, program, model, files, ours)
    return 0 if good else 1


sys.exit(main())
