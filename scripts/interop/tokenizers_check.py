"""Compares talpa's tokenizers with Hugging Face's on random and adversarial strings.

usage: tokenizers_check.py TOOL [--gguf FILE] [--wordpiece FILE] [--json FILE] [--count N]
TOOL is the built tokenize_tool. A Unigram model is trained on the spot.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "golden"))
import text_strings  # noqa: E402
import text_subjects  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402


def ours(tool, path, strings):
    lines = "".join(json.dumps(s) + "\n" for s in strings)
    done = subprocess.run([tool, path], input=lines, capture_output=True, encoding="utf-8",
                          check=False)
    if done.returncode:
        sys.exit(f"{tool} {path}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def compare(name, tool, path, original, count, seed):
    original.no_truncation()
    original.no_padding()
    specials = [token.content for token in original.get_added_tokens_decoder().values()]
    strings = text_strings.make_strings(count, seed, specials)
    results = ours(tool, path, strings)
    assert len(results) == len(strings)
    wrong_ids = wrong_text = 0
    for text, result in zip(strings, results):
        ids = original.encode(text).ids
        if ids != result["ids"]:
            wrong_ids += 1
            if wrong_ids <= 5:
                print(f"  {text!r}\n    expected {ids}\n    got      {result['ids']}")
        elif original.decode(ids, skip_special_tokens=False) != result["text"]:
            wrong_text += 1
            if wrong_text <= 5:
                print(f"  {text!r}: decoded {result['text']!r}, expected "
                      f"{original.decode(ids, skip_special_tokens=False)!r}")
    print(f"{name}: {wrong_ids} of {count} with other ids, {wrong_text} with other text")
    return wrong_ids + wrong_text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tool")
    parser.add_argument("--gguf", help="a GGUF of SmolLM2")
    parser.add_argument("--wordpiece", help="a tokenizer.json, for example all-MiniLM's")
    parser.add_argument("--json", nargs="*", default=[], help="further tokenizer.json files")
    parser.add_argument("--count", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    wrong = 0
    if args.gguf:
        original = text_subjects.from_smollm_gguf(args.gguf)
        wrong += compare("SmolLM2 (GGUF)", args.tool, args.gguf, original, args.count, args.seed)
    for path in ([args.wordpiece] if args.wordpiece else []) + args.json:
        wrong += compare(path, args.tool, path, Tokenizer.from_file(path), args.count, args.seed)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "unigram.json")
        unigram = text_subjects.unigram(rules=None)
        unigram.save(path)
        wrong += compare("Unigram (nmt_nfkc)", args.tool, path, unigram, args.count, args.seed)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
