"""Rounds of layer.py: every program once on a layer, and what came of it."""

import sys

import layer_programs
import layer_report
import machine


def left_out(what, reason):
    print(f"{what} is left out: {reason}", file=sys.stderr, flush=True)


class Session:
    """Runs that were made, and what failed on a layer and is not tried there again."""

    def __init__(self, options):
        self.options = options
        self.talpa = layer_programs.TalpaLayer(options.talpa, options.isa)
        known = layer_programs.peers(options.isa, options.passive)
        self.peers = {}
        for name in options.programs:
            reason = known[name].missing()
            if reason:
                left_out(name, reason)
            else:
                self.peers[name] = known[name]
        self.runs, self.failures = [], []

    def round(self, layer, number):
        done = self.start(self.talpa.command(layer, self.options.dtypes, self.options.rows,
                                             self.options), self.talpa.environment)
        timings, distinct = self.talpa.read(done.output, layer)
        for (own, dtype, rows), timing in timings.items():
            self.keep(own, dtype, rows, "talpa", number, timing, done.others)
        for own in dict.fromkeys(own for own, _, _ in timings):
            for name, program in self.peers_on(own).items():
                for dtype in self.dtypes_of(program):
                    job = layer_programs.Job(
                        own, dtype, self.options.rows, self.options.threads,
                        distinct.get(dtype, next(iter(distinct.values()))), self.options.seconds,
                        self.options.repeats)
                    self.one(name, program, job, number, timings)

    def peers_on(self, layer):
        """Those that can compute it."""
        able = {name: program for name, program in self.peers.items() if program.can(layer)}
        unable = [name for name in self.peers if name not in able]
        key = {"layer": str(layer), "program": ", ".join(unable), "dtype": "",
               "why": "know only one latent for all experts, that gate and up share"}
        if unable and key not in self.failures:
            self.failures.append(key)
            print(f"{layer}: {key['program']} {key['why']}", file=sys.stderr, flush=True)
        return able

    def dtypes_of(self, program):
        """Of its types, those that stand beside one of talpa's."""
        wanted = {name for held in self.options.dtypes for name in layer_report.CANDIDATES[held]}
        return [dtype for dtype in program.dtypes if dtype in wanted]

    def one(self, name, program, job, number, timings):
        key = {"layer": str(job.layer), "program": name, "dtype": job.dtype}
        if any(key.items() <= failure.items() for failure in self.failures):
            return
        what = f"{job.layer.name}, {job.layer.latent or 'dense'}, {name} in {job.dtype}"
        try:
            done = self.start(program.command(job), program.environment)
            found = program.read(done.output, job)
            check_bytes(job, found, timings)
        except (machine.Failed, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[-1]
            self.failures.append(key | {"why": reason})
            left_out(what, reason)
            return
        for rows, timing in found.items():
            self.keep(job.layer, job.dtype, rows, name, number, timing, done.others)
        print(f"round {number + 1}, {what}: "
              + ", ".join(f"{rows} rows {layer_report.milliseconds(timing.wall)} ms"
                          for rows, timing in found.items())
              + f"; others {100 * done.others:.0f} %", file=sys.stderr, flush=True)

    def start(self, command, environment):
        return machine.run(command, environment, self.options.timeout, machine.NoNeighbour())

    def keep(self, layer, dtype, rows, program, number, timing, others):
        self.runs.append(layer_report.Run(
            str(layer), dtype, rows, program, number, timing.wall, timing.cpu, timing.bytes,
            timing.way, timing.share, timing.limit, others))


def check_bytes(job, found, timings):
    """Same routings: the same experts are hit, so the same bytes are read."""
    for rows, timing in found.items():
        ours = timings.get((job.layer, job.dtype, rows))
        if ours and abs(timing.bytes / ours.bytes - 1) > 1e-6:
            raise ValueError(f"{rows} rows read {timing.bytes:.0f} bytes, talpa's {ours.bytes:.0f}:"
                             " routings differ")
