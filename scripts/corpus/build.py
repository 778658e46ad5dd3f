"""Runs the sources, cleans what they give and writes the three splits with their manifest."""

import hashlib
import json
import multiprocessing
import os
import time
from collections import defaultdict
from pathlib import Path

from . import clean, packages
from .log import CorpusError, say
from .sources import SOURCES

SPLITS = ("train", "valid", "test")
MIN_HELD_OUT_BYTES = 400_000
MIN_TOTAL_BYTES = 60_000_000


def recipe_hash(small):
    """Identifies the code that makes the corpus: another code, another corpus."""
    digest = hashlib.sha256(b"small" if small else b"full")
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_current(out, recipe):
    """True when the manifest was made by this recipe and the files still match it."""
    try:
        manifest = json.loads((out / "manifest.json").read_text())
        return manifest["recipe"] == recipe and all(
            packages.sha256_file(out / f"{split}.jsonl") == manifest["splits"][split]["sha256"]
            for split in SPLITS)
    except (OSError, ValueError, KeyError):
        return False


def build(out, cache, small):
    started = time.monotonic()
    documents, used = [], []
    deduplicator = clean.Deduplicator()
    with multiprocessing.Pool(min(os.cpu_count() or 1, 4)) as pool:
        for source in SOURCES:
            if small and not source.small:
                continue
            package = packages.fetch(source.package, cache)
            used.append(package)
            documents += _collect(source, package, deduplicator, pool)
    manifest = _write(out, documents, small)
    manifest["packages"] = [{"package": p.name, "version": p.version, "sha256": p.sha256,
                             "download_bytes": p.path.stat().st_size} for p in used]
    manifest["recipe"] = recipe_hash(small)
    _write_file(out / "manifest.json", json.dumps(manifest, indent=2) + "\n")
    megabytes, dropped = manifest["bytes"] / 1e6, deduplicator.dropped_bytes / 1e6
    seconds = time.monotonic() - started
    say(f"{megabytes:.1f} MB in {len(documents)} documents "
        f"({dropped:.1f} MB of repeated text dropped), {seconds:.0f} s -> {out}")
    return manifest


def _texts_of(job):
    read, data = job
    return [clean.normalise(text) for text in read(data)]


def _by_hash(text):
    return hashlib.sha256(text.encode()).hexdigest()


def _collect(source, package, deduplicator, pool):
    """Documents of one source, files in hash order so that a limit takes a fair sample."""
    files = packages.read_files(package, source.pattern)
    jobs = ((source.read, files[path]) for path in sorted(files, key=_by_hash))
    texts = pool.imap(_texts_of, jobs, chunksize=8)
    if len(files) < 10:  # the sample is then taken among the documents of each file
        texts = [sorted((text for file in texts for text in file), key=_by_hash)]
    documents, size = [], 0
    for text in (text for file in texts for text in file):
        for document in _documents(text, deduplicator):
            documents.append({"domain": source.domain, "text": document})
            size += len(document.encode())
        if size >= source.limit:
            break
    if not documents:
        raise CorpusError(f"{package.name} {package.version}: no text found in {len(files)} files")
    say(f"{package.name} {package.version}: {size / 1e6:.1f} MB, {len(documents)} documents")
    return documents


def _documents(text, deduplicator):
    if not deduplicator.is_new(text):
        return
    for piece in clean.split_long(deduplicator.clean(text)):
        if clean.is_readable(piece):
            yield piece


def split_of(digest):
    """98 % train, 1 % valid, 1 % test by the document's SHA-256."""
    bucket = int(digest[:8], 16) % 100
    return "valid" if bucket == 98 else "test" if bucket == 99 else "train"


def _write(out, documents, small):
    out.mkdir(parents=True, exist_ok=True)
    ordered = sorted(((_by_hash(d["text"]), d) for d in documents), key=lambda pair: pair[0])
    lines = {split: [] for split in SPLITS}
    domains = defaultdict(lambda: defaultdict(int))
    sizes = dict.fromkeys(SPLITS, 0)
    for digest, document in ordered:
        split = split_of(digest)
        lines[split].append(json.dumps(document, ensure_ascii=False) + "\n")
        size = len(document["text"].encode())
        sizes[split] += size
        domains[document["domain"]]["bytes"] += size
        domains[document["domain"]]["documents"] += 1
        domains[document["domain"]][f"{split}_bytes"] += size
    total = sum(sizes.values())
    if not small:
        _check_sizes(total, sizes)
    splits = {}
    for split in SPLITS:
        path = out / f"{split}.jsonl"
        _write_file(path, "".join(lines[split]))
        splits[split] = {"documents": len(lines[split]), "bytes": sizes[split],
                         "sha256": packages.sha256_file(path)}
    return {"bytes": total, "documents": len(documents), "splits": splits,
            "domains": {name: dict(domains[name]) for name in sorted(domains)}}


def _check_sizes(total, sizes):
    if total < MIN_TOTAL_BYTES:
        raise CorpusError(f"only {total} bytes of clean text, expected {MIN_TOTAL_BYTES}")
    for split in ("valid", "test"):
        if sizes[split] < MIN_HELD_OUT_BYTES:
            raise CorpusError(f"{split}: {sizes[split]} bytes, expected {MIN_HELD_OUT_BYTES}")


def _write_file(path, text):
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
