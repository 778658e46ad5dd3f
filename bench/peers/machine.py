"""Runs a command under limits, and notes what the machine did meanwhile."""

import ctypes
import dataclasses
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time

PR_SET_PDEATHSIG = 1


def available_cores():
    return sorted(os.sched_getaffinity(0))


def all_busy_seconds():
    """Time of all cores that was not idle since the machine started; steps of 10 ms."""
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system, _, _, irq, softirq, steal, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def free_memory():
    with open("/proc/meminfo", encoding="ascii") as file:
        lines = dict(line.split(":") for line in file)
    return 1024 * int(lines["MemAvailable"].split()[0])


def process_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def guard(cpu_seconds, cores=None):
    """What a child does first: it dies with its parent, and after so much CPU time."""
    def prepare():
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        resource.setrlimit(resource.RLIMIT_CPU, (int(cpu_seconds) + 1, int(cpu_seconds) + 1))
        if cores:
            os.sched_setaffinity(0, cores)
    return prepare


def kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


class BusyCore:
    """A neighbour that takes one core whole, for as long as the context lasts."""

    def __init__(self, core, seconds):
        self.core, self.seconds = core, seconds

    def __enter__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", "while True: pass"], start_new_session=True,
            preexec_fn=guard(self.seconds, {self.core}))
        time.sleep(0.2)
        return self

    def cpu_seconds(self):
        return process_seconds(self.process.pid)

    def __exit__(self, *_):
        kill_group(self.process)


class NoNeighbour:
    """A context in which nothing is run beside the command."""

    def __enter__(self):
        return self

    def cpu_seconds(self):
        return 0.0

    def __exit__(self, *_):
        pass


@dataclasses.dataclass(frozen=True)
class Finished:
    output: str
    wall: float
    cpu: float
    others: float  # share of all cores' time that other processes took


class Failed(Exception):
    """A command that did not end well, with the end of what it said."""


def run(command, environment, timeout, neighbour):
    """Runs `command` to its end, at most `timeout` seconds; nothing of it stays behind."""
    cores = len(available_cores())
    with tempfile.TemporaryFile() as errors:
        before = time.monotonic(), children_seconds(), all_busy_seconds(), neighbour.cpu_seconds()
        process = subprocess.Popen(
            list(map(str, command)), env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
            preexec_fn=guard(timeout * cores))
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"not done after {timeout:.0f} s") from None
        finally:
            kill_group(process)
        after = time.monotonic(), children_seconds(), all_busy_seconds(), neighbour.cpu_seconds()
        wall, cpu, busy, neighbours = (b - a for a, b in zip(before, after))
        if process.returncode != 0:
            errors.seek(0)
            tail = errors.read().decode(errors="replace").strip()[-600:]
            raise Failed(f"exit status {process.returncode}: {tail}")
    # Short commands end between two steps of the kernel's counters.
    others = min(1.0, max(0.0, busy - cpu - neighbours) / (wall * os.cpu_count()))
    return Finished(output.decode(), wall, cpu, others)
