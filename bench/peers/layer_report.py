"""The table of layer.py: talpa on each layer beside what others need for the same work."""

import dataclasses
import statistics

import summary

OURS = "talpa"
# What a peer may hold beside talpa's type: the faster, since torch's bf16 is slow on many CPUs.
CANDIDATES = {"f32": ("f32",), "bf16": ("bf16", "f32"), "q8_0": ("q8_0",)}
SHOWN_WAYS = ("eager", "grouped_mm", "batched_mm", "amx")


@dataclasses.dataclass(frozen=True)
class Run:
    """One program on a layer in one round."""

    layer: str
    dtype: str
    rows: int
    program: str
    round: int
    wall: float
    cpu: float
    bytes: float
    way: str
    share: float | None
    limit: str | None
    others: float  # share of the machine that other processes took


def select(runs, **wanted):
    return [run for run in runs if all(getattr(run, key) == value for key, value in wanted.items())]


def walls(runs):
    return {run.round: run.wall for run in runs}


def median_wall(runs):
    return statistics.median(walls(runs).values())


def milliseconds(seconds):
    """Three digits."""
    value = 1e3 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A peer in the faster of its types: seconds, and talpa's speed over its."""

    program: str
    dtype: str
    way: str
    seconds: float
    ratio: summary.Ratio

    def __str__(self):
        way = f" {self.way}" if self.way in SHOWN_WAYS else ""
        return f"{milliseconds(self.seconds)} {self.dtype}{way}: {self.ratio}"


def compare(runs, ours, program):
    """None where the peer has no run of such a type."""
    first = ours[0]
    held = {dtype: select(runs, layer=first.layer, rows=first.rows, program=program, dtype=dtype)
            for dtype in CANDIDATES[first.dtype]}
    held = {dtype: found for dtype, found in held.items() if found}
    if not held:
        return None
    dtype = min(held, key=lambda name: median_wall(held[name]))
    ratio = summary.paired_ratio(walls(held[dtype]), walls(ours))
    if ratio is None:
        return None
    way = statistics.mode(run.way for run in held[dtype])
    return Comparison(program, dtype, way, median_wall(held[dtype]), ratio)


def names_of_peers(runs):
    return [name for name in dict.fromkeys(run.program for run in runs) if name != OURS]


def comparisons(runs):
    """(talpa's runs of one layer, type and number of rows, [Comparison or None of each peer])"""
    talpa = select(runs, program=OURS)
    keys = dict.fromkeys((run.layer, run.dtype, run.rows) for run in talpa)
    for layer, dtype, rows in keys:
        ours = select(talpa, layer=layer, dtype=dtype, rows=rows)
        yield ours, [compare(runs, ours, name) for name in names_of_peers(runs)]


def share_cell(ours):
    shares = [run.share for run in ours if run.share]
    return f"{100 * statistics.median(shares):.0f} % of {ours[0].limit}" if shares else "-"


def best_cell(compared):
    known = [found for found in compared if found]
    if not known:
        return "-"
    best = min(known, key=lambda found: found.seconds)
    return f"{best.ratio} {best.program}"


def layer_table(runs, layer):
    """Peers that computed nothing of this layer have no column."""
    here = select(runs, layer=layer)
    lines = [["held", "rows", "talpa", "of limit", *names_of_peers(here), "to best peer"]]
    for ours, compared in comparisons(here):
        lines.append([ours[0].dtype, str(ours[0].rows), milliseconds(median_wall(ours)),
                      share_cell(ours), *(str(found or "-") for found in compared),
                      best_cell(compared)])
    return summary.render(lines)


def tables(runs):
    """Milliseconds of a pass; peers with the type they held and talpa's speed over theirs."""
    layers = dict.fromkeys(run.layer for run in runs)
    return "\n\n".join(f"{layer}; ms\n\n{layer_table(runs, layer)}" for layer in layers)


def report(runs):
    """Every run and every comparison, for JSON."""
    compared = [{"layer": ours[0].layer, "dtype": ours[0].dtype, "rows": ours[0].rows,
                 "talpa_seconds": median_wall(ours), "peer": dataclasses.asdict(found)}
                for ours, of_peers in comparisons(runs) for found in of_peers if found]
    return {"runs": [dataclasses.asdict(run) for run in runs], "comparisons": compared}
