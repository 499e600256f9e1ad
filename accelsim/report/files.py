"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from accelsim.errors import Fault, InputError


def write_file(path: str | Path, content: bytes) -> Path:
    """Write one file: it appears complete under its name, or not at all. Returns its path."""
    path = Path(path)
    return write_files(path.parent, {path.name: content})[0]


def write_files(folder: str | Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write several files of one folder, which is made where missing; all are on the disk before the first
    gets its name.

    Raises `InputError` where that cannot be done; nothing is left behind then.
    """
    folder = Path(folder)
    made = _missing(folder)
    staged: list[tuple[Path, Path]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            staged.append((_stage(folder, name, content), folder / name))
        for _, final in staged:
            if final.is_dir():  # found before the first file gets its name, not in the middle
                raise IsADirectoryError(errno.EISDIR, f"{final.name} is a directory")
        for temporary, final in staged:
            os.replace(temporary, final)
    except OSError as error:
        _clean(staged, made)
        raise InputError(Fault(str(folder), "", f"cannot be written to: {error.strerror or error}")) from None
    return [final for _, final in staged]


def _missing(folder: Path) -> list[Path]:
    """The folders that have yet to be made, the deepest first."""
    return [path for path in (folder, *folder.parents) if not os.path.lexists(path)]


def _stage(folder: Path, name: str, content: bytes) -> Path:
    temporary = folder / f".{name}.{secrets.token_hex(4)}.tmp"
    with contextlib.ExitStack() as undo:
        with temporary.open("xb") as stream:
            undo.callback(temporary.unlink, missing_ok=True)
            stream.write(content)
        undo.pop_all()
    return temporary


def _clean(staged: list[tuple[Path, Path]], made: list[Path]) -> None:
    for temporary, _ in staged:
        temporary.unlink(missing_ok=True)
    for folder in made:
        with contextlib.suppress(OSError):
            folder.rmdir()
