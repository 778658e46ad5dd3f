"""Writes src/talpa/text/unicode_tables.cc: character classes as Hugging Face's tokenizers has them.

Its BERT components and StripAccents use tables frozen at an old Unicode; its regular expressions
use a newer one than PCRE2 (Unicode 14, the version of Python 3.11's unicodedata). Both are asked
about every character.
"""

import unicodedata
from pathlib import Path

from tokenizers import Regex, normalizers, pre_tokenizers

OUT = Path(__file__).resolve().parents[2] / "src" / "talpa" / "text" / "unicode_tables.cc"
CODES = [c for c in range(0x110000) if not 0xd800 <= c <= 0xdfff]
PROPERTIES = ["L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No",
              "P", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So"]


def bert(**options):
    off = dict(clean_text=False, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    return normalizers.BertNormalizer(**{**off, **options})


def removed_by(normalizer):
    return [c for c in CODES if normalizer.normalize_str(chr(c)) == ""]


def cut_by(pre_tokenizer):
    return [c for c in CODES if len(pre_tokenizer.pre_tokenize_str(f"\1{chr(c)}\1")) > 1]


def ranges(codes):
    out = []
    for c in sorted(codes):
        if out and out[-1][1] == c - 1:
            out[-1][1] = c
        else:
            out.append([c, c])
    return out


def newer(name):
    """Characters of a general category that it lacks in Unicode 14."""
    found = cut_by(pre_tokenizers.Split(Regex(rf"\p{{{name}}}"), "isolated"))
    return [c for c in found if not unicodedata.category(chr(c)).startswith(name)]


def table(name, codes):
    items = [f"{{{a:#x}, {b:#x}}}" for a, b in ranges(codes)]
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > 100:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return f"constexpr Range {name}[] = {{\n" + "\n".join([*lines, line]) + "\n};\n"


def main():
    parts = ["""// Written by scripts/golden/text_unicode_tables.py.
// clang-format off
#include "talpa/text/unicode_tables.h"

namespace talpa::text {

namespace {
"""]
    classes = {
        "Other": [*removed_by(bert(clean_text=True)), 9, 10, 13],
        "Punctuation": cut_by(pre_tokenizers.Punctuation()),
        "NonspacingMark": removed_by(bert(strip_accents=True)),
        "Mark": removed_by(normalizers.StripAccents()),
        "Numeric": cut_by(pre_tokenizers.Digits(True)),
    }
    classes["Other"] = [c for c in classes["Other"] if c not in (0, 0xfffd)] + [0]
    for name, codes in classes.items():
        parts.append(table(f"k{name}", codes))
    added = {name: newer(name) for name in PROPERTIES}
    added = {name: codes for name, codes in added.items() if codes}
    for name, codes in added.items():
        parts.append(table(f"kNewer{name}", codes))
    parts.append("}  // namespace\n")
    for name in classes:
        parts.append(f"std::span<const Range> ranges_of_{snake(name)}() {{ return k{name}; }}")
    parts.append("\nstd::span<const Range> newer_ranges(std::string_view property) {")
    for name in added:
        parts.append(f'  if (property == "{name}") return kNewer{name};')
    parts.append("  return {};\n}\n\n}  // namespace talpa::text")
    OUT.write_text("\n".join(parts) + "\n", encoding="utf-8")


def snake(name):
    return "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")


if __name__ == "__main__":
    main()
