"""Do the pages still say what is there? (The pages themselves are built by Sphinx, outside the test run.)"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from accelsim.check import check_file
from accelsim.cli import _parser
from accelsim.engines.mapped import Unit
from accelsim.mapping.machine import Machine

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])
FENCE = re.compile(r"^(```+)([^\n]*)\n(.*?)^\1\s*$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
INCLUDED = re.compile(r"^```\{(?:literalinclude|figure)\} (\S+)$", re.MULTILINE)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """Contents of the fenced blocks of one language."""
    return [
        body for _, info, body in FENCE.findall(page.read_text(encoding="utf-8")) if info.strip() == language
    ]


def commands(page: Path) -> Iterator[list[str]]:
    """Every ``accelsim ...`` in the page's shell blocks, as arguments."""
    for body in blocks(page, "sh"):
        for line in body.replace("\\\n", " ").splitlines():
            for part in re.split(r"&&|;|\|", line.split(" #")[0]):
                words = shlex.split(part.partition(" > ")[0])
                words = words[1:] if words[:1] == ["do"] else words
                if words and Path(words[0]).name == "accelsim":
                    yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_parse(page: Path) -> None:
    for arguments in commands(page):
        if arguments != ["--version"]:
            assert _parser().parse_args(arguments).command == arguments[0]


@pytest.mark.parametrize("seam", [Machine, Unit])
def test_all_that_an_engine_must_offer_is_told(seam: type) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    asked = [name for name in vars(seam) if not name.startswith("_")]
    assert asked
    assert [name for name in asked if f"`{name}`" not in text] == []


def test_readme_shows_commands() -> None:
    shown = {arguments[0] for arguments in commands(ROOT / "README.md")}
    assert shown >= {"simulate", "roofline", "explain", "compare", "validate", "check", "list"}


def test_readme_has_the_two_commands_of_a_fresh_machine() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = blocks(ROOT / "README.md", "sh")[0]
    assert first.startswith(
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/accelsim simulate resnet50 "
    )
    assert len(first.splitlines()) == 1
    tests = "python3 -m venv .venv && .venv/bin/pip install '.[test]' && .venv/bin/pytest\n"
    assert text.count("<!-- ci:test -->") == 1
    assert f"\n<!-- ci:test -->\n```sh\n{tests}```\n" in text


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    prose = FENCE.sub("", text)
    targets = [target.partition("#")[0] for target in LINK.findall(prose) if "://" not in target]
    for target in [*filter(None, targets), *INCLUDED.findall(text)]:
        assert (page.parent / target).exists(), f"{name_of(page)} names {target}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_pages_name_no_machine(page: Path) -> None:
    text = page.read_text(encoding="utf-8").lower()
    for word in ("pypi", "/tmp/", "/home/", "/root/", "/work/", "../shared"):
        assert word not in text


def test_python_of_the_readme_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import matplotlib

    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = blocks(ROOT / "README.md", "python")
    assert found
    for body in found:
        exec(compile(body, "README.md", "exec"), {})
    pyplot.close("all")


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = set()
    for index in (DOCS / "index.md", DOCS / "decisions" / "index.md", DOCS / "reference" / "index.md"):
        for _, info, body in FENCE.findall(index.read_text(encoding="utf-8")):
            if info == "{toctree}":
                entries = [line for line in body.splitlines() if line and not line.startswith(":")]
                listed |= {(index.parent / f"{entry}.md").resolve() for entry in entries}
    assert listed | {DOCS / "index.md"} == set(DOCS.rglob("*.md"))


def test_decisions_are_numbered_without_gaps() -> None:
    pages = sorted(path for path in (DOCS / "decisions").glob("*.md") if path.stem != "index")
    for number, page in enumerate(pages, start=1):
        assert page.name.startswith(f"{number:04d}-")
        text = page.read_text(encoding="utf-8")
        assert text.startswith(f"# {number}. ")
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequences"))


@pytest.mark.parametrize("path", sorted((DOCS / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_examples_are_in_order(path: Path) -> None:
    faults = check_file(path)
    assert bool(faults) == path.name.startswith("broken"), faults
