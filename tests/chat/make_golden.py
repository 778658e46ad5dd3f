#!/usr/bin/env python3
"""Writes tests/golden/chat/{cases,snippets}.jsonl with jinja2; null is a refusal."""
import os
import time

import cases
import conversations
import oracle


def some_conversations():
    yield from list(conversations.plain())[:9]
    yield from list(conversations.with_tools())[:4]
    yield from list(conversations.odd())[::4]
    yield from conversations.drawn(1)


def expected(request):
    return oracle.render(request["template"], request["variables"], request["now"])


def main():
    os.environ["TZ"] = "UTC"
    time.tzset()
    with open(cases.GOLDEN / "snippets.jsonl", "w", encoding="utf-8") as out:
        for request in cases.snippets():
            snippet = {"template": request["template"], "text": expected(request)}
            out.write(cases.compact(snippet) + "\n")
    with open(cases.GOLDEN / "variables.json", "w", encoding="utf-8") as out:
        out.write(cases.compact({
            "snippets": cases.SNIPPET_VARIABLES, "now": cases.NOW,
            "conversations": list(some_conversations()),
            "options": list(conversations.variables())}) + "\n")
    with open(cases.GOLDEN / "cases.jsonl", "w", encoding="utf-8") as out:
        for path in sorted((cases.GOLDEN / "templates").glob("*.jinja")):
            requests = cases.over_conversations(cases.read(path), some_conversations())
            texts = [expected(request) for request in requests]
            out.write(cases.compact({"template": path.stem, "texts": texts}) + "\n")


if __name__ == "__main__":
    main()
