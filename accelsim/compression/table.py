"""What ``accelsim compress`` prints: layers, sizes, errors, accuracy, and the six measures."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from accelsim.compression.compress import Compression
from accelsim.compression.encode import EncodedSize, total
from accelsim.compression.report import Measures


def print_compression(result: Compression, console: Console) -> None:
    """A row a layer with weights, the total, and the accuracy."""
    errors = {error.name: error for error in result.errors}
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("layer", "weights", "kept", "format", "bits stored", "of 32-bit", "SQNR dB", "mean error"):
        table.add_column(title, justify="left" if title in ("layer", "format") else "right")
    for size in result.sizes:
        layer, error = result.network.layer(size.name), errors.get(size.name)
        table.add_row(
            size.name, " x ".join(map(str, layer.weight_shape or ())), f"{layer.weight.density:.1%}",
            str(layer.precision.weight), *_stored(size),
            f"{error.sqnr_db:.1f}" if error else "", f"{error.mean_absolute_error:.3g}" if error else "",
        )  # fmt: skip
    table.add_row("total", "", "", "", *_stored(total(result.sizes)))
    console.print(table)
    if result.accuracy_before is not None and result.accuracy_after is not None:
        console.print(f"\ntop-1: float {result.accuracy_before:.2%}, compressed {result.accuracy_after:.2%}")


def _stored(size: EncodedSize) -> tuple[str, str]:
    return f"{size.total_bits:,}", f"{size.ratio:.2%}"


def print_measures(whole: Measures, layers: Mapping[str, Measures], console: Console) -> None:
    """The six ratios, compressed over original, of the network and of each layer that both have."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("compressed / original")
    names = [name for name, _ in whole.rows()]
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for title, measures in (*layers.items(), ("network", whole)):
        table.add_row(title, *("" if value is None else f"{value:.3f}" for _, value in measures.rows()))
    console.print()
    console.print(table)
