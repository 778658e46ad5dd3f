"""Downloads Debian packages and reads files out of them without installing anything."""

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from .log import CorpusError, say


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    path: Path
    sha256: str


def sha256_file(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(name, cache):
    """Returns the package, downloaded into `cache` unless it already lies there."""
    cache.mkdir(parents=True, exist_ok=True)
    path = _cached(name, cache)
    if path is None:
        say(f"{name}: downloading")
        path = _download(name, cache)
    version = _run(["dpkg-deb", "-f", str(path), "Version"], name).strip()
    return Package(name, version, path, sha256_file(path))


def read_files(package, pattern):
    """Maps path -> bytes for the package's regular files whose path matches; .gz is unpacked."""
    wanted = re.compile(pattern)
    command = ["dpkg-deb", "--fsys-tarfile", str(package.path)]
    files = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for member in archive:
                path = member.name.removeprefix("./")
                if member.isfile() and wanted.search(path):
                    files[path] = _unpack(path, archive.extractfile(member).read())
    if process.returncode != 0:
        raise CorpusError(f"{package.name}: dpkg-deb cannot read {package.path.name}; delete it")
    if not files:
        raise CorpusError(f"{package.name} {package.version}: no file matches {pattern}")
    return files


def _unpack(path, data):
    return gzip.decompress(data) if path.endswith((".gz", ".dz")) else data


def _cached(name, cache):
    found = sorted(cache.glob(f"{name}_*.deb"))
    return found[-1] if found else None


def _download(name, cache):
    for attempt in ("first", "after-update"):
        command = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", name]
        result = subprocess.run(command, cwd=cache, capture_output=True, text=True, check=False)
        if result.returncode == 0:
            break
        if attempt == "first":
            _update_lists()
    path = _cached(name, cache)
    if path is None:
        raise CorpusError(f"{name}: apt-get download failed: {result.stderr.strip()}")
    return path


def _update_lists():
    command = ["apt-get", "-q", "update"]
    if os.geteuid() != 0:
        if shutil.which("sudo") is None:
            return
        command.insert(0, "sudo")
    say("package lists: apt-get update")
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False)


def _run(command, name):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise CorpusError(f"{name}: {' '.join(command)}: {result.stderr.strip()}")
    return result.stdout
