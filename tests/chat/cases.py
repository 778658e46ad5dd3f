"""What is rendered: templates over conversations, and snippets over one set of variables."""

import json
import pathlib

import conversations

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE.parent / "golden/chat"
NOW = 1721996400
SNIPPET_VARIABLES = {
    "x": 1, "s": "hello", "u": "\u00e9t\u00e9 \u4f60\U0001f600 \u00df\u01c6", "l": [1, 2, 3],
    "d": {"b": 1, "a": "two", "c": [None, True, 1.5, {"k": "v"}]},
    "objs": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo", "extra": 1},
             {"role": "user", "content": "{{ x }}", "extra": 0}]}


def snippets():
    """One a line, and the whole file with its lines in threes, for white space between tags."""
    lines = (HERE / "snippets.txt").read_text(encoding="utf-8").split("\n")
    chunks = list(lines)
    chunks += ["\n".join(lines[i:i + 3]) + "\n" for i in range(len(lines))]
    whole = ("\n".join(lines)).split("{% set z")[0].split("{% if true %}\nline")[1]
    chunks.append("{% if true %}\nline" + whole)
    for chunk in dict.fromkeys(chunks):
        yield {"template": chunk, "variables": SNIPPET_VARIABLES, "now": NOW}


def over_conversations(template, some):
    for messages in some:
        for values in conversations.variables():
            yield {"template": template, "variables": {"messages": messages, **values}, "now": NOW}


def read(path):
    return path.read_bytes().decode("utf-8")


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
