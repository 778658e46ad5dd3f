"""Bytes that a server holds after ever more broken and correct requests, as its allocator counts.

Resident memory also holds what allocators keep for later, a sanitizer's most of all; live bytes do
not, once threads keep nothing (tcache_count, mxfast) and no beginnings of texts are stored. From
the third round on they must stand still: the first ones begin threads. Needs gdb and the right to
attach.

usage: live_heap.py [ROUNDS] [REQUESTS A ROUND]
"""

import os
import re
import subprocess
import sys
import time

from faults_test import Run, resident_mib, sanitized
from running_server import RunningServer

TIMEOUT = 5  # of the server for clients that stall, s
SANITIZERS = "((unsigned long (*)(void))__sanitizer_get_current_allocated_bytes)()"


def live_bytes(server):
    time.sleep(TIMEOUT + 2)
    before = len(server.log())
    of_sanitizer = sanitized(server.program)
    command = f"print {SANITIZERS}" if of_sanitizer else "call (void)malloc_stats()"
    shown = subprocess.run(["gdb", "-p", str(server.process.pid), "-batch", "-ex", command],
                           capture_output=True, text=True, check=True).stdout
    if of_sanitizer:
        return int(re.search(r"^\$1 = (\d+)", shown, re.MULTILINE)[1])
    time.sleep(0.5)
    return int(re.findall(r"in use bytes\s+=\s+(\d+)", server.log()[before:])[-1])


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    if rounds < 4:
        sys.exit("live_heap.py: expected at least 4 rounds: the first two do not count")
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0"
    with RunningServer("--parallel", 8, "--queue", 200, "--timeout", TIMEOUT,
                       "--prefix-cache", 0) as server:
        run = Run(server, count)
        live = []
        for part in range(rounds):
            run.go()
            live.append(live_bytes(server))
            print(f"after {(part + 1) * count} requests: {live[-1]} bytes live, "
                  f"{resident_mib(server.process):.0f} MiB resident", flush=True)
    assert max(live[2:]) - min(live[2:]) < count, "a byte a request or more is kept"


if __name__ == "__main__":
    main()
