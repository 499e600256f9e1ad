"""What ``accelsim explain`` says of a sparse engine: what lies in the PEs, what is broadcast, who has most to do."""

from __future__ import annotations

from collections.abc import Iterator

from accelsim.arch.spec import Architecture, SparseSpec
from accelsim.engines.base import LayerRun
from accelsim.report.words import columns, significant
from accelsim.units import format_bytes


def sparse_products(run: LayerRun, arch: Architecture) -> Iterator[str]:
    """The layer's products of a matrix and a vector. Nothing for a layer that runs elsewhere on the chip."""
    counts, spec = run.counters.unit_counts, arch.engine
    if not isinstance(spec, SparseSpec) or not counts.get("products"):
        return
    products = counts["products"]
    yield f"{products:,} product{'s' * (products > 1)} of a compressed matrix and a vector, on {_groups(spec)}:"
    yield from columns(
        [
            ("stored", format_bytes(_stored_bits(run) / 8), _parts(run)),
            ("broadcasts", f"{counts['broadcasts']:,}", _fetch(run)),
            ("entries", f"{counts['entries']:,}", _entries(run)),
            ("busiest PE", f"{counts['entries_of_the_busiest_pe']:,}", _imbalance(run, spec)),
            (
                "rows fetched",
                f"{counts['row_fetches']:,}",
                f"of {spec.row_entries} entries; {_served(run)} streamed from each",
            ),
        ]
    )
    yield ""


def _groups(spec: SparseSpec) -> str:
    pes = f"{spec.pes} PEs with a queue of {spec.queue_capacity} each"
    return pes if spec.channels == 1 else f"{spec.channels} channels of {pes}"


def _stored_bits(run: LayerRun) -> int:
    return sum(bits for name, bits in run.counters.unit_counts.items() if name.startswith("stored_"))


def _parts(run: LayerRun) -> str:
    total = max(1, _stored_bits(run))
    words = {"value": "weights", "index": "indices", "padding": "padding zeros", "pointer": "pointers"}
    counts = run.counters.unit_counts
    return ", ".join(f"{counts[f'stored_{key}_bits'] / total:.0%} {word}" for key, word in words.items())


def _fetch(run: LayerRun) -> str:
    counts = run.counters.unit_counts
    return f"held back in {counts['broadcast_stall_cycles']:,} cycles, nothing found in {counts['scan_cycles']:,}"


def _entries(run: LayerRun) -> str:
    counts = run.counters.unit_counts
    padding = counts["padding_zeros"] / max(1, counts["entries"])
    return f"{padding:.1%} padding zeros; {counts['empty_columns']:,} empty columns took a cycle of a PE"


def _imbalance(run: LayerRun, spec: SparseSpec) -> str:
    counts = run.counters.unit_counts
    mean = counts["entries"] / spec.pes
    return f"entries, {significant(counts['entries_of_the_busiest_pe'] / mean)} times the mean" if mean else "entries"


def _served(run: LayerRun) -> str:
    counts = run.counters.unit_counts
    return significant(counts["entries"] / max(1, counts["row_fetches"]))
