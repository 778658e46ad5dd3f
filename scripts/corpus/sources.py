"""The corpus' sources: which files of which package hold a domain's text, and how to read them."""

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Callable

from . import markup

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Source:
    """One package's part of a domain; `limit` bounds the bytes it gives."""

    domain: str
    package: str
    pattern: str
    read: Callable  # bytes of one file -> list of texts
    limit: int = 16 * MEGABYTE
    small: bool = False


def _decode(data):
    return data.decode("utf-8", errors="replace")


def read_sphinx(data):
    start = r'<div (?:class="body" role="main"|role="main" class="document")'
    return [markup.html_text(_decode(data), start, r'<div class="sphinxsidebar"|<footer>')]


def read_asciidoc(data):
    return [markup.html_text(_decode(data), r'<div id="content">', r'<div id="footer')]


def read_publican(data):
    return [markup.html_text(_decode(data), r'<div class="(?:section|chapter|appendix|preface)"',
                             r'<ul class="docnav"')]


def read_drupal(data):
    return [markup.html_text(_decode(data), r'<div class="content', r'class="book-navigation"')]


def read_pod(data):
    return [markup.pod_text(_decode(data))]


def _grouped(lines, size):
    return ["\n\n".join(lines[i:i + size]) for i in range(0, len(lines), size)]


_CREDIT = re.compile(r"\[(?:[^\]\[]*(?:Webster|WordNet|PJC|Century|Stand|RP|Work|Hist)[^\]\[]*|"
                     r"Also|Obs|R|AS|RDH|mc|EB|RHUD|wns|Co|Am|Prov)\.?[^\]\[]{0,12}\]")
_SPOKEN = re.compile(r"\\.*?\\,?")
_PRONUNCIATION = re.compile(r" ?\((?:\?|[^()]{0,80}?\[[^\]\s]{1,4}\])[^()]{0,120}\)")
_ACCENT = re.compile(r"\[([\'`\"~^,=])([A-Za-z])\]|\[([A-Za-z])(\^)\]|\[-([a-z])\]")
_COMBINING = {"'": "\u0301", "`": "\u0300", '"': "\u0308", "~": "\u0303", "^": "\u0302",
              ",": "\u0327", "=": "\u0304"}
_NAMED = {"[ae]": "æ", "[AE]": "Æ", "[oe]": "œ", "[eth]": "ð", "[thorn]": "þ",
          "[imac]": "ī", "[deg]": "°", "[aum]": "ä", "[oum]": "ö", "[uum]": "ü",
          "[root]": "√", "[frac12]": "½", "[pounds]": "£"}


def _accent(match):
    mark, letter, short_letter, _, plain = match.groups()
    if plain:
        return plain
    return short_letter + "\u0306" if short_letter else letter + _COMBINING[mark]


def _dictionary_entry(entry):
    text = _SPOKEN.sub("", entry.strip("\n"), count=1)
    text = re.sub(r"\A(\S+) ,", r"\1,", _PRONUNCIATION.sub("", text))
    for name, char in _NAMED.items():
        text = text.replace(name, char)
    text = _ACCENT.sub(_accent, text)
    text = _CREDIT.sub("", text).replace("{", "").replace("}", "")
    paragraphs = (" ".join(p.split()) for p in re.split(r"\n[ \t]*\n", text))
    return "\n".join(p for p in paragraphs if p)


def read_dictionary(data):
    """dictd text of GCIDE: an entry starts at column 0; pronunciations and credits are dropped."""
    body = _decode(data)
    entries = re.split(r"\n(?=[^ \n])", body)
    entries = [_dictionary_entry(e) for e in entries if not e.startswith("00-database")]
    return _grouped([e for e in entries if len(e) > 40], 24)


_PART_OF_SPEECH = {"n": "noun", "v": "verb", "a": "adjective", "s": "adjective", "r": "adverb"}


