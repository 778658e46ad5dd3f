"""Medians, ratios of runs taken in turn, and the table that shows them."""

import dataclasses
import statistics

PHASES = ("prefill", "decode")
MEASURES = ("per_second", "per_core_second")


@dataclasses.dataclass(frozen=True)
class Phase:
    """One timed piece of work: tokens, seconds of the clock, seconds of all cores together.

    `share` is the part of the machine's `limit` for this work (memory, int8, ...) that was reached,
    where the program measured that.
    """

    tokens: int
    wall: float
    cpu: float
    share: float | None = None
    limit: str | None = None

    @property
    def per_second(self):
        return self.tokens / self.wall

    @property
    def per_core_second(self):
        return self.tokens / self.cpu


@dataclasses.dataclass(frozen=True)
class Run:
    """One program on one model in one round; `others` is the share of the machine not its own."""

    model: str
    program: str
    round: int
    busy: bool
    prefill: Phase
    decode: Phase
    others: float


@dataclasses.dataclass(frozen=True)
class Ratio:
    median: float
    low: float
    high: float
    rounds: int

    def __str__(self):
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def by_round(runs, phase, measure):
    return {run.round: getattr(getattr(run, phase), measure) for run in runs}


def median_rate(runs, phase, measure="per_second"):
    return statistics.median(by_round(runs, phase, measure).values())


def paired_ratio(numerators, denominators):
    """The ratio round by round, of the rounds that both have; None if there are none."""
    ratios = [value / denominators[i] for i, value in numerators.items() if i in denominators]
    if not ratios:
        return None
    return Ratio(statistics.median(ratios), min(ratios), max(ratios), len(ratios))


def select(runs, model, program=None, busy=False):
    return [run for run in runs if run.model == model and run.busy == busy
            and program in (None, run.program)]


def names(runs, field):
    return list(dict.fromkeys(getattr(run, field) for run in runs))


def against_best_peer(runs, model, ours, phase, measure="per_second", busy=False):
    """(name of the peer with the highest median, our ratio to it), or None without a peer."""
    here = select(runs, model, busy=busy)
    mine = by_round(select(here, model, ours, busy), phase, measure)
    peers = {name: by_round(select(here, model, name, busy), phase, measure)
             for name in names(here, "program") if name != ours}
    if not peers or not mine:
        return None
    best = max(peers, key=lambda name: statistics.median(peers[name].values()))
    ratio = paired_ratio(mine, peers[best])
    return ratio and (best, ratio)


def share_of_quiet(runs, model, program, phase):
    quiet = by_round(select(runs, model, program), phase, "per_second")
    busy = by_round(select(runs, model, program, busy=True), phase, "per_second")
    return paired_ratio(busy, quiet)


def limit_of(runs, model, phase):
    """(tokens a second that the machine allows, by which limit), or None if nobody measured it."""
    phases = [getattr(run, phase) for run in select(runs, model)]
    known = [(p.per_second / p.share, p.limit) for p in phases if p.share]
    if not known:
        return None
    return statistics.median(rate for rate, _ in known), statistics.mode(name for _, name in known)


def limit_cell(runs, model, phase, rate):
    found = limit_of(runs, model, phase)
    return f"{100 * rate / found[0]:.0f} % of {found[1]}" if found else "-"


def render(rows):
    """Columns aligned in plain text that is a Markdown table too."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
             for row in rows]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


def ratio_cell(runs, model, program, ours, phase, busy):
    if program != ours:
        return ""
    found = against_best_peer(runs, model, ours, phase, busy=busy)
    return f"{found[1]} {found[0]}" if found else "-"


def speed_cells(runs, model, mine):
    cells = []
    for phase in PHASES:
        rate = median_rate(mine, phase)
        cells += [f"{rate:.1f}", f"{median_rate(mine, phase, 'per_core_second'):.1f}",
                  limit_cell(runs, model, phase, rate)]
    return [*cells, f"{100 * statistics.median(run.others for run in mine):.1f} %"]


def speed_table(runs, ours="talpa", busy=False):
    """Medians of each program on each model; ours with its ratio to the best peer."""
    rows = [["model", "program", "prefill/s", "per core-s", "of limit", "decode/s", "per core-s",
             "of limit", "others", "prefill to best peer", "decode to best peer"]]
    if busy:
        rows[0] += ["prefill, share of quiet", "decode, share of quiet"]
    for model in names(runs, "model"):
        for program in names(select(runs, model, busy=busy), "program"):
            speeds = speed_cells(runs, model, select(runs, model, program, busy))
            ratios = [ratio_cell(runs, model, program, ours, phase, busy) for phase in PHASES]
            shares = [str(share_of_quiet(runs, model, program, phase) or "-")
                      for phase in PHASES] if busy else []
            rows.append([model, program, *speeds, *ratios, *shares])
    return render(rows)


def report(runs, ours="talpa"):
    """Everything the table shows and every single run, for JSON."""
    ratios = []
    for model in names(runs, "model"):
        for busy in sorted({run.busy for run in runs}):
            for phase in PHASES:
                for measure in MEASURES:
                    found = against_best_peer(runs, model, ours, phase, measure, busy)
                    if found:
                        ratios.append({"model": model, "busy": busy, "phase": phase,
                                       "measure": measure, "peer": found[0],
                                       **dataclasses.asdict(found[1])})
    return {"runs": [dataclasses.asdict(run) for run in runs], "ratios": ratios}
