"""Keys of a recipe from outside: the right pass, a pass that was not there, and every fault by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accelsim.api import simulate
from accelsim.cli import main
from accelsim.compression.compress import compress
from accelsim.compression.override import recipe_document, recipe_value
from accelsim.errors import InputError

RECIPE = """\
schema: accelsim.recipe/1
passes:
  - {kind: prune, density: 0.5}
  - {kind: quantize, weights: {bits: 8}}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def passes(source: Path | None, **keys: Any) -> list[dict[str, Any]]:
    overrides = {f"compression.{key.replace('__', '.')}": value for key, value in keys.items()}
    found: list[dict[str, Any]] = recipe_document(source, overrides).data["passes"]
    return found


def test_a_key_reaches_the_pass_of_its_kind(recipe: Path) -> None:
    assert passes(recipe, prune__density=0.2)[0] == {"kind": "prune", "density": 0.2}
    assert passes(recipe, quantize__weights__bits=4)[1] == {"kind": "quantize", "weights": {"bits": 4}}
    assert passes(recipe, passes__0__density=0.3)[0]["density"] == 0.3


def test_a_pass_that_is_not_there_is_put_in_its_usual_place(recipe: Path) -> None:
    kinds = [part["kind"] for part in passes(recipe, encode__index_bits=4, cluster__bits=4, prune_channels__density=0.5)]
    assert kinds == ["prune_channels", "prune", "cluster", "quantize", "encode"]


def test_without_a_recipe_keys_make_one() -> None:
    assert passes(None, prune__density=0.2) == [{"kind": "prune", "density": 0.2}, {"kind": "quantize"}]


def test_values_that_are_not_set_are_the_recipes(recipe: Path) -> None:
    document = recipe_document(recipe, {"compression.cluster.bits": 4})
    assert recipe_value(document, "compression.prune.density") == 0.5
    assert recipe_value(document, "compression.cluster.bits") == 4
    assert recipe_value(document, "compression.passes.0.density") == 0.5
    with pytest.raises(KeyError):
        recipe_value(document, "compression.prune.tolerance")


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("compression.prun.density", 'did you mean "prune"?'),
        ("compression.prune", "say which key of it: compression.prune.KEY=VALUE"),
        ("compression.prune.densty", 'unknown key (did you mean "density"?)'),
        ("compression.passes.7.density", "there is no such item"),
        ("compression.prune.density.more", "is 0.5 and has no keys"),
    ],
)
def test_faults_of_keys_are_named(key: str, message: str, recipe: Path) -> None:
    with pytest.raises(InputError) as caught:
        compress("digits", recipe, overrides={key: 0.5})
    assert message in str(caught.value)


def test_of_several_passes_the_place_must_be_said(recipe: Path) -> None:
    recipe.write_text(RECIPE.replace("  - {kind: q", "  - {kind: prune, threshold: 0.1}\n  - {kind: q"), encoding="utf-8")
    with pytest.raises(InputError, match=r"2 passes of kind prune; say which: compression\.passes\.0 or compression\.passes\.1"):
        passes(recipe, prune__density=0.2)


def test_simulating_with_a_recipe_is_compressing_and_then_simulating(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--arch", "eie", "--out", str(tmp_path / "at_once")]
    assert main(["simulate", "digits", *flags, "--recipe", str(recipe), "--set", "compression.prune.density=0.2"]) == 0
    recipe.write_text(RECIPE.replace("0.5", "0.2"), encoding="utf-8")
    assert main(["compress", "digits", "--recipe", str(recipe), "-o", str(tmp_path / "small.yaml")]) == 0
    assert main(["simulate", str(tmp_path / "small.yaml"), "--arch", "eie", "--out", str(tmp_path / "apart")]) == 0
    capsys.readouterr()
    columns = [(tmp_path / name / "layers.csv").read_text() for name in ("at_once", "apart")]
    assert columns[0] == columns[1]


def test_where_nothing_is_compressed_the_keys_are_refused() -> None:
    with pytest.raises(InputError, match=r"compression\.prune\.density: is of a recipe, and nothing is compressed here"):
        simulate("digits", "eie", overrides={"compression.prune.density": 0.2})
