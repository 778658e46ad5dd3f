"""A talpa server on a free port, for the checks in Python."""

import os
import re
import signal
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / "models/reference-moe"
TEMPLATE = ("{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
            "{% if add_generation_prompt %}<assistant>{% endif %}")


class RunningServer:
    """`talpa serve MODEL --port 0 options...`; `url` is where it answers."""

    def __init__(self, *options, model=MODEL):
        program = os.environ.get("TALPA_PROGRAM", str(ROOT / "build/release/bin/talpa"))
        self.process = subprocess.Popen(
            [program, "serve", str(model), "--port", "0", *map(str, options)],
            stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            found = re.search(r" at (http://\S+)", line)
            if found:
                self.url = found[1]
                break
        else:
            raise RuntimeError("the server did not start")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.log = self.process.communicate(timeout=90)[1]
        if self.process.returncode != 0:
            raise RuntimeError(f"the server ended with {self.process.returncode}\n{self.log[-2000:]}")
