"""``accelsim explain``: a layer's loop nest, its tiles, what each buffer holds, and what limits it."""

from __future__ import annotations

from collections.abc import Iterator

from accelsim.arch.spec import Architecture, Tensor
from accelsim.counters import Counters
from accelsim.engines.base import LayerRun
from accelsim.engines.mapped import MappedEngine, PlannedNest
from accelsim.engines.nfu import Nfu
from accelsim.engines.systolic import Fold, SystolicArray
from accelsim.mapping.fit import demand
from accelsim.mapping.loopnest import DIMS
from accelsim.mapping.machine import Ints, Widths, tile_array
from accelsim.mapping.mapping import MappingFile
from accelsim.memory.transfers import passes_through
from accelsim.report.explain_nfu import nfu_loops, nfu_reuse
from accelsim.report.explain_sparse import sparse_products
from accelsim.report.words import LOOP_NAMES, columns, percent, scaled
from accelsim.schedule.build import NOTHING
from accelsim.schedule.residency import Plan
from accelsim.schedule.staged import StagedSchedule
from accelsim.simulator import Simulator
from accelsim.units import ceil_div, format_bytes
from accelsim.workload.network import Layer, Network


def explain(network: Network, layer: Layer, arch: Architecture, mapping: MappingFile) -> str:
    """The explanation of ``layer`` as text; the layer runs in its place in the network, so that residency is true."""
    simulator = Simulator(arch, mapping)
    post = simulator.posts(network)[layer.name]
    run, layer = simulator.run_named(network, layer.name), post.layer(layer.name)
    arch, engine, plan = post.arch, post.engine, post.plan
    lines = [*_headline(run.layer, run), *_parts(layer, post.parts), *_placement(layer, plan, arch)]
    if isinstance(engine, MappedEngine):
        for nest in engine.planned(layer, plan):
            lines += _nest(nest, engine.built(layer), arch)
    return "\n".join([*lines, *sparse_products(run, arch), *_limits(run, arch)])


def _headline(layer: Layer, run: LayerRun) -> list[str]:
    shapes = " and ".join("x".join(map(str, shape)) for shape in layer.input_shapes)
    out = ", ".join("x".join(map(str, shape)) for shape in layer.output_shapes)
    formats = layer.precision
    return [
        f"{layer.name}: {layer.op.op}, {shapes} -> {out}",
        f"  {layer.macs:,} MACs, {layer.parameters:,} parameters; weight {formats.weight}, input {formats.input}, "
        f"accumulator {formats.accumulator}, output {formats.output}",
        f"  runs on: {run.engine}" + (f" ({_plain(run)})" if run.engine == "none" else ""),
        "",
    ]


def _parts(part: Layer, parts: int) -> list[str]:
    if parts == 1:
        return []
    size = part.output_shapes[0][0]
    return [f"the batch runs as {parts} parts, one after the other through all layers; what follows is of one, {size} rows:"]


def _plain(run: LayerRun) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in run.mapping.items())


def _placement(layer: Layer, plan: Plan, arch: Architecture) -> list[str]:
    placement = plan.placements[layer.name]
    level = arch.keeper("output")
    where = level.name if level else arch.off_chip.name
    share = float(placement.input_off_chip)
    coming = "is on chip already" if share == 0 else "is fetched" if share == 1 else f"is fetched for {share:.0%}"
    leaving = f"stays in {where}" if placement.output_resident else f"goes to {arch.off_chip.name}"
    lines = [f"between layers: its input {coming}; its output {leaving}"]
    for name, size in placement.reserved_bytes.items():
        if size:
            lines.append(f"  {format_bytes(size)} of {name} hold tensors that live across this layer")
    return [*lines, ""]


# ---- the nest ---------------------------------------------------------------------------------------------------


def _nest(planned: PlannedNest, layer: Layer, arch: Architecture) -> list[str]:
    nest, mapping = planned.nest, planned.mapping
    part = f" ({nest.part}, {nest.repeat} times)" if nest.part else ""
    return [
        f"loop nest{part}, dataflow {mapping.dataflow}:",
        *_loops(planned, arch),
        "",
        *_buffers(planned, layer, arch),
        "",
        *_inside(planned, layer, arch),
    ]


