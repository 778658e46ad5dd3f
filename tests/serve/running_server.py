"""A talpa server on a free port, for the checks in Python."""

import os
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
MODEL = ROOT / "models/reference-moe"
TEMPLATE = ("{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
            "{% if add_generation_prompt %}<assistant>{% endif %}")


class RunningServer:
    """`talpa serve MODEL --port 0 options...`; `url` is where it answers."""

    def __init__(self, *options, model=MODEL):
        self.program = os.environ.get("TALPA_PROGRAM", str(ROOT / "build/release/bin/talpa"))
        self.output = tempfile.NamedTemporaryFile()  # a pipe that nobody empties would stop it
        self.process = subprocess.Popen(
            [self.program, "serve", str(model), "--port", "0", *map(str, options)],
            stderr=self.output)
        self.url = self._wait_for_url()

    def _wait_for_url(self):
        deadline = time.monotonic() + 60
        while self.process.poll() is None and time.monotonic() < deadline:
            found = re.search(r" at (http://\S+)", self.log())
            if found:
                return found[1]
            time.sleep(0.05)
        self.process.kill()
        raise RuntimeError("the server did not start\n" + self.log())

    def log(self):
        return Path(self.output.name).read_text(encoding="utf-8", errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(timeout=90)
        if status != 0:
            raise RuntimeError(f"the server ended with {status}\n{self.log()[-2000:]}")
