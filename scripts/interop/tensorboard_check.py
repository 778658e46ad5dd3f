#!/usr/bin/env python3
"""Reads a run's event files with TensorBoard's own reader, and compares with metrics.jsonl.

usage: scripts/interop/tensorboard_check.py RUN       (needs the PyPI package tensorboard)
"""

import json
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main():
    run = Path(sys.argv[1])
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    compared = 0
    for key in ("loss", "learning_rate", "gradient_norm", "valid_loss"):
        expected = {row["step"]: row[key] for row in rows if key in row}
        actual = {event.step: event.value for event in events.Scalars(key)}
        if sorted(actual) != sorted(expected):
            sys.exit(f"{key}: steps {sorted(actual)} instead of {sorted(expected)}")
        for step, value in expected.items():
            if abs(actual[step] - value) > 1e-6 * abs(value):
                sys.exit(f"{key} at step {step}: {actual[step]} instead of {value}")
        compared += len(expected)
    print(f"{compared} values of {len(events.Tags()['scalars'])} scalars agree")


if __name__ == "__main__":
    main()