def _loops(planned: PlannedNest, arch: Architecture) -> Iterator[str]:
    """The loops over tiles of every stage, outermost first, then what its tile holds."""
    around, mapping, indent = planned.nest.dims, planned.mapping, "    "
    yield f"  {arch.off_chip.name}: " + " ".join(f"{d}={s}" for d, s in around._asdict().items() if s > 1)
    for stage, levels in zip(mapping.stages, arch.stages or ((),), strict=True):
        for dim in stage.order:
            size, step = getattr(around, dim), getattr(stage.tile, dim)
            count = ceil_div(size, step)
            if count > 1:
                ragged = f", the last {size - step * (count - 1)}" if size % step else ""
                yield f"{indent}for {dim.lower()} in {count} tiles of {step}{ragged}    # {LOOP_NAMES[dim]}"
                indent += "  "
        tile = " ".join(f"{d}={getattr(stage.tile, d)}" for d in DIMS if getattr(stage.tile, d) > 1)
        where = "" if len(arch.stages) < 2 else f"{' and '.join(level.name for level in levels)}: "
        many = f", {_tiles(planned)}" if stage is mapping.stages[-1] else ""
        yield f"{indent}{where}tile: {tile or 'one element'}  ({stage.tile.macs:,} MACs{many})"
        around = stage.tile


def _tiles(planned: PlannedNest) -> str:
    return "1 tile" if planned.schedule.steps == 1 else f"{planned.schedule.steps:,} tiles"


def _buffers(planned: PlannedNest, layer: Layer, arch: Architecture) -> list[str]:
    """One line a tensor: where it is held, how much of it, how often each element crosses the far port."""
    if isinstance(planned.schedule, StagedSchedule):
        return ["hops:", *columns(_hop_rows(planned.schedule))]
    need = demand(
        planned.nest, tile_array(planned.mapping.tile), planned.view or arch, planned.unit, layer.precision,
        planned.mapping.dataflow, planned.placement, planned.mapping.keep,
    )  # fmt: skip
    rows: list[tuple[str, ...]] = [("tensor", "held in", "a tile", "tiles held", "of the level", "fetched or stored")]
    for tensor in ("weight", "input", "output"):
        rows.append(_buffer_row(tensor, need.tile_bits, need.slots, planned, layer, arch))
    return ["buffers:", *columns(rows)]


def _hop_rows(schedule: StagedSchedule) -> list[tuple[str, ...]]:
    """One line a hop: from where to where, the largest tile, how many, and what they carry each way."""
    rows: list[tuple[str, ...]] = [("tensor", "from", "to", "a tile", "tiles", "in", "out")]
    for hop in schedule.hops:
        largest = int(max(hop.bits_in.max(), hop.bits_out.max()))
        sums = (format_bytes(int(bits.sum()) / 8) for bits in (hop.bits_in, hop.bits_out))
        rows.append((hop.tensor, hop.outer.name, hop.inner.name, format_bytes(largest / 8), f"{len(hop.bits_in):,}", *sums))
    return rows


def _buffer_row(
    tensor: Tensor, bits: dict[str, Ints], slots: dict[str, Ints], planned: PlannedNest, layer: Layer, arch: Architecture
) -> tuple[str, ...]:
    level = arch.holder(tensor)
    where = level.name if level else "nowhere: streamed"
    if tensor not in bits:
        return (tensor, where, "all of it", "-", "-", "not at all: it stays on chip")
    if level is not None and passes_through(arch, tensor, planned.nest, Widths.of(layer.precision)):
        return (tensor, where, format_bytes(int(bits[tensor][0]) / 8), "-", "streams", _streams(tensor))
    one, held = int(bits[tensor][0]), int(slots[tensor][0])
    share = f"{100 * one * held / 8 / level.size:.3g}%" if level and level.size else "-"
    kept = " (kept whole)" if tensor in planned.mapping.keep else ""
    return (tensor, where, format_bytes(one / 8) + kept, str(held), share, _times(tensor, planned, layer))


def _streams(tensor: Tensor) -> str:
    return "stored once; any partial sums out and in again" if tensor == "output" else "anew for every fold"


