"""Writes tests/fuzz/corpus/tokenizer: a tiny tokenizer of each kind, a zero byte and a text."""

import json
from pathlib import Path

OUT = Path(__file__).resolve().parents[2] / "tests" / "fuzz" / "corpus" / "tokenizer"
TEXT = "Hello <s> it's 123\r\n  w\u00f6rld \U0001f468\u200d\U0001f469 e\u0301\u0000\u4e16"
BASE = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [
    {"id": 0, "content": "<s>", "single_word": False, "lstrip": True, "rstrip": True,
     "normalized": True, "special": True}], "normalizer": None, "pre_tokenizer": None,
    "post_processor": None, "decoder": None}


def bpe(**options):
    vocab = {t: i for i, t in enumerate(["<s>", "H", "e", "l", "o", "\u0120", "He", "ll", "Hell",
                                         "<0xC3>", "<0xB6>", "\u2581"])}
    return {"type": "BPE", "unk_token": "<s>", "vocab": vocab,
            "merges": [["H", "e"], ["l", "l"], ["He", "ll"]], **options}


KINDS = {
    "byte_level": {"model": bpe(), "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": True}]}, "decoder": {"type": "ByteLevel"},
        "post_processor": {"type": "BertProcessing", "sep": ["<s>", 0], "cls": ["<s>", 0]}},
    "llama": {"model": bpe(byte_fallback=True, fuse_unk=True), "normalizer": {
        "type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"}, {
            "type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}},
    "word_piece": {"model": {"type": "WordPiece", "unk_token": "<s>", "vocab": {
        "<s>": 0, "he": 1, "##llo": 2, "w": 3}}, "normalizer": {
            "type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
            "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True}},
    "unigram": {"model": {"type": "Unigram", "unk_id": 0, "vocab": [
        ["<s>", 0], ["\u2581", -1.5], ["\u2581He", -2], ["llo", -3.25]]}, "normalizer": {
            "type": "Precompiled", "precompiled_charsmap": "CAAAAAAEAAAAAAAAYQA="},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first"},
        "decoder": {"type": "Metaspace", "replacement": "\u2581"}},
    "split": {"model": bpe(ignore_merges=True), "normalizer": {"type": "NFC"},
              "pre_tokenizer": {"type": "Split", "behavior": "MergedWithNext", "invert": True,
                                "pattern": {"Regex": "(?i:'s)|[^\\r\\n\\p{L}]?\\p{L}+|\\s+(?!\\S)"}}},
}


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for name, parts in KINDS.items():
        data = json.dumps({**BASE, **parts}, ensure_ascii=False).encode()
        (OUT / name).write_bytes(data + b"\0" + TEXT.encode())


if __name__ == "__main__":
    main()
