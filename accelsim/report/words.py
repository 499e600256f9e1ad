"""Numbers and words as people read them: significant digits with a unit, columns of text. Never for files."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, isfinite, log10

_SCALES = (
    ("T", 1e12),
    ("G", 1e9),
    ("M", 1e6),
    ("k", 1e3),
    ("", 1.0),
    ("m", 1e-3),
    ("µ", 1e-6),
    ("n", 1e-9),
    ("p", 1e-12),
)


def significant(value: float, digits: int = 3) -> str:
    """``1234.5`` -> ``1,234`` (never an exponent, never fewer digits before the point than there are)."""
    if not isfinite(value) or value == 0:
        return f"{value:g}"
    if abs(value) < 10**digits:
        value = float(f"{value:.{digits - 1}e}")  # first, so that 0.9999 is 1.00 and not 1.000
    decimals = max(0, digits - 1 - floor(log10(abs(value))))
    text = f"{value:,.{min(decimals, 12)}f}"
    return text.rstrip("0").rstrip(".") if "." in text and abs(value) >= 10**digits else text


def scaled(value: float, unit: str, digits: int = 3) -> str:
    """``0.00196, "s"`` -> ``1.96 ms``; decimal prefixes."""
    if not value:
        return f"0 {unit}"
    for prefix, scale in _SCALES:
        if abs(value) >= scale * (1 - 0.5 * 10**-digits) or prefix == "p":
            return f"{significant(value / scale, digits)} {prefix}{unit}"
    raise AssertionError("unreachable: the last prefix takes everything")


def compact(value: float, unit: str) -> str:
    """As `scaled`, without trailing zeros: ``34e9, "B/s"`` -> ``34 GB/s``."""
    number, _, rest = scaled(value, unit).partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {rest}"


def rate(gops: float) -> str:
    """Gop/s with the prefix that suits, in the field's words: ``91750.4`` -> ``91.8 TOPS``."""
    return scaled(gops * 1e9, "OPS")


def size(size_bytes: float) -> str:
    """Bytes with binary prefixes and three digits: ``1572864`` -> ``1.50 MiB``; below a KiB exact."""
    for prefix in ("", "Ki", "Mi", "Gi"):
        if abs(size_bytes) < 1000:
            return f"{significant(size_bytes) if prefix else f'{size_bytes:.0f}'} {prefix}B"
        size_bytes /= 1024
    return f"{significant(size_bytes)} TiB"


def percent(share: float) -> str:
    """``0.3634`` -> ``36.3``; a little that is not nothing shows as ``<0.1``."""
    if 0 < share < 0.0005:
        return "<0.1"
    return f"{100 * share:.1f}" if share < 0.9995 else "100"


def shorten(text: str, width: int, dots: str = "…") -> str:
    """Cut the middle out of a long name: both ends of ``features.denseblock4.conv2`` tell layers apart."""
    if len(text) <= width:
        return text
    keep = max(width - len(dots), 1)
    tail = keep - keep // 3
    return text[: keep // 3] + dots + text[-tail:]


LOOP_NAMES = {
    "N": "image", "K": "output channel", "C": "input channel", "P": "output row", "Q": "output column",
    "R": "filter row", "S": "filter column", "G": "group",
}  # fmt: skip


def columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Rows of text as lines, each column as wide as its widest cell."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
