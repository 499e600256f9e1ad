"""The command line. Every command reads, calls one function of the library, and prints; nothing is decided here.

Exit status: 0 done; 1 well formed but cannot be done; 2 bad input. Faults go to standard error, one a line.
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import accelsim
from accelsim.errors import AccelsimError, Fault, InputError, join_allowed, nearest
from accelsim.reading import MOST_TEXT_BYTES, require_regular

if TYPE_CHECKING:
    from rich.console import Console

    from accelsim.arch.spec import Architecture
    from accelsim.compression.compress import Compression
    from accelsim.mapping.mapping import MappingFile
    from accelsim.report.model import Result
    from accelsim.workload.network import Layer, Network

SCHEMAS = ("network", "arch", "mapping", "recipe", "sweep")
LISTS = ("archs", "networks", "dataflows", "formats")
PLOTS = ("energy", "stalls", "utilization", "pareto", "speedup", "buffers", "gallery")
OPTIONS_OF_PLOTS: dict[str, tuple[str, ...]] = {  # those of `accelsim plot` that are not for all
    "show": ("energy", "stalls"), "shares": ("energy", "stalls"), "over_time": ("utilization",), "x": ("pareto",),
    "y": ("pareto",), "label_by": ("pareto",), "baseline": ("speedup",), "level": ("buffers",),
    **dict.fromkeys(("data", "title", "width", "height", "style", "label"), PLOTS[:-1]),
}  # fmt: skip
MOST_INCHES = 100  # a figure's height
NARROWEST = 40  # columns that a table needs to say anything
RESULT = "a folder of simulate --out, or its report.json"
EXAMPLES = {
    "simulate": (
        "resnet50 --arch tpu_v1 --out results",
        "resnet50 --arch tpu_v1 --batch 8 --set arch.engine.rows=128 --set arch.memory.dram.bandwidth=180GB/s",
        "my_net.yaml --arch my_arch.yaml --values --out run",
    ),
    "sweep": (
        "lenet5 --arch tpu_v1 --vary arch.engine.rows=pow2:8:256 --objective cycles --store s.db --out s.csv",
        "vgg16 --arch tpu_v1 --tilings conv3_1 --top 5",
    ),
    "search": ("lenet5 --arch tpu_v1 --vary arch.engine.rows=8:256:8 --objective energy_total_pj --trials 40",),
    "roofline": (
        "results -o roofline.pdf --data roofline.csv",
        "tpu diannao -o machines.pdf --width double --label TPU --label DianNao --machine haswell",
        "batch1 batch4 batch16 -o conv1.pdf --layer conv1 --join",
        "--machine tpu_v1 --machine haswell -o machines.pdf",
    ),
    "compress": ("digits --recipe docs/examples/digits_8bit.recipe.yaml --arch eie -o small.yaml",),
    "plot": (
        "stalls results -o stalls.pdf",
        "speedup results/* -o speedup.pdf --baseline eyeriss_like",
        "pareto sweep.csv -x seconds -y energy_total_pj --label-by arch.engine.rows -o front.pdf",
        "gallery results/* -o figures",
    ),
    "report": ("tpu gemmini -o report.html",),
    "explain": ("resnet50 --arch tpu_v1 --layer layer3_1_conv2",),
    "tilings": ("alexnet --arch zhang2015 --layer conv5 -o conv5.pdf",),
    "compare": ("results half",),
    "convert": ("model.onnx -o model.yaml", "topology.csv -o topology.yaml", "scale.cfg -o arch.yaml"),
    "validate": ("tpu_v1", "rtl eie ese"),
    "check": ("my_net.yaml my_arch.yaml",),
    "list": ("archs",),
    "schema": ("network > network.schema.json",),
}


class _Parser(argparse.ArgumentParser):
    """argparse with this project's manner of faults: one line, the nearest known word, exit status 2."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}{_near_choice(message)} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(2)

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        sys.stdout.flush()  # of --help: what cannot be written is told by `main`
        super().exit(status, message)


