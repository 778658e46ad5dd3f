"""Normalises documents, removes what was seen before and cuts long ones at paragraphs."""

import hashlib
import re
import unicodedata

MAX_DOCUMENT_BYTES = 12_288
MIN_DOCUMENT_BYTES = 256
_MIN_LINE = 48
_MIN_SENTENCE = 64
_SENTENCE = re.compile(r'(?<=[.!?]) (?=["“(]?[A-Z])')
_SPACES = str.maketrans({"\u00a0": " ", "\u2009": " ", "\u202f": " ", "\t": "    ", "\u2011": "-",
                         "\u200b": None, "\u00ad": None, "\ufeff": None, "\u2060": None})
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ue000-\uf8ff\ufffd]")


def normalise(text):
    """NFC, plain spaces, no control characters, no runs of blank lines."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").translate(_SPACES))
    text = _CONTROL.sub("", text)
    text = re.sub(r"[ ]+$", "", text, flags=re.M)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def is_readable(text):
    """True unless the text is mostly numbers and signs, or not English."""
    if len(text.encode()) < MIN_DOCUMENT_BYTES:
        return False
    letters = sum(map(str.isalpha, text))
    solid = len(text) - sum(map(str.isspace, text))
    foreign = sum(1 for char in text if ord(char) > 0x250 and char.isalpha())
    return letters > 0.6 * solid and foreign < 0.02 * letters


def split_long(text, limit=MAX_DOCUMENT_BYTES):
    """Cuts a text into pieces of at most about `limit` bytes, between paragraphs."""
    if len(text.encode()) <= limit:
        return [text]
    pieces, piece, size = [], [], 0
    for paragraph in text.split("\n\n"):
        length = len(paragraph.encode()) + 2
        if piece and size + length > limit:
            pieces.append("\n\n".join(piece))
            piece, size = [], 0
        piece.append(paragraph)
        size += length
    pieces.append("\n\n".join(piece))
    return pieces


class Deduplicator:
    """Remembers documents, lines and sentences; repeated ones are dropped."""

    def __init__(self):
        self._seen = set()
        self.dropped_bytes = 0

    def is_new(self, text):
        key = hashlib.blake2b(text.encode(), digest_size=8).digest()
        if key in self._seen:
            return False
        self._seen.add(key)
        return True

    def clean(self, text):
        before = len(text)
        paragraphs = (self._paragraph(paragraph) for paragraph in text.split("\n\n"))
        text = "\n\n".join(paragraph for paragraph in paragraphs if paragraph)
        self.dropped_bytes += before - len(text)
        return text

    def _paragraph(self, paragraph):
        lines = (self._line(line) for line in paragraph.split("\n"))
        return "\n".join(line for line in lines if line)

    def _line(self, line):
        if len(line) < _MIN_LINE:
            return line
        if not self.is_new(line.strip()):
            return ""
        sentences = _SENTENCE.split(line)
        if len(sentences) == 1:
            return line
        return " ".join(s for s in sentences if len(s) < _MIN_SENTENCE or self.is_new(s))
