"""Mutated inputs of every kind, thrown at the command line: each is read, or refused with a sentence.

    python scripts/fuzz.py --cases 100000
    python scripts/fuzz.py --seed 7 --case 4711        # one case again, with its traceback

Kinds: networks, architectures, mappings, recipes, sweeps, ONNX models, SCALE-Sim's files, sparse matrices, arrays, results,
tables and the words of the command line. What fails is kept under ``--keep`` with the command that runs it again. Exit
status 1 if anything foreign came out (see ``fuzzing/watch.py``). Needs Linux.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzzing.cases import Case, case_of, furnish, kinds, unharmed
from fuzzing.watch import foreign, put, run_all


def main() -> int:
    """Run cases, print what was found."""
    parser = argparse.ArgumentParser(description="Throw mutated inputs at accelsim.")
    parser.add_argument("--cases", type=int, default=10_000, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of everything (default 0)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the number of the first case (default 0)")
    parser.add_argument("--case", type=int, metavar="N", help="run this case alone, here, and show it")
    parser.add_argument("--kind", action="append", default=[], metavar="KIND", help="only this kind (repeatable)")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default 2)")
    parser.add_argument("--minutes", type=float, default=600, metavar="N", help="stop after so long")
    parser.add_argument("--keep", type=Path, default=Path("results/fuzz"), metavar="DIR", help="where failing cases go")
    options = parser.parse_args()
    only = tuple(options.kind)
    if options.case is not None:
        return _one(case_of(options.seed, options.case, only))
    broken = 0 if options.first else _seeds_that_fail()  # that is told where a run begins
    return 1 if broken else _many(options, only)


def _one(case: Case) -> int:
    """A case by itself, in a folder of its own."""
    print(shlex.join(["accelsim", *case.arguments]))
    if case.name:
        print(f"--- {case.name}: {len(case.content)} bytes\n{case.content[:4000].decode('utf-8', 'replace')}\n---")
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        furnish(Path(name))
        put(case, Path(name))
        found = foreign(case)
        os.chdir("/")
    print(found or "in order: read, or refused with a sentence")
    return 1 if found else 0


def _seeds_that_fail() -> int:
    """The seeds are valid: no command that reads one may even complain."""
    with tempfile.TemporaryDirectory() as name:
        before = Path.cwd()
        os.chdir(name)
        furnish(Path(name))
        faults = 0
        for case in unharmed():
            put(case, Path(name))
            found = foreign(case)
            if found:
                faults += 1
                print(f"a seed fails: {shlex.join(case.arguments)} ({case.content[:60]!r}): {found}")
        os.chdir(before)
    return faults


def _many(options: argparse.Namespace, only: tuple[str, ...]) -> int:
    began, done, found = time.monotonic(), Counter[str](), Counter[str]()
    numbers = iter(range(options.first, options.first + options.cases))
    end = began + 60 * options.minutes
    timely = (number for number in numbers if time.monotonic() < end)
    for number, kind, words in run_all(options.seed, timely, options.jobs, only):
        done[kind] += 1
        if words:
            found[kind] += 1
            _keep(options, number, case_of(options.seed, number, only), words)
        if done.total() % 1000 == 0:
            print(f"{done.total():,} cases, {found.total()} foreign, {time.monotonic() - began:.0f} s", flush=True)
    for kind in kinds(only):
        print(f"{kind:<10}{done[kind]:>9,}{found[kind]:>6}")
    print(f"{'all':<10}{done.total():>9,}{found.total():>6}   seed {options.seed}, {time.monotonic() - began:.0f} s")
    return 1 if found.total() else 0


def _keep(options: argparse.Namespace, number: int, case: Case, words: str) -> None:
    folder = options.keep / f"{options.seed}-{number}"
    folder.mkdir(parents=True, exist_ok=True)
    put(case, folder)
    only = "".join(f" --kind {kind}" for kind in options.kind)
    again = f"python scripts/fuzz.py --seed {options.seed} --case {number}{only}"
    (folder / "found.txt").write_text(
        f"{again}\n{shlex.join(['accelsim', *case.arguments])}\n\n{words}\n", "utf-8", "replace"
    )
    print(f"{again}\n    {words.strip().splitlines()[-1][:200]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