def _near_choice(message: str) -> str:
    """argparse lists the choices of a wrong word: name the nearest."""
    if "invalid choice: '" not in message:
        return ""
    wrong, _, rest = message.split("invalid choice: '", 1)[1].partition("'")
    return nearest(wrong, rest.replace("(choose from", "").replace("'", "").strip(" )").split(", "))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    _open_what_is_closed()
    try:
        options = _parser().parse_args(arguments)
        options.command_line = " ".join(["accelsim", *(arguments if arguments is not None else sys.argv[1:])])
        status: int = options.run(options) or 0
        sys.stdout.flush()
        return status
    except AccelsimError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:  # the reader of a pipe has gone
        _drop_output()
        return 1
    except OSError as error:  # what is read and written says so itself: this is a full disk behind standard output
        print(f"{error.filename or 'standard output'}: {error.strerror or error}", file=sys.stderr)
        _drop_output()
        return 1
    except MemoryError:
        print("there is not enough memory for this; give it a smaller batch, layer or file", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print(interrupt if interrupt.args else "interrupted", file=sys.stderr)
        return 130


def _open_what_is_closed() -> None:
    """Without standard output or error what is said goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def _drop_output() -> None:
    """What still waits to be written would fail once more when Python ends."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# ---- the words of the command line ------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="accelsim", description="Simulate neural networks on accelerators, cycle by cycle.",
                     epilog="begin with: accelsim simulate resnet50 --arch tpu_v1 --out results")  # fmt: skip
    parser.add_argument("--version", action="version", version=f"accelsim {accelsim.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_Parser)

    def command(name: str, run: Callable[[argparse.Namespace], int | None], summary: str) -> argparse.ArgumentParser:
        lines = "\n".join(f"  accelsim {name} {example}" for example in EXAMPLES[name])
        sub = commands.add_parser(
            name, help=summary, description=summary, epilog=f"examples:\n{lines}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        sub.set_defaults(run=run)
        return sub

    sub = command("simulate", _simulate, "run a network on an architecture and print where every cycle went")
    _work(sub)
    sub.add_argument("--layer", action="append", default=[], metavar="NAME", help="only this layer (repeatable)")
    sub.add_argument("--values", action="store_true", help="let the operands flow through the registers")
    sub.add_argument("--seed", type=_whole, default=0, metavar="N", help="of operands that no file gives (default 0)")
    sub.add_argument(
        "--input", action="append", default=[], metavar="FILE", dest="inputs",
        help="what the network runs on: FILE, FILE.npz:ARRAY or NAME=FILE, .npy or .npz with arrays named as the inputs; "
        "its first axis is the batch, and `labels` in it give top-1 (repeatable)",
    )  # fmt: skip
    sub.add_argument("--labels", metavar="FILE", help="a label a sample for --values: FILE or FILE.npz:ARRAY")
    sub.add_argument("--out", metavar="DIR", help="write report.json, layers.csv (and outputs.npz with --values)")
    sub.add_argument("--json", action="store_true", help="print report.json on standard output and nothing else there")
    sub.add_argument("--recipe", metavar="RECIPE.yaml", help="compress the network by it first; --set compression.KEY=VALUE")
    sub.add_argument("--rows", type=_whole, metavar="N", help="fold the table to about N rows (default 40; 0: all)")
    sub.add_argument(
        "--trace", metavar="FILE",
        help="write when everything happened: .json for Perfetto; of one small layer with --values: .vcd (registers, "
        "for GTKWave), .svg or .html (a moving picture)",
    )  # fmt: skip

    sub = command("sweep", _sweep, "simulate every point of a space of architectures, mappings and networks")
    _space(sub)
    sub.add_argument("--tilings", metavar="LAYER", help="every tiling of this layer, those that cannot win left out")
    sub.add_argument("--no-bound", action="store_true", help="run every tiling, hopeless or not")
    sub.add_argument("--top", type=_positive, metavar="N", help="find the N best tilings (default 1)")
    sub.add_argument("--jobs", type=_positive, default=1, metavar="N", help="processes of this machine (default 1)")
    sub.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler, tcp://HOST:PORT, instead of --jobs")
    sub.add_argument("--store", metavar="FILE", help="keep results here: nothing is run twice, what stopped goes on")
    sub.add_argument("--out", metavar="FILE.csv", help="write all rows as .csv or .parquet")

    sub = command("search", _search, "look for good points of a space with Optuna, without visiting all of them")
    _space(sub)
    sub.add_argument("--trials", type=_positive, required=True, metavar="N", help="how many points to try")
    sub.add_argument("--sampler", metavar="NAME", help="tpe, nsga2, cmaes, grid or random")
    sub.add_argument("--store", metavar="URL", help="where Optuna keeps the study: a file, or any URL that it takes")
    sub.add_argument("--study", metavar="NAME", help="its name there (default accelsim)")
    sub.add_argument("--out", metavar="FILE.csv", help="write all trials as .csv or .parquet")

    sub = command("roofline", _roofline, "draw results under the roofs of the machines they ran on")
    sub.add_argument("results", nargs="*", metavar="RESULT", help=f"{RESULT}; none draws the roofs of --machine alone")
    sub.add_argument("--machine", action="append", default=[], metavar="ARCH[:ROOF]", help="draw this machine's roof as well "
                     "(repeatable)")  # fmt: skip
    sub.add_argument("--axis", choices=("ops_per_byte", "macs_per_weight_byte"), default="ops_per_byte",
                     help="ops over all off-chip bytes (default), or MACs over bytes of weights")  # fmt: skip
    sub.add_argument("--show", choices=("layers", "networks", "levels"), default="layers",
                     help="a marker a layer (default), a network, or a network and memory level")  # fmt: skip
    sub.add_argument("--layer", action="append", default=[], metavar="NAME", help="only this layer (repeatable)")
    sub.add_argument("--join", action="store_true", help="join the same layer or network from result to result by arrows")
    sub.add_argument("--percent", action="store_true", help="write with each name how much of its roof is attained")
    sub.add_argument("--name-layers", type=_whole, metavar="N", help="name the N slowest layers of each result (default: "
                     "every layer over 2 %% of the time)")  # fmt: skip
    _figure(sub)
    _labels(sub)

    sub = command("compress", _compress, "prune, factorize, cluster and quantize a network by a recipe")
    sub.add_argument("network", metavar="NETWORK", help="a name (accelsim list networks), or a .yaml or .onnx file")
    sub.add_argument("--recipe", required=True, metavar="RECIPE.yaml", help="the passes, in order (accelsim schema recipe)")
    sub.add_argument(
        "--set", action="append", default=[], dest="assignments", metavar="KEY=VALUE",
        help="override any key, e.g. compression.prune.density=0.2 or arch.engine.pes=32 (repeatable)",
    )  # fmt: skip
    _dims(sub)
    sub.add_argument("-o", "--output", required=True, metavar="FILE", help=".yaml (its arrays beside it), .npz or .onnx")
    sub.add_argument("--batch", type=_positive, metavar="N", help="replaces the network's batch")
    sub.add_argument(
        "--arch", action="append", default=[], metavar="ARCH",
        help="simulate both networks on it and print the six measures (repeatable)",
    )  # fmt: skip
    sub.add_argument("--values", action="store_true", help="run its integers on every --arch, beside the integer reference")
    sub.add_argument("--original-arch", metavar="ARCH", help="simulate the original on this one instead")

    sub = command("plot", _plot, "draw results: energy, stalls, utilization, a Pareto front, speed-ups, buffer sizes")
    sub.add_argument("kind", metavar="KIND", choices=PLOTS, help=", ".join(PLOTS))
    sub.add_argument("results", nargs="+", metavar="RESULT", help=f"{RESULT}; pareto, buffers: or one .csv of a sweep; "
                     "utilization: or one trace of simulate --trace FILE.json")  # fmt: skip
    _figure(sub, "a .pdf, .svg, .png, .eps or .pgf file; gallery: a folder")
    _labels(sub)
    sub.add_argument("--show", choices=("layers", "networks"), help="energy, stalls: a bar a layer or a network")
    sub.add_argument("--shares", action="store_true", default=None, help="energy, stalls: bars as shares of their totals")
    sub.add_argument("--absolute", action="store_false", dest="shares", help="stalls: bars as cycles")
    sub.add_argument("--over-time", action="store_true", help="utilization: layers as wide as their share of time")
    sub.add_argument("-x", metavar="KEY", help="pareto: a column, as max:utilization (default cycles)")
    sub.add_argument("-y", metavar="KEY", help="pareto: the other (default energy_total_pj)")
    sub.add_argument("--label-by", metavar="KEY", help="pareto: the column that names the points of the fronts")
    sub.add_argument("--baseline", metavar="ARCH", help="speedup: over this one (default: the first result's)")
    sub.add_argument("--level", metavar="NAME", help="buffers: the level whose size differs")

    sub = command("report", _report, "write results as one HTML page: tables to sort, roofline, stalls, energy")
    sub.add_argument("results", nargs="+", metavar="RESULT", help=RESULT)
    sub.add_argument("-o", "--output", required=True, metavar="FILE.html", help="the page")
    sub.add_argument("--title", default="", help="of the page")

    sub = command("explain", _explain, "print a layer's loop nest, its tiles, what each buffer holds, what limits it; or, "
                  "without a network, a machine")  # fmt: skip
    _work(sub, optional=True)
    sub.add_argument("--layer", metavar="NAME", help="which layer")

    sub = command("tilings", _tilings, "draw every legal tiling of a layer under the roofs, the chosen one marked")
    _work(sub)
    sub.add_argument("--layer", required=True, metavar="NAME", help="which layer")
    sub.add_argument("--nest", type=_positive, default=1, metavar="N", help="which of its loop nests (default 1)")
    _figure(sub)

    sub = command("compare", _compare, "show which counters differ between two results, and by how much")
    sub.add_argument("first", metavar="A", help=RESULT)
    sub.add_argument("second", metavar="B", help="what it is compared with: the same")

    sub = command("convert", _convert, "turn an ONNX model, a SCALE-Sim file or a sparse matrix into YAML")
    sub.add_argument("source", metavar="SOURCE",
                     help=".onnx, SCALE-Sim .csv topology or .cfg, or a sparse matrix: .npz, .mtx or .smtx")  # fmt: skip
    sub.add_argument("-o", "--output", required=True, metavar="FILE.yaml", help="the YAML")
    _dims(sub)
    sub.add_argument("--values", action="store_true", help="write an ONNX model's weights and scales too, to an .npz")

    sub = command("validate", _validate, "hold the simulator against published figures")
    sub.add_argument("names", nargs="*", metavar="NAME", help="which (default: all)")
    sub.add_argument("--json", action="store_true", help="print the tables as JSON")

    sub = command("check", _check, "print every fault of YAML, ONNX and SCALE-Sim files, with its place")
    sub.add_argument("files", nargs="+", metavar="FILE", help="networks, architectures, mappings, recipes, sweeps; .csv, .cfg")
    _dims(sub)

    sub = command("list", _list, "list what is known by name")
    sub.add_argument("what", metavar="WHAT", choices=LISTS, help=", ".join(LISTS))

    sub = command("schema", _schema, "print a JSON Schema, for completion and checking in an editor")
    sub.add_argument("what", metavar="WHAT", choices=SCHEMAS, help=", ".join(SCHEMAS))
    return parser


def _figure(sub: argparse.ArgumentParser, output: str = "a .pdf, .svg, .png, .eps or .pgf file") -> None:
    """What every figure takes."""
    sub.add_argument("-o", "--output", required=True, metavar="FIGURE", help=output)
    sub.add_argument("--data", metavar="FILE.csv", help="write the figure's data")
    sub.add_argument("--title", default="", metavar="TEXT", help="above the plot")
    sub.add_argument("--width", type=_width, default="single", metavar="WIDTH",
                     help="single or double, columns of a paper, or inches (default single)")  # fmt: skip
    sub.add_argument("--height", type=_inches, metavar="IN", help="of the whole figure (default: the plot's is fixed)")
    sub.add_argument("--style", choices=("paper", "slides"), default="paper", help="slides: a 16:9 picture")


def _labels(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--label", action="append", metavar="TEXT", help="a result's name; one a result, in their order")


def _work(sub: argparse.ArgumentParser, optional: bool = False) -> None:
    """The arguments that name a network, which may be ``optional``, on an architecture."""
    named = "a name (accelsim list networks), or a .yaml, .onnx or .csv file"
    sub.add_argument("network", metavar="NETWORK", nargs="?" if optional else None, help=named)
    sub.add_argument("--arch", required=True, metavar="ARCH", help="a name (accelsim list archs) or a .yaml file")
    sub.add_argument("--batch", type=_positive, metavar="N", help="replaces the network's batch")
    sub.add_argument("--mapping", metavar="FILE", help="a mapping YAML that overrides the automatic choice")
    sub.add_argument(
        "--set", action="append", default=[], dest="assignments", metavar="KEY=VALUE",
        help="override any key, e.g. arch.engine.rows=8 or mapping.conv1.tile.K=64 (repeatable)",
    )  # fmt: skip
    _dims(sub)


def _dims(sub: argparse.ArgumentParser) -> None:
    """Sizes of an ONNX model, which are overrides: NAME=SIZE is ``workload.dims.NAME=SIZE``."""
    sub.add_argument(
        "--dim", action="append", default=[], dest="assignments", type=_dim, metavar="NAME=SIZE",
        help="a size that an ONNX model leaves open, by its name or as INPUT.AXIS=SIZE (repeatable)",
    )  # fmt: skip


def _dim(text: str) -> str:
    name, _, size = text.rpartition("=")
    if not name or not size.isdigit():
        raise argparse.ArgumentTypeError(f"is {text!r}, must be NAME=SIZE or INPUT.AXIS=SIZE, SIZE a whole number")
    return f"workload.dims.{text}"


def _space(sub: argparse.ArgumentParser) -> None:
    """The arguments that describe a space, what to look for in it, and what must hold."""
    sub.add_argument("networks", nargs="+", metavar="NETWORK", help="names or files; or one sweep YAML that says it all")
    sub.add_argument("--arch", action="append", default=[], metavar="ARCH", help="a name or a .yaml file (repeatable)")
    sub.add_argument(
        "--vary", action="append", default=[], metavar="KEY=VALUES",
        help="8:128:8, pow2:8:128, [8, 16, 32] or divisors (repeatable); KEY,KEY=VALUES moves keys together",
    )  # fmt: skip
    sub.add_argument("--where", action="append", default=[], metavar="EXPRESSION", help="what must hold (repeatable)")
    sub.add_argument(
        "--objective", action="append", default=[], metavar="KEY",
        help="what to make small, e.g. cycles or cycles*energy_total_pj; max:utilization makes large (repeatable)",
    )  # fmt: skip
    sub.add_argument("--batch", type=_positive, metavar="N", help="replaces the networks' batch")
    sub.add_argument("--layer", action="append", default=[], metavar="NAME", help="only this layer (repeatable)")
    sub.add_argument("--mapping", metavar="FILE", help="a mapping YAML that overrides the automatic choice")
    sub.add_argument("--recipe", metavar="RECIPE.yaml", help="compress the networks by it; compression. keys may be varied")
    sub.add_argument(
        "--set", action="append", default=[], dest="assignments", metavar="KEY=VALUE", help="for every point (repeatable)"
    )
    _dims(sub)
    sub.add_argument("--values", action="store_true", help="let the operands flow through the registers")
    sub.add_argument("--seed", type=_whole, metavar="N", help="of operands that no file gives, and of samplers (default 0)")


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"is {text!r}, must be a whole number of at least 1")
    return int(text)


def _width(text: str) -> str | float:
    """A column, both, or inches."""
    if text.isalpha() and text not in ("single", "double"):
        raise argparse.ArgumentTypeError(f'"{text}" is no width, must be single, double or inches')
    return text if text.isalpha() else _inches(text)


def _inches(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= MOST_INCHES:
        raise argparse.ArgumentTypeError(f'"{text}" is no length, must be inches above 0, at most {MOST_INCHES}')
    return value


def _whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"is {text!r}, must be a whole number of at least 0")
    return int(text)


# ---- commands --------------------------------------------------------------------------------------------------


def _simulate(options: argparse.Namespace) -> None:
    from accelsim.api import simulate_full
    from accelsim.catalogue import parse_overrides
    from accelsim.report.tracing import Tracing

    network, batch, overrides = _compressed(options, parse_overrides(options.assignments))
    tracing = Tracing.of(options.trace, options.values) if options.trace else None
    with _progress(f"simulating {options.network} on {options.arch} (the first run compiles kernels)"):
        run = simulate_full(
            network, options.arch, batch=batch, layers=options.layer or None, mapping=options.mapping,
            overrides=overrides, values=options.values, seed=options.seed,
            command=options.command_line, recorder=tracing.recorder if tracing else None, inputs=_inputs(options),
        )  # fmt: skip
    if tracing:
        tracing.write(run)
    for note in run.notes:
        print(f"note: {note}", file=sys.stderr)
    written = _write_run(run, Path(options.out)) if options.out else []
    if options.json:
        print(run.result.to_json(), end="")
        return
    from accelsim.report.table import ROWS, print_result

    print_result(run.result, _console(), ROWS if options.rows is None else options.rows or None)
    if options.out:
        print(f"\nwritten to {options.out}: {', '.join(sorted(path.name for path in written))}")


def _inputs(options: argparse.Namespace) -> list[str] | None:
    """The files of --input and --labels, or None."""
    if options.labels and not (options.values and options.inputs):
        raise InputError(Fault("--labels", "", "needs --values and the samples that it labels, --input FILE"))
    return [*options.inputs, *([f"labels={options.labels}"] if options.labels else [])] or None


def _compressed(
    options: argparse.Namespace, overrides: dict[str, Any]
) -> tuple[str | Network, int | None, dict[str, Any]]:
    """What to simulate, its batch and the overrides that are left: the network named, or what a recipe makes of it."""
    if options.recipe is None and not any(key.startswith("compression.") for key in overrides):
        return options.network, options.batch, overrides
    from accelsim.compression.compress import compress

    made = compress(options.network, options.recipe, batch=options.batch, overrides=overrides)
    left = {key: value for key, value in overrides.items() if not key.startswith(("compression.", "workload."))}
    return made.network, None, left


def _progress(words: str) -> AbstractContextManager[Any]:
    """A sign of life on standard error, when that is a terminal."""
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(words)


def _files(run: Any) -> dict[str, bytes]:
    files = {"report.json": run.result.to_json().encode(), "layers.csv": run.result.to_csv().encode()}
    if run.outputs:
        import io

        import numpy as np

        buffer = io.BytesIO()
        np.savez_compressed(buffer, **{**run.model_outputs, **run.outputs})
        files["outputs.npz"] = buffer.getvalue()
    return files


def _write_run(run: Any, folder: Path) -> list[Path]:
    from accelsim.report.files import write_files

    return write_files(folder, _files(run))


def _sweep(options: argparse.Namespace) -> int:
    from accelsim.sweep.api import sweep_spec
    from accelsim.sweep.command import finish, spec_from

    spec = spec_from(options, tilings=options.tilings, bound=False if options.no_bound else None, top=options.top)
    table = sweep_spec(
        spec, jobs=options.jobs, store=options.store, scheduler=options.scheduler, progress=True
    )
    return finish(table, options.out, _console())


def _search(options: argparse.Namespace) -> int:
    from accelsim.sweep.api import search_spec
    from accelsim.sweep.command import finish, spec_from

    result = search_spec(
        spec_from(options), trials=options.trials, sampler=options.sampler, store=options.store, study=options.study,
        progress=True,
    )  # fmt: skip
    return finish(result, options.out, _console())


def _roofline(options: argparse.Namespace) -> None:
    from accelsim.report.style import check_suffix

    check_suffix(options.output)
    results = _read_results(options.results)
    machines = [_machine(text) for text in options.machine]
    from accelsim import plot

    figure, _ = plot.roofline(
        results, machines, axis=options.axis, show=options.show, layers=options.layer, join=options.join,
        percent=options.percent, labels=options.label, name_layers=options.name_layers, **_look(options),
    )  # fmt: skip
    _write_figure(options, figure, lambda: plot.roofline_csv(results, machines, labels=options.label))


def _look(options: argparse.Namespace) -> dict[str, Any]:
    """Width, height and title of a figure."""
    width = "slide" if options.style == "slides" else options.width
    return {"width": width, "height_in": options.height, "title": options.title}


def _write_figure(options: argparse.Namespace, figure: Any, data: Callable[[], str]) -> None:
    from accelsim import plot
    from accelsim.report.files import write_file

    written = [str(plot.save(figure, options.output))]
    if options.data:
        written.append(str(write_file(options.data, data().encode())))
    print(f"written: {', '.join(written)}")


def _plot(options: argparse.Namespace) -> None:
    from accelsim.report.style import check_suffix

    _check_plot(options)
    if options.kind == "gallery":
        _gallery(options)
        return
    check_suffix(options.output)
    figure, data = _drawn(options)
    _write_figure(options, figure, data)


def _check_plot(options: argparse.Namespace) -> None:
    """InputError for options that have no effect on the kind of figure that was asked for."""
    plain = {"over_time": False, "title": "", "width": "single", "style": "paper"}
    wrong = [key for key, kinds in OPTIONS_OF_PLOTS.items() if options.kind not in kinds]
    given = [key for key in wrong if getattr(options, key) != plain.get(key)]
    if given:
        words = ["--absolute" if getattr(options, key) is False else f"--{key}".replace("_", "-") for key in given]
        raise InputError(
            Fault(word, options.kind, f"does not take it, but {join_allowed(OPTIONS_OF_PLOTS[key])}")
            for word, key in zip(words, given, strict=True)
        )


def _gallery(options: argparse.Namespace) -> None:
    """Every figure that the results allow, and a page of them, in a folder."""
    from accelsim import plot
    from accelsim.report.files import write_file
    from accelsim.report.gallery import entries, page

    folder, results = Path(options.output), _read_results(options.results)
    made = entries(plot, results, options.results)
    for entry in made:
        write_file(folder / f"{entry.name}.svg", plot.to_bytes(entry.draw()[0], "svg"))
    print(f"written: {write_file(folder / 'index.html', page(made, '.svg').encode())} and {len(made)} figures")


def _drawn(options: argparse.Namespace) -> tuple[Any, Callable[[], str]]:
    """The figure that was asked for, and what makes its data."""
    from accelsim import plot

    kind, paths, labels, look = options.kind, options.results, options.label, _look(options)
    if kind == "utilization" and len(paths) == 1 and _is_trace(paths[0]):
        if labels is not None:
            raise InputError(Fault("--label", labels[0], "a trace is one run, must be left out"))
        if options.over_time:
            raise InputError(Fault("--over-time", paths[0], "a trace is drawn over time, must be left out"))
        return plot.heat_map(paths[0], **look)[0], lambda: plot.heat_map_csv(paths[0])
    table: Any = paths[0] if len(paths) == 1 and paths[0].endswith(".csv") else _read_results(paths)
    if kind == "pareto":
        x, y = options.x or "cycles", options.y or "energy_total_pj"
        figure, _ = plot.pareto(table, x, y, label_by=options.label_by, labels=labels, **look)
        return figure, lambda: plot.pareto_csv(table, x, y, labels)
    if kind == "buffers":
        figure, _ = plot.buffers(table, level=options.level, labels=labels, **look)
        return figure, lambda: plot.buffers_csv(table, options.level, labels=labels)
    if kind == "speedup":
        figure, _ = plot.speedup(table, baseline=options.baseline, labels=labels, **look)
        return figure, lambda: plot.speedup_csv(table, options.baseline, labels)
    if kind == "utilization":
        figure, _ = plot.utilization(table, over_time=options.over_time, labels=labels, **look)
        return figure, lambda: plot.utilization_csv(table, labels)
    if kind == "energy":
        figure, _ = plot.energy(table, show=options.show, shares=bool(options.shares), labels=labels, **look)
        return figure, lambda: plot.energy_csv(table, options.show, labels)
    figure, _ = plot.stalls(table, show=options.show, shares=options.shares, labels=labels, **look)
    return figure, lambda: plot.stalls_csv(table, options.show, labels)


def _is_trace(path: str) -> bool:
    """Whether a file is a trace rather than a result: by how it begins."""
    try:
        require_regular(Path(path), MOST_TEXT_BYTES)
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(18) == '{"displayTimeUnit"'
    except OSError:
        return False


def _report(options: argparse.Namespace) -> None:
    from accelsim.report.files import write_file
    from accelsim.report.page import to_page

    if not options.output.lower().endswith((".html", ".htm")):
        raise InputError(Fault(options.output, "", "a report page must end in .html"))
    page = to_page(_read_results(options.results), options.title)
    print(f"written: {write_file(options.output, page.encode())}")


def _read_results(paths: Sequence[str]) -> list[Result]:
    """Read every result; the faults of all of them are raised together."""
    from accelsim.report.model import Result

    results, faults = [], list[Fault]()
    for path in paths:
        try:
            results.append(Result.read(path))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    return results


def _machine(text: str) -> Architecture | tuple[Architecture, str]:
    """``haswell`` or, to pick one of its roofs, ``haswell:int8``."""
    from accelsim.catalogue import load_arch

    name, colon, roof = text.rpartition(":")
    return (load_arch(name), roof) if colon and not text.endswith((".yaml", ".yml")) else load_arch(text)


def _compress(options: argparse.Namespace) -> None:
    from accelsim.catalogue import load_arch, parse_overrides
    from accelsim.compression.compress import compress
    from accelsim.compression.save import check_suffix
    from accelsim.compression.table import print_compression, print_measured

    check_suffix(options.output)
    if options.values and not options.arch:
        raise InputError(Fault("--values", "", "needs the architectures to run on, --arch ARCH"))
    overrides = parse_overrides(options.assignments)
    result = compress(options.network, options.recipe, batch=options.batch, overrides=overrides)
    console = _console()
    print_compression(result, console)
    archs = {name: load_arch(name, overrides) for name in options.arch}
    if archs:
        found = {name: result.simulated(arch, options.original_arch) for name, arch in archs.items()}
        print_measured(found, console, result.accuracy_before is not None)
    if options.values:
        _compressed_values(result, archs, console)
    print(f"\nwritten: {', '.join(str(path) for path in result.save(options.output))}")


def _compressed_values(result: Compression, archs: Mapping[str, Architecture], console: Console) -> None:
    """Run the compressed network's values on every architecture, beside the integer reference."""
    from accelsim.compression.engines import print_engine_runs, refuse_differences, run_on_engines

    assert result.test is not None
    runs = run_on_engines(result.network, result.test, result.labels, archs)
    print_engine_runs(runs, len(result.test), console)
    refuse_differences(runs)


def _explain(options: argparse.Namespace) -> None:
    from accelsim.report.explain import explain

    if options.network is None:
        print(_machine_of(options))
        return
    if options.layer is None:
        raise InputError(Fault("--layer", "", f"which layer of {options.network} is to be explained? --layer NAME"))
    network, arch, mapping = _prepared(options)
    print(explain(network, _layer(network, options.layer), arch, mapping))


def _machine_of(options: argparse.Namespace) -> str:
    """A machine in words; what is said of a network has none to be about."""
    from accelsim.catalogue import load_arch, parse_overrides, require_roots
    from accelsim.report.machine import explain_machine

    told = {"--layer": options.layer, "--batch": options.batch, "--mapping": options.mapping}
    strays = [Fault(flag, "", "is about a network, and none is named") for flag, value in told.items() if value is not None]
    if strays:
        raise InputError(strays)
    overrides = parse_overrides(options.assignments)
    require_roots(overrides, ("arch",))
    return explain_machine(load_arch(options.arch, overrides))


def _tilings(options: argparse.Namespace) -> None:
    from accelsim.analysis.tilings import layer_tilings
    from accelsim.report.style import check_suffix

    check_suffix(options.output)
    network, arch, mapping = _prepared(options)
    tilings = layer_tilings(network, _layer(network, options.layer).name, arch, mapping, options.nest - 1)
    from accelsim import plot
    from accelsim.report.tilings_figure import tilings_csv

    figure, _ = plot.tilings_of(tilings, **_look(options))
    print(tilings.summary())
    _write_figure(options, figure, lambda: tilings_csv(tilings))


def _prepared(options: argparse.Namespace) -> tuple[Network, Architecture, MappingFile]:
    """The network, architecture and mapping that a command names."""
    from accelsim.api import prepare
    from accelsim.catalogue import parse_overrides

    overrides = parse_overrides(options.assignments)
    network, arch, mapping, _ = prepare(options.network, options.arch, options.batch, None, options.mapping, overrides)
    return network, arch, mapping


def _layer(network: Network, name: str) -> Layer:
    try:
        return network.layer(name)
    except KeyError as error:
        raise InputError(Fault("--layer", name, f"{network.name}: {error.args[0]}")) from None


def _compare(options: argparse.Namespace) -> None:
    first, second = _read_results([options.first, options.second])
    from accelsim.report.difference import compare_results, print_comparison, print_results_measures, weights_differ

    if weights_differ(first, second):
        print_results_measures(first, second, _console())
    print_comparison(compare_results(first, second), _console())


def _convert(options: argparse.Namespace) -> None:
    if options.values:
        _convert_with_values(options)
        return
    from accelsim.catalogue import dims_of, parse_overrides
    from accelsim.frontends.convert import convert_all
    from accelsim.report.files import write_file

    made = convert_all(Path(options.source), Path(options.output), dims_of(parse_overrides(options.assignments)))
    for note in made.notes:
        print(f"note: {note}", file=sys.stderr)
    written = [str(write_file(path, content)) for path, content in made.files.items()]
    print(f"written: {', '.join([str(write_file(options.output, made.text.encode())), *written])}")


def _convert_with_values(options: argparse.Namespace) -> None:
    from accelsim.catalogue import load_network, parse_overrides
    from accelsim.compression.save import save_network

    network, _ = load_network(options.source, overrides=parse_overrides(options.assignments), values=True)
    print(f"written: {', '.join(str(path) for path in save_network(network, options.output))}")


def _validate(options: argparse.Namespace) -> int:
    from accelsim.validation import report, run_validations

    outcomes = run_validations(options.names)
    if options.json:
        print(report.to_json(outcomes), end="")
    else:
        report.print_outcomes(outcomes, _console())
    return 0 if all(outcome.passed for outcome in outcomes) else 1


def _check(options: argparse.Namespace) -> None:
    from accelsim.catalogue import dims_of, parse_overrides
    from accelsim.check import check_file

    dims = dims_of(parse_overrides(options.assignments))
    faults = [fault for path in options.files for fault in check_file(Path(path), dims)]
    if faults:
        raise InputError(faults)
    print(f"{len(options.files)} {'file is' if len(options.files) == 1 else 'files are'} in order")


def _list(options: argparse.Namespace) -> None:
    from accelsim.catalogue import listing

    entries = listing(options.what)
    longest = max(len(name) for name, _ in entries)
    room = max(_console().width - longest - 2, 20)
    for name, description in entries:
        print(f"{name:<{longest}}  {textwrap.shorten(description, room, placeholder=' ...')}".rstrip())


def _schema(options: argparse.Namespace) -> None:
    import json

    from accelsim.check import schema_of

    print(json.dumps(schema_of(options.what), indent=2))


def _console() -> Console:
    from rich.console import Console

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 100
    console = Console(width=width, highlight=False)
    console.width = max(console.width, NARROWEST)
    return console


if __name__ == "__main__":
    sys.exit(main())
