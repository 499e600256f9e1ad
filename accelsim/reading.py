"""Opening files that nobody vouches for: what is no regular file, or larger than it can be read, is refused first."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

MiB = 1 << 20
MOST_YAML_BYTES = 16 * MiB
MOST_TEXT_BYTES = 256 * MiB  # of results, tables and matrices
MOST_ARRAY_BYTES = 512 * MiB  # of one array, as it lies in memory
MOST_MODEL_BYTES = 2048 * MiB  # what protobuf can hold

_OTHERS = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"), (stat.S_ISSOCK, "a socket"))


def require_regular(path: Path, most_bytes: int) -> None:
    """Raise OSError, whose ``strerror`` is a sentence, unless ``path`` is a regular file of at most so many bytes.

    A folder passes: it says of itself what it is when it is opened.
    """
    try:
        found = os.stat(path)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, str(error)) from None
    for kind, word in _OTHERS:
        if kind(found.st_mode):
            raise OSError(errno.EINVAL, f"it is {word}, must be a regular file")
    if found.st_size > most_bytes:
        raise OSError(errno.EFBIG, f"it has {found.st_size:,} bytes, at most {most_bytes:,} are read")


def read_bytes(path: Path, most_bytes: int) -> bytes:
    """The content of a regular file; OSError with a sentence for anything else."""
    require_regular(path, most_bytes)
    return path.read_bytes()
