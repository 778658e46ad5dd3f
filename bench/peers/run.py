#!/usr/bin/env python3
"""Times talpa and its peers on the same files, in turn, and prints one table.

Each round runs every program once on the model at hand: A B C, A B C, ... A run is a process of
its own: it loads the model, does the work once uncounted, and once timed. The ratio to the best
peer is the median of the rounds' ratios, so that what slows the machine slows both sides of it.
"""

import argparse
import json
import pathlib
import platform
import random
import struct
import sys
import tempfile
import time

import isas
import machine
import summary
from programs import DEFAULT, ROOT, WITH_NEIGHBOUR, Job, all_programs

VOCABULARY = 49152  # of SmolLM2's tokenizer
QUIET = 0.05  # of the machine, that others may take in a run that is worth keeping


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", type=pathlib.Path,
                        help="GGUF files with SmolLM2's vocabulary (default: .assets/peers/*.gguf "
                        "and SmolLM2's Q4_1)")
    parser.add_argument("--programs", help=f"({','.join(DEFAULT)}; with --busy-core also those "
                        "whose threads wait asleep)")
    parser.add_argument("--talpa", default=ROOT / "build/release/bin/talpa", type=pathlib.Path)
    isas.add_option(parser)
    parser.add_argument("--prompt", type=int, default=512, help="tokens (%(default)s)")
    parser.add_argument("--decode", type=int, default=128, help="tokens (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--timeout", type=float, default=300, help="seconds a run (%(default)s)")
    parser.add_argument("--busy-core", action="store_true",
                        help="each run also with a busy loop on one of the cores")
    parser.add_argument("--json", type=pathlib.Path, help="write every run here")
    return parser.parse_args()


def models_of(options):
    models = options.models or [
        *sorted((ROOT / ".assets/peers").glob("*.gguf")),
        *(ROOT / ".assets/smollm2").glob("*.gguf")]
    absent = [str(path) for path in models if not path.exists()]
    if absent or not models:
        sys.exit(f"no model {' '.join(absent)}: run bench/peers/make_moe.py and make_smollm2.py")
    return models


def programs_of(options):
    known = all_programs(options.talpa, options.isa)
    chosen = {}
    wanted = options.programs.split(",") if options.programs else (
        WITH_NEIGHBOUR if options.busy_core else DEFAULT)
    for name in wanted:
        if name not in known:
            sys.exit(f"no program {name}; there are {', '.join(known)}")
        reason = known[name].missing()
        if reason:
            print(f"{name} is left out: {reason}", file=sys.stderr)
        else:
            chosen[name] = known[name]
    return chosen


def write_ids(path, count):
    """The same tokens for every program: even over the vocabulary, so that experts are too."""
    draw = random.Random(1)
    path.write_bytes(b"".join(struct.pack("<H", draw.randrange(VOCABULARY))
                              for _ in range(count)))


def time_once(program, job, options, busy):
    neighbour = (machine.BusyCore(machine.available_cores()[0], 2 * options.timeout) if busy
                 else machine.NoNeighbour())
    with neighbour:
        done = machine.run(program.command(job), program.environment, options.timeout, neighbour)
    return (*program.read(done.output, job), done.others)


class Session:
    """Runs that were made, and programs that failed on a model and are not tried there again."""

    def __init__(self, options, programs):
        self.options, self.programs = options, programs
        self.runs, self.failures = [], []

    def round(self, job, number):
        for name, program in self.programs.items():
            for busy in (False, True) if self.options.busy_core else (False,):
                if (job.model.stem, name) in {(f["model"], f["program"]) for f in self.failures}:
                    continue
                self.one(name, program, job, number, busy)

    def one(self, name, program, job, number, busy):
        place = f"{job.model.stem}, round {number + 1}, {name}{', busy core' if busy else ''}"
        try:
            prefill, decode, others = time_once(program, job, self.options, busy)
        except (machine.Failed, ValueError, KeyError) as error:
            self.failures.append({"model": job.model.stem, "program": name, "why": repr(error)})
            print(f"{place}: failed: {error}", file=sys.stderr)
            return
        self.runs.append(summary.Run(job.model.stem, name, number, busy, prefill, decode, others))
        print(f"{place}: prefill {prefill.per_second:.1f}, decode {decode.per_second:.1f} "
              f"tokens/s, others {100 * others:.1f} %", file=sys.stderr, flush=True)


def machine_facts(options, settings=("prompt", "decode")):
    """What a report says of the machine and of these options."""
    with open("/proc/cpuinfo", encoding="ascii") as file:
        info = dict(line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines())
    info = {key.strip(): value.strip() for key, value in info.items()}
    wanted = ("avx2", "f16c", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")
    return {"processor": info.get("model name", platform.machine()),
            "instructions": [flag for flag in wanted if flag in info.get("flags", "").split()],
            "isa": options.isa, "cores": len(machine.available_cores()),
            **{name: getattr(options, name) for name in ("threads", "rounds", *settings)},
            "date": time.strftime("%Y-%m-%d")}


def main():
    options = parse_arguments()
    if options.busy_core and options.threads > len(machine.available_cores()):
        sys.exit("--busy-core needs as many cores as threads")
    session = Session(options, programs_of(options))
    facts = machine_facts(options)
    try:
        with tempfile.TemporaryDirectory() as scratch:
            ids = pathlib.Path(scratch) / "ids.u16"
            write_ids(ids, options.prompt + options.decode)
            for model in models_of(options):
                job = Job(model, ids, options.prompt, options.decode, options.threads)
                for number in range(options.rounds):
                    session.round(job, number)
    except KeyboardInterrupt:
        print("interrupted; what was measured:", file=sys.stderr)
    finish(session, facts, options)
    return 1 if session.failures or not session.runs else 0


def finish(session, facts, options):
    if options.json:
        report = {"machine": facts, "failures": session.failures, **summary.report(session.runs)}
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{facts['processor']}, {' '.join(facts['instructions'])}; programs use "
          f"{isas.description(options.isa)}; {options.threads} threads; "
          f"medians of {options.rounds} rounds in turn; prefill {options.prompt}, "
          f"decode {options.decode} tokens")
    if session.runs:
        print(summary.speed_table(session.runs))
    noisy = sum(run.others > QUIET for run in session.runs)
    if noisy:
        print(f"In {noisy} of {len(session.runs)} runs other processes took over "
              f"{100 * QUIET:.0f} % of the machine: measure again when it is quiet.")
    if any(run.busy for run in session.runs):
        print("\nWith one core taken by a busy loop:")
        print(summary.speed_table(session.runs, busy=True))


if __name__ == "__main__":
    sys.exit(main())