def _times(tensor: str, planned: PlannedNest, layer: Layer) -> str:
    """How many times over the tensor crosses the far port."""
    schedule, widths = planned.schedule, Widths.of(layer.precision)
    if tensor == "output":
        partial = int(schedule.stores[(schedule.stores != NOTHING) & schedule.partial].sum())
        extra = f", and {format_bytes(partial / 8)} of partial sums out and in again" if partial else ""
        return f"{'stored once' if not planned.placement.output_resident else 'not stored'}{extra}"
    column = ("weight", "input").index(tensor)
    loads = planned.unit.crossing(schedule, layer.precision, planned.placement).loads[:, column]
    moved = int(loads[loads != NOTHING].sum())
    nest = planned.nest
    whole = nest.weight_elements if tensor == "weight" else nest.input_elements(nest.dims)
    return f"{moved / max(1, whole * getattr(widths, tensor)):.3g} x ({format_bytes(moved / 8)})"


def _inside(planned: PlannedNest, layer: Layer, arch: Architecture) -> list[str]:
    """How the unit takes the common tile."""
    if isinstance(planned.unit, SystolicArray):
        return _folds(planned, layer, planned.unit)
    if isinstance(planned.unit, Nfu):
        return [*nfu_loops(planned, planned.unit, layer), "", *nfu_reuse(planned, planned.unit, layer, arch), ""]
    return []


def _folds(planned: PlannedNest, layer: Layer, unit: SystolicArray) -> list[str]:
    """How the array takes the common tile."""
    dataflow = planned.mapping.dataflow
    grid = unit.fold_grid(planned.mapping.tile, dataflow, layer.precision, planned.nest.private_weights)
    on_rows, on_cols, streamed = {
        "os": ("pixels", "channels", "reduction"), "ws": ("reduction", "channels", "pixels"),
        "is": ("reduction", "pixels", "channels"),
    }[dataflow]  # fmt: skip
    total = grid.groups * grid.outer * grid.inner
    rows = [("folds", f"{on_rows} on rows", f"{on_cols} on columns", f"{streamed} streamed", "cycles alone", "PEs used")]
    seen: dict[Fold, int] = {}
    for fold, count in zip(grid.shapes, grid.counts(), strict=True):
        seen[fold] = seen.get(fold, 0) + count
    for fold, count in seen.items():
        if count:
            cycles = int(unit.fold_record(fold, dataflow)[-1])
            used = fold.used_rows * fold.used_cols / (unit.spec.rows * unit.spec.cols)
            shape = (str(fold.used_rows), str(fold.used_cols), f"{fold.vectors:,}")
            rows.append((f"{count:,}", *shape, f"{cycles:,}", f"{used:.1%}"))
    folds = f"{total:,} {'fold' if total == 1 else 'folds'}"
    return [f"a tile on the {unit.spec.rows} x {unit.spec.cols} array: {folds}", *columns(rows), ""]


# ---- what limits it -----------------------------------------------------------------------------------------------


def _limits(run: LayerRun, arch: Architecture) -> list[str]:
    counters, limiter = run.counters, run.limiter
    if not counters.cycles:
        return ["it takes no cycles of its own"]
    lines = [f"{counters.cycles:,} cycles, {scaled(counters.cycles / arch.clock, 's', 4)}: {_where(counters)}"]
    if limiter is None:
        return lines
    busiest = sorted(counters.occupied_cycles.items(), key=lambda item: -item[1])
    rows = [("resource", "at work", "of the cycles")]
    rows += [(name, f"{cycles:,}", f"{cycles / counters.cycles:.1%}") for name, cycles in busiest if cycles]
    words = "without it taking any time the layer would take"
    return [*lines, *columns(rows), f"limiter: {limiter.resource}; {words} {limiter.cycles_without:,} cycles"]


def _where(counters: Counters) -> str:
    stalls = [(count, cause) for cause, count in counters.stalls.to_dict().items() if count]
    shares = [(counters.busy_cycles, "busy"), *sorted(stalls, reverse=True)]
    return ", ".join(f"{percent(count / counters.cycles)}% {cause}" for count, cause in shares)
