"""Checks that transformers reads what talpa writes.

Every golden model of tests/golden/model is opened and written again by `resave_tool`, loaded by
transformers with no missing or unexpected key, and must give the logits of the original. Any
directories named on the command line (a materialised conversion, a training run) must load the
same way and give finite logits.

Run: .venv-oracle/bin/python scripts/interop/transformers_check.py [DIRECTORY ...]
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import torch
import transformers
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / os.environ.get("BUILD", "build/release") / "bin" / "resave_tool"
GOLDEN = ROOT / "tests" / "golden" / "model"


def load(directory):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info[kind]:
            raise SystemExit(f"{directory}: {kind}: {sorted(info[kind])[:5]}")
    return model.eval()


@torch.no_grad()
def check_golden(case, scratch):
    copy = scratch / case.name
    subprocess.run([TOOL, case, copy, "f32"], check=True)
    expected = load_file(case / "expected.safetensors")
    logits = load(copy)(expected["tokens"][None].long()).logits[0]
    difference = (logits - expected["logits"]).abs().max().item()
    print(f"{case.name:18} largest difference of logits {difference:.2e}")
    return difference < 1e-5


@torch.no_grad()
def check_directory(directory):
    model = load(directory)
    tokens = torch.arange(16)[None] % model.config.vocab_size
    finite = model(tokens).logits.isfinite().all().item()
    print(f"{directory}: {type(model).__name__}, finite logits: {finite}")
    return finite


def main():
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    cases = sorted(path.parent for path in GOLDEN.glob("*/expected.safetensors"))
    with tempfile.TemporaryDirectory() as scratch:
        good = [check_golden(case, pathlib.Path(scratch)) for case in cases]
    good += [check_directory(directory) for directory in sys.argv[1:]]
    return 0 if good and all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
