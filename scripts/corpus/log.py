"""Progress lines on stderr and the one error type of the corpus scripts."""

import sys


class CorpusError(Exception):
    """Something a user must know about; the message names the package or the file."""


def say(message):
    print(f"fetch-data: {message}", file=sys.stderr, flush=True)
