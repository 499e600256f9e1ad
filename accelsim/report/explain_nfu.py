"""What ``accelsim explain`` says of an NFU: the loops inside a tile, what is unrolled, the reuse at each level."""

from __future__ import annotations

from collections.abc import Iterator

from accelsim.arch.spec import Architecture, NfuSpec
from accelsim.engines.mapped import PlannedNest
from accelsim.engines.nfu import Nfu
from accelsim.engines.nodes import exchange
from accelsim.mapping.machine import Widths
from accelsim.report.words import LOOP_NAMES, columns, significant
from accelsim.schedule.build import NOTHING
from accelsim.units import ceil_div, format_bytes
from accelsim.workload.network import Layer

PASSES = ("G", "N", "P", "Q", "K")  # the order in which rows of outputs follow one another
CHUNKS = ("R", "S", "C")  # and the rows of operands within one: taps outside, channels inside


def nfu_loops(planned: PlannedNest, unit: Nfu, layer: Layer) -> Iterator[str]:
    """The NFU's own loops over the common tile, a row of operands a time."""
    tile, steps = planned.mapping.tile, unit.steps(layer.precision, planned.nest)
    rows, built = unit.tile_rows(tile, layer.precision, planned.nest), _hardware(unit)
    whose = "the NFU's" if built.nodes == 1 else f"the {built.nodes} nodes'"
    yield f"inside a tile, on {whose} {built.nodes * built.unroll.multipliers} multipliers:"
    told = exchange(built, planned.nest, Widths.of(layer.precision), planned.placement)
    if built.nodes > 1 and told.block_bits:
        heard = format_bytes(told.steps * told.block_bits / 8)
        yield f"  each node hears {heard} of its operands over the links, in {told.steps} step{'s' * (told.steps > 1)}"
    indent = "  "
    for dim in (*PASSES, *CHUNKS):
        size, step = getattr(tile, dim), getattr(steps, dim)
        if size > step:
            ragged = f", the last {size % step}" if size % step else ""
            pace = f"{ceil_div(size, step)} steps of {step}{ragged}" if step > 1 else str(size)
            yield f"{indent}for {dim.lower()} in {pace}    # {LOOP_NAMES[dim]}"
            indent += "  "
    used = [f"{dim} {min(step, getattr(tile, dim))}" for dim, step in steps._asdict().items() if step > 1]
    yield f"{indent}at once: {' x '.join(used) or 'one product'}"
    cycles = unit.issue_cycles(rows, layer.precision)
    yield (
        f"  {rows.passes:,} rows of outputs of {rows.chunks:,} rows of operands each: {cycles:,} cycles, "
        f"{tile.macs / float(cycles * _hardware(unit).macs_per_cycle(layer.precision)):.1%} of the multipliers at work"
    )


def _hardware(unit: Nfu) -> NfuSpec:
    """The NFU as it is built; a layer's unroll may leave some of its multipliers idle."""
    assert isinstance(unit.arch.engine, NfuSpec)
    return unit.arch.engine


def nfu_reuse(planned: PlannedNest, unit: Nfu, layer: Layer, arch: Architecture) -> Iterator[str]:
    """How often each element is read at each level, and how many MACs a read serves."""
    schedule, widths = planned.schedule, Widths.of(layer.precision)
    traffic = unit.crossing(schedule, layer.precision, planned.placement).operand_traffic(arch)
    nest, far = schedule.nest, arch.off_chip.name  # of a stretched layer: its short part
    rows = [("operand", "elements", f"each read from {far}", "each read from its buffer", "MACs a read serves")]
    counts = {"weight": nest.weight_elements, "input": nest.input_elements(nest.dims)}
    for column, (tensor, elements) in enumerate(counts.items()):
        level = arch.holder(tensor)  # type: ignore[arg-type]
        assert level is not None
        width = getattr(widths, tensor)
        loads = schedule.loads[:, column]
        fetched = int(loads[loads != NOTHING].sum()) / (elements * width)
        read = traffic[level.name][tensor].read_bits / width
        times = f"{level.name} {significant(read / elements)} x"
        served = significant(nest.dims.macs / read)
        rows.append((tensor, f"{elements:,}", f"{significant(fetched)} x", times, served))
    yield "reuse (lanes that a ragged row leaves idle are read, too):"
    yield from columns(rows)
    yield _sums(planned, unit, layer, arch)


def _sums(planned: PlannedNest, unit: Nfu, layer: Layer, arch: Architecture) -> str:
    """Where the sums are between their updates."""
    nest, widths = planned.schedule.nest, Widths.of(layer.precision)
    level = arch.holder("output")
    assert level is not None
    moved = unit.crossing(planned.schedule, layer.precision, planned.placement).operand_traffic(arch)[level.name]
    outputs = nest.dims.outputs
    final = moved["output"].write_bits / widths.output
    written, read = final, 0.0
    if "partial_sum" in moved:
        written += moved["partial_sum"].write_bits / widths.partial_sum
        read = moved["partial_sum"].read_bits / widths.partial_sum
    return (
        f"  each of {outputs:,} outputs is written to {level.name} {significant(written / outputs)} x and read back "
        f"{significant(read / outputs)} x; a write stands for {significant(nest.dims.macs / written)} MACs"
    )
