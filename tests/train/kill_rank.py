#!/usr/bin/env python3
"""Kills one process of several at random moments; the job must end, name it, and go on.

usage: tests/train/kill_rank.py PATH/TO/talpa [--kills N] [--ranks N] [--seed S] [--stop]

After each kill -9 of a random rank every other process must have ended within ten seconds, with an
error that names it, and what is lost are the steps since the newest checkpoint. The run that goes on
ends with the bits of one that nothing disturbed. --stop also stops (SIGSTOP) a process once, which
closes no connection and takes its heartbeat.
"""

import argparse
import os
import random
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from ranks import MODES, Work

LIMIT = 10


def ranks_of(launcher):
    """Rank -> process id of the launcher's children."""
    found = {}
    for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            continue
        for entry in environment:
            if entry.startswith(b"RANK="):
                found[int(entry[5:])] = int(pid)
    return found


def newest(work, run):
    names = sorted(p.name for p in (work.folder / run / "checkpoints").glob("step-*"))
    return int(names[-1][5:]) if names else 0


def start(work, run, ranks, resume):
    command = [work.talpa, "launch", "-n", str(ranks), "train", "dense.toml", "-o", run]
    for setting in MODES["mixed"]:
        command += ["--set", setting.format(ranks=ranks)]
    if resume:
        command.append("--resume")
    with open(work.folder / "errors.txt", "w", encoding="utf-8") as errors:
        return subprocess.Popen(command, cwd=work.folder, stderr=errors,
                                env={**os.environ, "OMP_WAIT_POLICY": "passive"})


def errors_of(work):
    return (work.folder / "errors.txt").read_text(encoding="utf-8")


def wait_for_progress(process, work, run, before):
    """Until a checkpoint more than before is there, so that the kill hits a run under way."""
    end = time.monotonic() + 120
    while newest(work, run) <= before:
        if process.poll() is not None or time.monotonic() > end:
            raise SystemExit(f"no progress: {errors_of(work)}")
        time.sleep(0.005)


def hit(work, run, ranks, resume, kind, chance):
    before = newest(work, run)
    process = start(work, run, ranks, resume)
    wait_for_progress(process, work, run, before)
    time.sleep(chance.uniform(0, 0.4))
    children = ranks_of(process.pid)
    victim = chance.choice(sorted(children))
    began = time.monotonic()
    os.kill(children[victim], kind)
    others = [pid for rank, pid in children.items() if rank != victim]
    while any(Path(f"/proc/{pid}").exists() for pid in others):
        if time.monotonic() - began > LIMIT:
            raise SystemExit(f"rank {victim}: others live after {LIMIT} s")
        time.sleep(0.01)
    seconds = time.monotonic() - began
    if kind == signal.SIGSTOP:
        os.kill(children[victim], signal.SIGKILL)
    status, text = process.wait(), errors_of(work)
    errors = [line for line in text.splitlines() if "error:" in line]
    if kind == signal.SIGSTOP:  # The launcher sees who ends, and that one does not.
        errors = [line for line in errors if "ended with status" not in line]
    named = [line for line in errors if f"rank {victim} (pid {children[victim]})" in line]
    if status != 1 or not named:
        raise SystemExit(f"status {status}, rank {victim} is not named in:\n{text}")
    misled = [line for line in errors if re.search(r"rank \d+ \(pid", line) and line not in named]
    print(f"rank {victim} at checkpoint {newest(work, run)}: {len(named)} errors in {seconds:.1f} s"
          f"{', ' + str(len(misled)) + ' name another' if misled else ''}", flush=True)
    return named[0], len(misled)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("talpa")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stop", action="store_true")
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        work = Work(options.talpa, folder, 40 + 30 * options.kills)
        recipe = work.folder / "dense.toml"
        text = re.sub(r"checkpoint_every = \d+", "checkpoint_every = 4", recipe.read_text())
        recipe.write_text(text)
        whole = start(work, "whole", options.ranks, resume=False)
        if whole.wait() != 0:
            raise SystemExit(errors_of(work))
        kinds = [signal.SIGKILL] * options.kills + [signal.SIGSTOP] * options.stop
        misled = 0
        for number, kind in enumerate(kinds):
            message, wrong = hit(work, "killed", options.ranks, number > 0, kind, chance)
            misled += wrong
        print(message)
        last = start(work, "killed", options.ranks, resume=True)
        if last.wait() != 0:
            raise SystemExit(errors_of(work))
        for name in ("final", "final-ema"):
            a, b = (work.folder / run / name / "model.safetensors" for run in ("whole", "killed"))
            if a.read_bytes() != b.read_bytes():
                raise SystemExit(f"{name} differs from that of the undisturbed run")
        if misled:
            raise SystemExit(f"{misled} errors name a process that was not hit")
    print(f"{len(kinds)} hits, same bits")


if __name__ == "__main__":
    main()
