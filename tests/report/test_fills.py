"""Bars in grey print and for colour-blind eyes: what stands side by side differs in lightness or in its hatch."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest

from accelsim.report import style
from accelsim.report.speedup_figure import HATCHES
from accelsim.report.stacked_figure import COMPONENTS, FAR, NEAR, USES, Fill, hatch_ink
from accelsim.report.utilization_figure import BOUNDS, INKS

SETS = {
    "uses": USES,
    "components": {**COMPONENTS, **{f"near {i}": fill for i, fill in enumerate(NEAR)}, "far": FAR},
    "bounds": BOUNDS,
    "machines": {str(i): (style.PALETTE[i], hatch) for i, hatch in enumerate(HATCHES)},
}
TOLD_APART = 1.5  # ratio of luminance of plain areas that touch
# What a dichromat sees of linear RGB (Viénot, Brettel and Mollon, 1999).
PROTAN = ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0))
DEUTAN = ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0))


def told_apart(first: Fill, second: Fill) -> bool:
    return first[1] != second[1] or style.contrast(first[0], second[0]) >= TOLD_APART


@pytest.mark.parametrize("kind", sorted(SETS))
def test_fills_are_told_apart_in_grey(kind: str) -> None:
    alike = [(a, b) for (a, p), (b, q) in combinations(SETS[kind].items(), 2) if not told_apart(p, q)]
    assert alike == []


@pytest.mark.parametrize("kind", sorted(SETS))
def test_a_hatch_is_seen_on_its_colour(kind: str) -> None:
    assert all(style.contrast(hatch_ink(colour), colour) >= 3 for colour, hatch in SETS[kind].values() if hatch)


@pytest.mark.parametrize("sight", [PROTAN, DEUTAN])
def test_plain_fills_differ_to_colour_blind_eyes(sight: tuple[tuple[float, ...], ...]) -> None:
    from matplotlib.colors import to_rgb

    def seen(colour: str) -> list[float]:
        linear = [c**2.2 for c in to_rgb(colour)]
        return [max(0.0, sum(a * b for a, b in zip(row, linear, strict=True))) ** (1 / 2.2) for row in sight]

    for fills in SETS.values():
        plain = [colour for colour, hatch in fills.values() if not hatch]
        for a, b in combinations(plain, 2):
            assert max(abs(x - y) for x, y in zip(seen(a), seen(b), strict=True)) > 0.15, (a, b)


def test_a_map_gets_darker_step_by_step() -> None:
    shades = [style.luminance(ink) for ink in INKS]
    assert all(style.contrast(a, b) > 1.25 for a, b in pairwise(INKS))
    assert shades == sorted(shades, reverse=True)