def read_wordnet(data):
    """WordNet data file (wndb(5)): one line a synset, its words and its gloss."""
    glosses = []
    for line in _decode(data).splitlines():
        if line.startswith("  ") or " | " not in line:
            continue
        fields, gloss = line.split(" | ", 1)
        fields = fields.split()
        words = [re.sub(r"\(\w+\)$", "", w).replace("_", " ")
                 for w in fields[4:4 + 2 * int(fields[3], 16):2]]
        glosses.append(f"{', '.join(words)} ({_PART_OF_SPEECH[fields[2]]}): {gloss.strip()}")
    return _grouped(glosses, 40)


def _r_strings(data):
    """The character vector in one serialised R object (format X, version 3)."""
    if data[:2] != b"X\n":
        raise ValueError("not a serialised R object")
    encoding_length = struct.unpack_from(">i", data, 14)[0]
    offset = 18 + encoding_length
    kind, count = struct.unpack_from(">Ii", data, offset)
    if kind & 0xFF != 16:
        raise ValueError(f"R object of type {kind & 0xFF}, expected a character vector")
    offset += 8
    for _ in range(count):
        length = struct.unpack_from(">i", data, offset + 4)[0]
        yield _decode(data[offset + 8:offset + 8 + max(length, 0)])
        offset += 8 + max(length, 0)


def read_r_novels(data):
    """A lazy-load data base of novels: zlib streams behind a big-endian length each."""
    texts, offset = [], 0
    while offset < len(data):
        stream = zlib.decompressobj()
        lines = "\n".join(_r_strings(stream.decompress(data[offset + 4:])))
        offset = len(data) - len(stream.unused_data)
        for chapter in re.split(r"\n(?=(?:CHAPTER|Chapter|VOLUME) [IVXLC\d]+)", lines):
            paragraphs = (" ".join(p.split()) for p in re.split(r"\n[ \t]*\n", chapter))
            texts.append("\n\n".join(p for p in paragraphs if p).replace("_", ""))
    return texts


def read_sword(data):
    """A zText module's .bzz: zlib streams with zero bytes between them, a book of OSIS each."""
    texts, rest = [], data
    while rest:
        stream = zlib.decompressobj()
        book = _decode(stream.decompress(rest))
        rest = stream.unused_data.lstrip(b"\0")
        chapters = re.split(r"(?=<chapter\b[^>]*sID=)", book)
        texts += [markup.osis_text(chapter) for chapter in chapters]
    return texts


_SPHINX_SKIP = r"(?!.*(?:genindex|py-modindex|search|contents|translations/|maintainers|/index)\b)"

SOURCES = [
    Source("novels", "r-cran-janeaustenr", r"janeaustenr/data/Rdata\.rdb$", read_r_novels,
           small=True),
    Source("essays", "anarchism",
           r"html/(?!alinks|links|arlinks|translations|contact|pdf)\w+\.html", read_drupal),
    Source("scripture", "sword-text-web", r"\.bzz$", read_sword),
    Source("scripture", "sword-text-kjv", r"\.bzz$", read_sword),
    Source("tools", "debian-handbook", r"html/en-US/(?!ix\d|index)[^/]+\.html", read_publican),
    Source("tools", "git-doc", r"git-doc/.*\.html", read_asciidoc, small=True),
    Source("perl", "perl-doc", r"/(?!perl(?:toc|cn|jp|ko|tw)\.)[^/]+\.pod$", read_pod),
    Source("python", "python3.11-doc", r"/html/" + _SPHINX_SKIP + r".*\.html", read_sphinx),
    Source("glosses", "wordnet-base", r"wordnet/data\.(?:noun|verb|adj|adv)$", read_wordnet,
           limit=8 * MEGABYTE),
    Source("dictionary", "dict-gcide", r"gcide\.dict\.dz$", read_dictionary, limit=12 * MEGABYTE),
    Source("kernel", "linux-doc-6.1", r"/html/" + _SPHINX_SKIP + r".*\.html", read_sphinx,
           limit=15 * MEGABYTE),
]
