"""A store of bytes under their SHA-256: programs, reports, traces."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from genesys.errors import GenesysError

_NAME = re.compile(r"[0-9a-f]{64}")


class BlobError(GenesysError, LookupError):
    """A blob is absent, or its bytes are not what its name says."""


class BlobStore:
    """Content-addressed files in one folder.

    Guarantees: a name stands for its bytes for ever; a blob is there whole, and on the disk, once `put` returns;
    any number of processes may put and get at once. It does not guard against one who deletes files.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, data: bytes) -> str:
        """Store bytes; gives their SHA-256, 64 hexadecimal digits. Storing them twice costs nothing."""
        name = content_hash(data)
        path = self._path(name)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_durably(path, data)
        return name

    def get(self, name: str) -> bytes:
        """The bytes of a name, verified.

        Raises:
            BlobError: No such blob, or it was damaged.
        """
        try:
            data = self._path(name).read_bytes()
        except FileNotFoundError:
            raise BlobError(f"Cannot read blob {name[:12]!r}: {self.root} has none. Was it kept by this run?") from None
        if content_hash(data) != name:
            raise BlobError(f"Cannot read blob {name[:12]!r}: its bytes no longer match its name; the disk damaged it.")
        return data

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._path(name).exists()

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise BlobError(f"Cannot use blob name {name!r}; expected 64 hexadecimal digits.")
        return self.root / name[:2] / name


def content_hash(data: bytes) -> str:
    """The name of these bytes in every store: their SHA-256 in 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def write_durably(path: Path, data: bytes) -> None:
    """Write a file so that after a power cut it holds either what it held before or all of `data`."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
