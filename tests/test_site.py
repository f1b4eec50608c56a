"""`make docs`: every page is on the site, the reference is the code's own, every link leads on."""

import importlib
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

import mnistlab
from mnistlab.cli.app import app
from mnistlab.config import SETTINGS, flag_of
from tests.pages import ROOT

INDEXES = {"en": "docs/index.md", "zh": "docs/zh/index.md"}


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "docs/site")
    return importlib.import_module("pages")


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "docs/site")
    return importlib.import_module("reference")


def commands_of(command: Any, words: str) -> dict[str, Any]:
    """Each command by its words."""
    below = getattr(command, "commands", {})
    found = {} if below else {words: command}
    for name, one in below.items():
        found |= commands_of(one, f"{words} {name}")
    return found


def test_every_page_is_in_the_index_of_its_language(pages: ModuleType) -> None:
    for language, folder in {"en": "docs", "zh": "docs/zh"}.items():
        listed = {page for _, part in pages.sections(language) for _, page in part}
        there = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).glob("*.md")}
        assert there - {INDEXES[language]} - listed == set()
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"} <= {*pages.collect()}


def test_no_two_pages_have_the_same_address(pages: ModuleType) -> None:
    found = pages.collect()
    assert len({pages.address(page, "en") for page in found}) == len(found)
    assert pages.address("docs/data.md", "en") == "data.html"
    assert pages.address("docs/data.md", "zh") == "../data.html"
    assert pages.address("docs/zh/book.md", "en") == "zh/book.html"
    assert pages.address("README.zh-CN.md", "zh") == "readme.html"


def test_links_are_made_for_the_site_but_not_in_code(pages: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    index = pages.for_the_site("docs/zh/index.md", tmp_path)
    assert "](../data.html){.external}" in index
    assert "](book.md)" in index
    assert "[English]" not in index  # every page has that switch at its top
    assert "{toctree}" in index
    book = pages.for_the_site("docs/zh/book.md", tmp_path)
    assert re.search(r"[\u3400-\u9fff，。]\n[\u3400-\u9fff]", book) is None
    calibration = pages.for_the_site("docs/calibration.md", tmp_path)
    assert "](files/calibration.svg)" in calibration
    assert (tmp_path / "files/calibration.svg").is_file()
    source = pages.for_the_site("src/mnistlab/training.py", tmp_path)
    assert (ROOT / "src/mnistlab/training.py").read_text(encoding="utf-8") in source


def test_the_reference_has_every_command_and_flag_with_its_help(reference: ModuleType) -> None:
    text = reference.commands()
    parts = dict(re.findall(r"^### (.*?)\n(.*?)(?=^### |\Z)", text, re.MULTILINE | re.DOTALL))
    commands = commands_of(typer.main.get_command(app), "mnistlab")
    assert {*commands} == {*parts} - {"mnistlab"}
    assert "--version" in parts["mnistlab"]
    for words, command in commands.items():
        for param in command.params:
            for flag in (*param.opts[:1], *param.secondary_opts):
                name = flag if flag.startswith("-") else param.metavar or flag.upper()
                link = f"<mnistlab train {param.opts[0]}>`"
                assert name in parts[words] or link in parts[words], f"{words} {flag}"
    train = parts["mnistlab train"]
    for key in {*SETTINGS} - {"distance"}:
        assert re.search(rf"^````{{option}} {flag_of(key)}\b", train, re.MULTILINE), key
    lr = train.partition("{option} --lr X\n")[2].partition("````")[0]
    assert "Learning rate" in lr
    assert re.search(r"default: linear 1.0, .*; range: 0 \\< X \\<= 1e\+38", lr)
    assert "range: 0 \\<= X \\< 2^63" in train.partition("{option} --seed N\n")[2][:200]


def test_the_reference_has_every_public_name(reference: ModuleType) -> None:
    text = reference.public_names()
    names = {*re.findall(r":: mnistlab\.(\w+)$", text, re.MULTILINE)}
    assert names == {*mnistlab.__all__} - {"__version__", "models"}
    assert ".. autofunction:: mnistlab.load_data" in text
    assert ".. autoclass:: mnistlab.BasicOptim\n   :members:" in text
    assert ".. autoclass:: mnistlab.metrics.Evaluation\n" in text  # what `evaluate` returns


def test_a_link_that_leads_nowhere_is_found(pages: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="top">A</h1><a href="b.html#here">B</a><a href="#top">A</a>'
        '<a href="https://example.org/not-asked">C</a><img src="c.png">',
        encoding="utf-8",
    )
    (tmp_path / "b.html").write_text('<p id="here">B</p>', encoding="utf-8")
    (tmp_path / "c.png").touch()
    assert [*pages.faults(tmp_path)] == []
    (tmp_path / "b.html").write_text(
        '<a href="c.html">C</a><a href="a.html#else">A</a><script src="https://example.org/x.js">'
        '</script><link rel="stylesheet" href="//example.org/x.css">',
        encoding="utf-8",
    )
    (tmp_path / "d.css").write_text("p { background: url(https://e.org/x) }", encoding="utf-8")
    found = "\n".join(pages.faults(tmp_path))
    assert "a.html: b.html#here: there is no such place" in found
    assert "b.html: c.html: there is no such file" in found
    assert "b.html: a.html#else: there is no such place" in found
    assert "b.html: loads https://example.org/x.js" in found
    assert "b.html: loads //example.org/x.css" in found
    assert "d.css: loads from the network" in found


@pytest.mark.skipif(not find_spec("furo"), reason="no furo here: make docs installs and runs it")
def test_the_site_is_made_and_chinese_is_found_in_it(pages: ModuleType, tmp_path: Path) -> None:
    site = tmp_path / "site"
    assert pages.main(tmp_path / "sources", site) == 0
    assert (site / "index.html").is_file()
    assert '<html class="no-js" lang="zh-CN"' in (site / "zh/index.html").read_text("utf-8")
    browser = shutil.which("chromium")
    if not browser:
        pytest.skip("no chromium to search with")
    for page, wanted in {
        "zh/search.html?q=学习率": "book.html",
        "search.html?q=resume": "commands.html",
    }.items():
        address = f"{site.as_uri()}/{page}"
        words = ["--headless", "--no-sandbox", "--virtual-time-budget=9000", "--dump-dom", address]
        done = subprocess.run([browser, *words], capture_output=True, encoding="utf-8", check=True)
        results = done.stdout.partition('class="search"')[2].partition("</ul>")[0]
        assert f'href="{wanted}' in results
