"""The roofline of tilings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from accelsim.analysis.tilings import layer_tilings
from accelsim.api import load_arch, load_network
from accelsim.cli import main
from accelsim.errors import InfeasibleError
from accelsim.report.tilings_figure import draw_tilings, tilings_csv


def test_points_lie_under_the_roofs_and_the_chosen_one_is_near_the_best() -> None:
    tilings = layer_tilings(load_network("diannao_conv3"), "conv3", load_arch("diannao"))
    assert len(tilings.tiles) > 1000
    assert tilings.attainable_gops.max() <= tilings.peak_gops * (1 + 1e-9)
    assert tilings.bytes_per_second is not None
    assert (
        tilings.attainable_gops <= tilings.ops_per_byte * tilings.bytes_per_second / 1e9 * (1 + 1e-9)
    ).all()
    assert tilings.gap < 0.01
    lines = tilings_csv(tilings).splitlines()
    assert len(lines) == len(tilings.tiles) + 1
    assert sum(line.endswith(",True") for line in lines) == 1


@pytest.mark.slow
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


def test_command_writes_the_figure_and_its_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure, data = tmp_path / "t.png", tmp_path / "t.csv"
    words = ["tilings", "diannao_class3", "--arch", "diannao", "--layer", "class3", "-o", str(figure), "--data", str(data)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "class3 on diannao: " in shown
    assert f"written: {figure}, {data}" in shown
    assert figure.stat().st_size > 10_000
    assert sum(line.endswith(",True") for line in data.read_text().splitlines()) == 1
    assert main([*words[:4], "--layer", "clas3", *words[6:]]) == 2
    assert "--layer: clas3" in capsys.readouterr().err
    assert main([*words[:7], str(tmp_path / "t.docx")]) == 2
