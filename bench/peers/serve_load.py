#!/usr/bin/env python3
"""Loads talpa serve and llama.cpp's server with streams at once, in turn, and prints one table.

Every stream asks for a completion of its own piece of text, greedy, end of text ignored, and reads
the answer as it comes. Both servers hold the same GGUF; while one works the other is idle. Tokens a
CPU second are those of the server's process: what the client and others take counts less than by
the clock. Ratios are medians over the rounds.

usage: bench/peers/serve_load.py MODEL.gguf --llama-server PATH [options]
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--llama-server", type=Path, required=True)
    parser.add_argument("--talpa", type=Path, default=ROOT / "build/release/bin/talpa")
    parser.add_argument("--text", type=Path, default=ROOT / "models/heldout.jsonl")
    parser.add_argument("--streams", default="1,8,32,64")
    parser.add_argument("--prompt-characters", type=int, default=500, help="(%(default)s)")
    parser.add_argument("--tokens", type=int, default=64, help="of an answer (%(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="(%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    return parser.parse_args()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server process on a port of its own."""

    def __init__(self, name, command, port):
        self.name, self.port = name, port
        self.process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    return
            except OSError:
                if self.process.poll() is not None:
                    raise SystemExit(f"{name} ended with {self.process.returncode}") from None
                time.sleep(0.1)
        raise SystemExit(f"{name} does not answer")

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()


def servers(options, most):
    context = options.prompt_characters + options.tokens  # a character is a token at most
    ports = free_port(), free_port()
    yield Server("talpa", [options.talpa, "serve", options.model, "--port", ports[0], "--threads",
                           options.threads, "--parallel", most, "--ctx-size", context,
                           "--connections", 2 * most, "--quiet"], ports[0])
    yield Server("llama.cpp", [options.llama_server, "-m", options.model, "--port", ports[1], "-t",
                               options.threads, "-tb", options.threads, "-np", most, "-c",
                               context * most, "--no-webui"], ports[1])


async def stream(port, prompt, tokens):
    """When pieces came, the waits between them, and how many tokens the server counted."""
    body = json.dumps({"model": "m", "prompt": prompt, "max_tokens": tokens, "temperature": 0,
                       "ignore_eos": True, "stream": True,
                       "stream_options": {"include_usage": True}}).encode()
    head = (f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: "
            f"application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n")
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + body)
    times, gaps, count = [], [], 0
    async for line in reader:
        if not line.startswith(b"data: {"):
            continue
        event = json.loads(line[6:])
        text = event["choices"][0].get("text") if event.get("choices") else ""
        if text:
            now = time.perf_counter() - start
            # Bytes that may become a character are held back, however many tokens they are.
            if times and "\N{REPLACEMENT CHARACTER}" not in text:
                gaps.append(now - times[-1])
            times.append(now)
        if event.get("usage"):
            count = event["usage"]["completion_tokens"]
    writer.close()
    if count != tokens:
        raise SystemExit(f"port {port}: {count} tokens instead of {tokens}")
    return times, gaps, count


async def load(port, prompts, tokens):
    return await asyncio.gather(*(stream(port, prompt, tokens) for prompt in prompts))


def measure(server, prompts, tokens):
    cpu, start = server.cpu_seconds(), time.perf_counter()
    answers = asyncio.run(load(server.port, prompts, tokens))
    wall, used = time.perf_counter() - start, server.cpu_seconds() - cpu
    total = sum(count for _, _, count in answers)
    return {"rate": total / wall, "cpu_rate": total / used,
            "gaps": [gap for _, gaps, _ in answers for gap in gaps],
            "first": [times[0] for times, _, _ in answers]}


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def prompts_of(options, count, used):
    text = "".join(json.loads(line)["text"] for line in options.text.read_text().splitlines())
    size = options.prompt_characters
    return [text[(used + i) * size % (len(text) - size):][:size] for i in range(count)]


def print_row(streams, name, runs, ratio):
    def middle(key):
        return statistics.median(run[key] for run in runs)
    first = [value for run in runs for value in run["first"]]
    gaps = [value for run in runs for value in run["gaps"]]
    print(f"| {streams} | {name} | {middle('rate'):.1f} | {middle('cpu_rate'):.1f} | {ratio} "
          f"| {percentile(first, .5):.2f} / {percentile(first, .99):.2f} "
          f"| {1e3 * percentile(gaps, .5):.0f} / {1e3 * percentile(gaps, .99):.0f} "
          f"| {1e3 * max(gaps):.0f} |", flush=True)


def main():
    options = parse_arguments()
    counts = [int(count) for count in options.streams.split(",")]
    both = list(servers(options, max(counts)))
    print("| streams | server | tokens/s | tokens/CPU s | to llama.cpp, by clock / CPU "
          "| first token p50 / p99, s | between tokens p50 / p99, ms | longest gap, ms |")
    print("|---|---|---|---|---|---|---|---|")
    try:
        used = 0
        for count in counts:
            runs = {server.name: [] for server in both}
            for _ in range(options.rounds + 1):  # the first warms up
                prompts = prompts_of(options, count, used)
                used += count
                for server in both:
                    runs[server.name].append(measure(server, prompts, options.tokens))
            kept = {name: values[1:] for name, values in runs.items()}
            pairs = list(zip(kept["talpa"], kept["llama.cpp"]))
            ratio = " / ".join(f"{statistics.median(a[key] / b[key] for a, b in pairs):.2f}"
                               for key in ("rate", "cpu_rate"))
            print_row(count, "talpa", kept["talpa"], ratio)
            print_row(count, "llama.cpp", kept["llama.cpp"], "")
    finally:
        for server in both:
            server.stop()


if __name__ == "__main__":
    main()
