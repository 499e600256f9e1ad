"""A case: a mutated input of some kind and the command that reads it, from nothing but a seed and a number."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random

from fuzzing import mutators, seeds

Mutate = Callable[[bytes, Random, list[bytes]], bytes]


@dataclass(frozen=True)
class Kind:
    """Files of one kind: the suffix, what mutates them, and the commands that read them, the frequent ones repeated."""

    suffix: str
    mutate: Mutate
    commands: tuple[str, ...]


_ARCHS = ("gemmini_16x16", "tpu_v1", "diannao", "eie", "eyeriss_like", "demo.yaml", "tree.yaml", "sparse.yaml")
_RUN = tuple(f"simulate {{file}} --arch {arch}" for arch in _ARCHS)
KINDS: dict[str, Kind] = {
    "network": Kind(
        ".yaml",
        mutators.mutate_yaml,
        (
            *_RUN,
            *_RUN,
            "check {file}",
            "check {file}",
            "simulate {file} --arch demo.yaml --values",
            "simulate {file} --arch tree.yaml --values",
            "explain {file} --arch demo.yaml --layer c",
            "simulate {file} --arch demo.yaml --out out --json --batch 3",
            "sweep {file} --arch demo.yaml --vary arch.engine.rows=[8,16]",
            "sweep {file} --arch demo.yaml --tilings c",
            "compress {file} --recipe recipe.yaml -o out.yaml",
        ),
    ),
    "arch": Kind(
        ".yaml",
        mutators.mutate_yaml,
        (
            "check {file}",
            *("simulate everything.yaml --arch {file}",) * 3,
            *("simulate mlp.yaml --arch {file}",) * 3,
            "simulate mlp.yaml --arch {file} --values",
            "explain mlp.yaml --arch {file} --layer one",
            "sweep mlp.yaml --arch {file} --vary arch.memory.1.size=pow2:1KiB:8KiB",
            "simulate everything.yaml --arch {file} --trace out.json",
            "tilings mlp.yaml --arch {file} --layer one -o out.svg",
        ),
    ),
    "mapping": Kind(
        ".yaml",
        mutators.mutate_yaml,
        (
            "check {file}",
            *(f"simulate everything.yaml --arch {arch} --mapping {{file}}" for arch in _ARCHS),
            "explain everything.yaml --arch demo.yaml --layer c --mapping {file}",
        ),
    ),
    "recipe": Kind(
        ".yaml",
        mutators.mutate_yaml,
        (
            "check {file}",
            "compress mlp.yaml --recipe {file} -o out.yaml",
            "compress exits.yaml --recipe {file} -o out.npz",
            "simulate mlp.yaml --arch demo.yaml --recipe {file}",
        ),
    ),
    "sweep": Kind(
        ".yaml",
        mutators.mutate_yaml,
        (
            "check {file}",
            "sweep {file}",
            "sweep {file}",
            "sweep {file} --out out.csv",
            "sweep {file} --store out.db",
        ),
    ),
    "topology": Kind(
        ".csv", mutators.mutate_text_file, ("convert {file} -o out.yaml", "simulate {file} --arch demo.yaml")
    ),
    "cfg": Kind(".cfg", mutators.mutate_text_file, ("convert {file} -o out.yaml",)),
    "mtx": Kind(".mtx", mutators.mutate_text_file, ("convert {file} -o out.yaml",)),
    "smtx": Kind(".smtx", mutators.mutate_text_file, ("convert {file} -o out.yaml",)),
    "npz": Kind(
        ".npz",
        mutators.mutate_npz,
        (
            "convert {file} -o out.yaml",
            "convert {file} -o out.yaml",
            "simulate files.yaml --arch sparse.yaml",
            "simulate files.yaml --arch demo.yaml --values",
            "simulate mlp.yaml --arch demo.yaml --values --input {file}",
            "simulate mlp.yaml --arch demo.yaml --values --input samples.npz --labels {file}",
        ),
    ),
    "npy": Kind(
        ".npy",
        mutators.mutate_npy,
        (
            "simulate one_file.yaml --arch demo.yaml --values",
            "simulate mlp.yaml --arch demo.yaml --values --input {file}",
        ),
    ),
    "report": Kind(
        ".json",
        mutators.mutate_json,
        (
            *("compare {file} good.json", "compare good.json {file}", "report {file} -o out.html") * 3,
            "roofline {file} -o out.svg --data out.csv",
            "plot energy {file} -o out.svg --data out.csv",
            "plot stalls {file} good.json -o out.svg",
            "plot utilization {file} -o out.svg",
            "plot speedup {file} good.json -o out.svg",
            "plot pareto {file} good.json -o out.svg",
        ),
    ),
    "trace": Kind(".json", mutators.mutate_json, ("plot utilization {file} -o out.svg --data out.csv",)),
    "store": Kind(
        ".db", mutators.mutate_store, ("sweep lenet5 --arch gemmini_16x16 --vary arch.engine.rows=[8,16] --store {file}",)
    ),
    "study": Kind(
        ".study",
        mutators.mutate_store,
        (
            "search lenet5 --arch gemmini_16x16 --vary arch.engine.rows=[8,16] --trials 2 --sampler random --store {file}",
        ),
    ),
    "table": Kind(
        ".csv",
        mutators.mutate_text_file,
        (
            "plot pareto {file} -o out.svg",
            "plot pareto {file} -x arch.engine.rows -y cycles*2 -o out.svg",
            "plot buffers {file} -o out.svg",
        ),
    ),
    "onnx": Kind(
        ".onnx",
        mutators.mutate_onnx,
        (
            "convert {file} -o out.yaml",
            "convert {file} -o out.yaml --values",
            "simulate {file} --arch demo.yaml",
            "simulate {file} --arch scalesim",
            "simulate {file} --arch demo.yaml --values",
            "simulate {file} --arch tpu_v3_core --values",
        ),
    ),
}
"""How often each is drawn is in `WEIGHTS`."""

WEIGHTS = {
    "network": 18,
    "arch": 16,
    "mapping": 8,
    "recipe": 6,
    "sweep": 6,
    "topology": 4,
    "cfg": 4,
    "mtx": 3,
    "smtx": 2,
    "npz": 9,
    "npy": 4,
    "report": 5,
    "trace": 2,
    "store": 2,
    "study": 1,
    "table": 2,
    "onnx": 8,
    "words": 12,
}
WORDS = (
    ("simulate", "everything.yaml", "--arch", "demo.yaml", "--set", "arch.engine.rows=8"),
    (
        "simulate",
        "everything.yaml",
        "--arch",
        "demo.yaml",
        "--set",
        "arch.memory.buffer.size=64 KiB",
        "--set",
        "workload.batch=4",
    ),
    ("simulate", "mlp.yaml", "--arch", "tree.yaml", "--set", "mapping.one.tile.K=4", "--layer", "one", "--rows", "5"),
    ("simulate", "mlp.yaml", "--arch", "demo.yaml", "--values", "--seed", "7", "--input", "samples.npz:samples"),
    ("explain", "mlp.yaml", "--arch", "eie", "--layer", "two", "--set", "arch.engine.pes=4"),
    ("sweep", "mlp.yaml", "--arch", "demo.yaml", "--vary", "arch.engine.rows=8:16:8", "--objective", "cycles"),
    (
        "sweep",
        "mlp.yaml",
        "--arch",
        "demo.yaml",
        "--vary",
        "arch.engine.rows,arch.engine.cols=pow2:4:8",
        "--where",
        "arch.engine.rows*2 <= 16 and arch.engine.cols > 1",
        "--objective",
        "max:utilization",
    ),
    (
        "sweep",
        "mlp.yaml",
        "--arch",
        "demo.yaml",
        "--vary",
        "mapping.one.tile.K=divisors",
        "--objective",
        "cycles*energy_total_pj",
    ),
    ("compress", "mlp.yaml", "--recipe", "recipe.yaml", "--set", "compression.prune.density=0.2", "-o", "out.yaml"),
    ("plot", "pareto", "table.csv", "-x", "cycles", "-y", "max:energy_total_pj/2", "-o", "out.svg"),
    ("roofline", "good.json", "-o", "out.svg", "--machine", "haswell:fp32", "--name-layers", "2"),
    ("list", "archs"),
    ("check", "mlp.yaml"),
    ("convert", "matrix.npz", "-o", "out.yaml"),
)


@dataclass(frozen=True)
class Case:
    """A command line of accelsim and the file that it reads, if any."""

    kind: str
    arguments: tuple[str, ...]
    name: str = ""
    content: bytes = b""


@cache
def _seeds(kind: str) -> list[bytes]:
    return seeds.SEEDS[kind]()


def kinds(only: tuple[str, ...] = ()) -> dict[str, int]:
    """Kinds that can be drawn here, with their weights."""
    return {kind: n for kind, n in WEIGHTS.items() if (not only or kind in only) and (kind == "words" or _seeds(kind))}


def case_of(seed: int, number: int, only: tuple[str, ...] = ()) -> Case:
    """The case of that number; the same for the same arguments, everywhere."""
    random = Random(f"{seed}:{number}")
    weights = kinds(only)
    kind = random.choices(list(weights), list(weights.values()))[0]
    if kind == "words":
        return Case(kind, _mutated_words(random))
    content = random.choice(_seeds(kind))
    for _ in range(random.choice((1, 1, 1, 2))):
        try:
            content = KINDS[kind].mutate(content, random, _seeds(kind))
        except Exception:  # what is broken already cannot be taken apart again
            break
    return _case(kind, random.choice(KINDS[kind].commands), content)


def _case(kind: str, command: str, content: bytes) -> Case:
    name = f"case{KINDS[kind].suffix}"
    return Case(kind, tuple(command.format(file=name).split()), name, content)


def _mutated_words(random: Random) -> tuple[str, ...]:
    line = list(random.choice(WORDS))
    for _ in range(random.choice((1, 1, 2))):
        at = random.randrange(1, len(line))
        match random.choice(("words",) * 6 + ("drop", "double", "extreme")):
            case "drop":
                del line[at]
                break
            case "double":
                line.insert(at, line[at])
            case "extreme":
                line[at] = str(mutators.extreme(random))
            case _:
                line[at] = mutators.mutate_words(line[at], random)
    return tuple(word.replace("\0", "") for word in line)  # no system hands over a NUL


def unharmed() -> list[Case]:
    """Every seed with every command: these must work."""
    files = [
        _case(kind, command, content)
        for kind, how in KINDS.items()
        for content in _seeds(kind)
        for command in dict.fromkeys(how.commands)
    ]
    return [*files, *(Case("words", line) for line in WORDS)]


def furnish(folder: Path) -> None:
    """The files beside the mutated one, that commands name."""
    texts = {
        "everything.yaml": seeds.NETWORK,
        "exits.yaml": seeds.EXITS,
        "mlp.yaml": seeds.MLP,
        "files.yaml": seeds.FILES,
        "one_file.yaml": seeds.ONE_FILE,
        "recipe.yaml": seeds.RECIPE,
        "table.csv": seeds.TABLE,
        **{f"{name}.yaml": text for name, text in zip(("demo", "tree", "sparse"), seeds.ARCHS, strict=True)},
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "samples.npz").write_bytes(seeds.samples())
    (folder / "matrix.npz").write_bytes(seeds.matrices()[0])
    (folder / "good.json").write_bytes(_seeds("report")[0])
