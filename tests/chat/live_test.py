#!/usr/bin/env python3
"""Compares talpa's chat templates with jinja2: live_test.py RENDER_TOOL [directory of templates]...

Snippets, and every template over plain, odd, tool-calling and random conversations. Exits with 77
where jinja2 is not installed.
"""
import json
import pathlib
import subprocess
import sys

import cases
import conversations

try:
    import oracle
except ImportError:
    print("skipped: jinja2 is not installed for", sys.executable)
    sys.exit(77)


def all_conversations():
    yield from conversations.plain()
    yield from conversations.with_tools()
    yield from conversations.odd()
    yield from conversations.drawn(40)


def rendered(tool, requests):
    lines = "".join(cases.compact(request) + "\n" for request in requests)
    done = subprocess.run([tool], input=lines.encode(), stdout=subprocess.PIPE, check=True)
    return [json.loads(line) for line in done.stdout.decode().split("\n") if line]


def compare(tool, name, requests, show):
    """How many requests there are, how many jinja2 refuses, and how many differ."""
    answers = rendered(tool, requests)
    refused = different = 0
    for request, answer in zip(requests, answers, strict=True):
        expected = oracle.render(request["template"], request["variables"], request["now"])
        refused += expected is None
        if answer.get("text") == expected:
            continue
        different += 1
        if different <= show:
            shown = request["variables"].get("messages", request["template"])
            print(f"{name}: {shown!r}\n  jinja2: {expected!r}\n  talpa:  {answer!r}")
    return len(requests), refused, different


def main():
    tool, *folders = sys.argv[1:]
    totals = [compare(tool, "snippets", list(cases.snippets()), 20)]
    for folder in [cases.GOLDEN / "templates", *map(pathlib.Path, folders)]:
        for path in sorted(folder.glob("*.jinja")):
            requests = list(cases.over_conversations(cases.read(path), all_conversations()))
            totals.append(compare(tool, path.stem, requests, 2))
            print(path.stem, "{} cases, {} refused by jinja2, {} different".format(*totals[-1]))
    count, refused, different = map(sum, zip(*totals))
    print(f"{count} cases, of which jinja2 refuses {refused}; {different} differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
