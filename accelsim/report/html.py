"""A result as a table in a notebook."""

from __future__ import annotations

from html import escape

from accelsim.report.model import Result
from accelsim.report.table import COLUMNS, UNICODE, costs, free_note
from accelsim.report.words import percent, rate, scaled

_SKIPPED = ("",)  # the bar of the terminal
_CELL = 'style="text-align:{}"'


def to_html(result: Result) -> str:
    """Headline figures, then every layer that costs something; scrolls where it is long."""
    columns = [column for column in COLUMNS if column.heading not in _SKIPPED]
    head = "".join(_cell("th", column.heading, column.justify) for column in columns)
    rows = []
    for layer in result.layers:
        if costs(layer):
            cells = (
                _cell("td", str(column.cell(result, layer, UNICODE)), column.justify) for column in columns
            )
            rows.append(f"<tr>{_cell('th', layer.name, 'left')}{''.join(cells)}</tr>")
    note = free_note(result)
    return (
        f"<div><p>{_headline(result)}</p>"
        '<div style="max-height:32em;overflow:auto"><table>'
        f"<thead><tr>{_cell('th', 'layer', 'left')}{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
        f"{f'<p><small>{escape(note)}</small></p>' if note else ''}</div>"
    )


def _cell(tag: str, text: str, justify: str) -> str:
    return f"<{tag} {_CELL.format(justify)}>{escape(text)}</{tag}>"


def _headline(result: Result) -> str:
    totals = result.totals
    figures = (
        f"{totals.cycles:,} cycles = {scaled(totals.seconds, 's', 4)}",
        f"utilization {percent(totals.utilization)}%",
        rate(totals.attained_gops),
        scaled(totals.energy_total_pj * 1e-12, "J"),
        scaled(totals.power_w, "W"),
    )
    name, machine = escape(result.network), escape(result.architecture)
    return f"<b>{name}</b> on <b>{machine}</b>, batch {result.batch}: {escape('; '.join(figures))}"
