"""The roofline of tilings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from accelsim.analysis.tilings import layer_tilings
from accelsim.api import load_arch, load_network
from accelsim.errors import InfeasibleError
from accelsim.report.tilings_figure import draw_tilings, write_tilings_csv


def test_points_lie_under_the_roofs_and_the_chosen_one_is_near_the_best(tmp_path: Path) -> None:
    tilings = layer_tilings(load_network("diannao_conv3"), "conv3", load_arch("diannao"))
    assert len(tilings.tiles) > 1000
    assert tilings.attainable_gops.max() <= tilings.peak_gops * (1 + 1e-9)
    assert tilings.bytes_per_second is not None
    assert (
        tilings.attainable_gops <= tilings.ops_per_byte * tilings.bytes_per_second / 1e9 * (1 + 1e-9)
    ).all()
    assert tilings.gap < 0.01
    path = write_tilings_csv(tilings, tmp_path / "tilings.csv")
    lines = path.read_text().splitlines()
    assert len(lines) == len(tilings.tiles) + 1
    assert sum(line.endswith(",True") for line in lines) == 1


def test_figure_has_every_place_and_one_star() -> None:
    tilings = layer_tilings(load_network("diannao_class1"), "class1", load_arch("diannao"))
    _, axes = draw_tilings(tilings)
    cloud, star = axes.collections
    places = np.unique(np.stack([tilings.ops_per_byte, tilings.attainable_gops], axis=1), axis=0)
    assert len(cloud.get_offsets()) == len(places)
    assert len(star.get_offsets()) == 1


def test_layers_without_products_are_refused() -> None:
    with pytest.raises(InfeasibleError, match="pool1: its tilings"):
        layer_tilings(load_network("diannao_pool1"), "pool1", load_arch("diannao"))
