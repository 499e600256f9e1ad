"""A page of every figure that results allow, each under the command that draws it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from accelsim.report.model import Result

Drawn = tuple[Any, Any]


@dataclass(frozen=True)
class Entry:
    """A figure: the name of its file, what it shows, and the words of its command between ``accelsim`` and ``-o``."""

    name: str
    shows: str
    command: str
    draw: Callable[[], Drawn]


def entries(plot: Any, results: Sequence[Result], paths: Sequence[str]) -> list[Entry]:
    """The figures of these results, read from these paths; ``plot`` is `accelsim.plot`."""
    all_of, one = " ".join(paths), paths[0]
    machines = {result.architecture for result in results}
    several: list[Entry] = []
    if len(results) > 1:
        several = [
            Entry("roofline_networks", "Networks under the roofs of their machines",
                  f"roofline {all_of} --show networks", lambda: plot.roofline(results, show="networks")),
            Entry("energy_networks", "Energy of each network by component",
                  f"plot energy {all_of} --shares", lambda: plot.energy(results, shares=True)),
            Entry("stalls_networks", "What the cycles of each network were for",
                  f"plot stalls {all_of}", lambda: plot.stalls(results)),
            Entry("pareto", "Cycles and energy, and the front of each network",
                  f"plot pareto {all_of} --label-by architecture", lambda: plot.pareto(results, label_by="architecture")),
        ]  # fmt: skip
    if len(machines) > 1 and len({(r.network, r.architecture) for r in results}) == len(results):
        base = {result.network for result in results if result.architecture == results[0].architecture}
        if base == {result.network for result in results}:
            several.append(Entry("speedup", "Speed-ups over the first machine", f"plot speedup {all_of}",
                                 lambda: plot.speedup(results)))  # fmt: skip
    return [
        Entry("roofline", "Layers under the roofs of the machine, their areas their shares of time",
              f"roofline {one}", lambda: plot.roofline(results[0])),
        Entry("roofline_levels", "A network at the ports of every memory level",
              f"roofline {one} --show levels", lambda: plot.roofline(results[0], show="levels")),
        *several,
        Entry("energy", "Energy of each layer by component", f"plot energy {one} --width double",
              lambda: plot.energy(results[0], width="double")),
        Entry("stalls", "What the cycles of each layer were for", f"plot stalls {one} --width double",
              lambda: plot.stalls(results[0], width="double")),
        Entry("utilization", "Utilization over time, by what bounds each layer",
              f"plot utilization {one} --over-time", lambda: plot.utilization(results[0], over_time=True)),
    ]  # fmt: skip


PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>Figures · accelsim</title><style>
body{{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#1f2328;background:#fff}}
figure{{margin:2.5em 0}}img{{max-width:100%;height:auto}}code{{background:#f6f8fa;padding:.15em .4em;overflow-wrap:anywhere}}
</style></head><body><h1>Figures</h1>
{figures}
</body></html>
"""


def page(made: Sequence[Entry], suffix: str) -> str:
    """The page beside the files of its figures."""
    parts = (
        f'<figure><img src="{entry.name}{suffix}" alt="{escape(entry.shows)}">\n<figcaption>{escape(entry.shows)}<br>'
        f"<code>accelsim {escape(entry.command)} -o {entry.name}.pdf</code></figcaption></figure>"
        for entry in made
    )
    return PAGE.format(figures="\n".join(parts))
