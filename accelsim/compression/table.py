"""What ``accelsim compress`` prints: layers, sizes, errors, accuracy, and the six measures."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from accelsim.compression.compress import Compression
from accelsim.compression.encode import EncodedSize, total
from accelsim.compression.report import Measured
from accelsim.report.difference import print_measures
from accelsim.report.words import scaled


def print_compression(result: Compression, console: Console) -> None:
    """A row a layer with weights, the total, and the accuracy."""
    errors = {error.name: error for error in result.errors}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("layer", "weights", "kept", "format", "bits stored", "of 32-bit", "SQNR dB", "mean error"):
        table.add_column(title, justify="left" if title in ("layer", "format") else "right")
    for size in result.sizes:
        layer, error = result.network.layer(size.name), errors.get(size.name)
        table.add_row(
            size.name, "x".join(map(str, layer.weight_shape or ())), f"{layer.weight.density:.1%}",
            str(layer.precision.weight), *_stored(size),
            f"{error.sqnr_db:.1f}" if error else "", f"{error.mean_absolute_error:.3g}" if error else "",
        )  # fmt: skip
    table.add_row("total", "", "", "", *_stored(total(result.sizes)))
    console.print(table)
    if result.accuracy_before is not None and result.accuracy_after is not None:
        console.print(f"\ntop-1: float {result.accuracy_before:.2%}, compressed {result.accuracy_after:.2%}")


def _stored(size: EncodedSize) -> tuple[str, str]:
    return f"{size.total_bits:,}", f"{size.ratio:.2%}"


def print_measured(found: Mapping[str, Measured], console: Console, labelled: bool) -> None:
    """The six ratios, compressed over original, by architecture; time and energy themselves; what is not known."""
    console.print()
    print_measures({name: (m.whole, m.layers) for name, m in found.items()}, console, "compressed\n/ original")
    for name, one in found.items():
        first, second = (
            f"{scaled(t.seconds, 's')}, {scaled(t.energy_total_pj * 1e-12, 'J')}"
            for t in (one.original.totals, one.compressed.totals)
        )
        console.print(f"{name}: {first} to {second}", highlight=False)
    if not labelled:
        console.print("accuracy: not known, the recipe names no test data with labels (test: {file, array, labels})")
