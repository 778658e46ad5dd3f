#!/usr/bin/env python3
"""Times the experts of one layer in talpa and in its peers, in turn, and prints a table.

Layers are of published shapes with random weights, dense and, with --latent-dim, through latents.
Each round runs every program once, as a process of its own, on the same routings. A cell holds a
peer's milliseconds, the type it held its weights in, and talpa's speed over its: the median of the
rounds' ratios, with the lowest and the highest. Beside talpa's bf16 stands the faster of a peer's
bf16 and f32.
"""

import argparse
import dataclasses
import json
import pathlib
import sys

import isas
import layer_programs
import layer_report
import layer_shape
import machine
from layer_session import Session
from programs import ROOT
from run import QUIET, machine_facts

DTYPES = ("bf16", "f32", "q8_0")


def names(choices):
    def parse(text):
        found = text.split(",")
        unknown = [name for name in found if name not in choices]
        if unknown:
            raise argparse.ArgumentTypeError(
                f"{','.join(unknown)}: expected some of {','.join(choices)}")
        return found
    return parse


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    peers = list(layer_programs.peers())
    parser.add_argument("--config", type=names(layer_shape.PUBLISHED), metavar="NAMES",
                        default=list(layer_shape.PUBLISHED), dest="configs",
                        help=f"({','.join(layer_shape.PUBLISHED)})")
    parser.add_argument("--experts", type=int, metavar="N",
                        help="experts of the layer instead, top-k as it is (as published)")
    parser.add_argument("--dtype", type=names(DTYPES), default=list(DTYPES), dest="dtypes",
                        metavar="TYPES", help=f"that talpa holds ({','.join(DTYPES)})")
    parser.add_argument("--rows", default=[1, 8, 32, 512], metavar="N,...",
                        type=lambda text: [int(item) for item in text.split(",")],
                        help="that pass together (1,8,32,512)")
    parser.add_argument("--latent-dim", type=int, metavar="R", help="latent experts too")
    parser.add_argument("--group-size", type=int, default=0, metavar="K",
                        help="experts that share a latent, 0 = all (%(default)s)")
    parser.add_argument("--factor", type=names(("gate", "up", "down")),
                        default=["gate", "up", "down"], metavar="NAMES",
                        help="matrices that go through latents (gate,up,down)")
    parser.add_argument("--share-gate-up", action="store_true",
                        help="one latent for gate and up: with gate,up,down and one for all "
                        "experts, peers can compute it as dense experts between two matrices")
    parser.add_argument("--programs", type=names(peers), default=peers, metavar="NAMES",
                        help=f"({','.join(peers)})")
    parser.add_argument("--talpa", default=ROOT / "build/release/bin/talpa", type=pathlib.Path)
    isas.add_option(parser)
    parser.add_argument("--passive", action="store_true",
                        help="threads of peers wait asleep: where others take part of the machine")
    parser.add_argument("--threads", type=int, default=2, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--repeats", type=int, default=5,
                        help="of which a run reports the median, 5 at least (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.05,
                        help="at least, of a repeat (%(default)s)")
    parser.add_argument("--timeout", type=float, default=600, help="seconds a run (%(default)s)")
    parser.add_argument("--json", type=pathlib.Path, help="write every run here")
    return parser.parse_args()


def layer_of(options, name):
    layer = layer_shape.PUBLISHED[name]
    if options.experts:
        layer = dataclasses.replace(layer, experts=options.experts)
    if options.latent_dim:
        layer = dataclasses.replace(layer, latent=layer_shape.Latent(
            options.latent_dim, options.group_size, tuple(options.factor), options.share_gate_up))
    return layer


def main():
    options = parse_arguments()
    session = Session(options)
    reason = session.talpa.missing()
    if reason:
        sys.exit(reason)
    facts = machine_facts(options, ("rows", "repeats", "experts", "passive"))
    try:
        for layer in (layer_of(options, name) for name in options.configs):
            for number in range(options.rounds):
                session.round(layer, number)
    except KeyboardInterrupt:
        print("interrupted; what was measured:", file=sys.stderr)
    except (machine.Failed, ValueError) as error:
        session.failures.append({"layer": str(layer), "program": "talpa", "why": str(error)})
        print(f"{layer}: talpa failed: {error}", file=sys.stderr)
    finish(session, facts, options)
    return 0 if session.runs and not any(f["program"] == "talpa" for f in session.failures) else 1


def finish(session, facts, options):
    if options.json:
        report = {"machine": facts, "failures": session.failures,
                  **layer_report.report(session.runs)}
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{facts['processor']}, {' '.join(facts['instructions'])}; programs use "
          f"{isas.description(options.isa)}; {options.threads} threads; "
          f"medians of {options.rounds} rounds in turn")
    if session.runs:
        print("\n" + layer_report.tables(session.runs) + "\n")
    noisy = sum(run.others > QUIET for run in session.runs)
    if noisy:
        print(f"{noisy} of {len(session.runs)} figures were taken while other processes had over "
              f"{100 * QUIET:.0f} % of the machine: measure again when it is quiet.")


if __name__ == "__main__":
    sys.exit(main())
