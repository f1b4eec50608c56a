"""A real browser, and runs whose pages are opened in it."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mnistlab.play.page import make_page
from mnistlab.runs import Run
from tests.command import run_in_process

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
Opened = Callable[..., Any]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A Chromium driven by playwright; skips the test where one of them is absent, unless
    MNISTLAB_REQUIRE_BROWSER says that they must be there."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    why = "" if path else "no chromium on this machine (Debian: apt-get install chromium)"
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        why = "playwright is not installed: make optional"
    if why:
        (pytest.fail if os.environ.get("MNISTLAB_REQUIRE_BROWSER") else pytest.skip)(why)
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def runs(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """`runs("--model", "linear")` trains one with these flags, once for all tests."""
    made: dict[tuple[str, ...], Run] = {}

    def run(*flags: str) -> Run:
        if flags not in made:
            folder = tmp_path_factory.mktemp("play")
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("MNISTLAB_CACHE", str(shared_cache))
                own = ("--threads", "1", "--run-dir", str(folder), "-q")
                run_in_process("train", *flags, *own).ok()
            made[flags] = Run(next(folder.iterdir()))
        return made[flags]

    return run


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[Opened]:
    """`opened(run)` opens the page of a run. At the end: it has asked for nothing but itself, and
    there was no word on the console."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    heard: list[str] = []
    asked: list[str] = []

    def open_page(run: Run, change: Callable[[str], str] = str) -> Any:
        file = tmp_path / "play.html"
        file.write_text(change(make_page(run)[0]), encoding="utf-8", newline="\n")
        page = context.new_page()
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(file.as_uri())
        page.heard, page.asked = heard, asked
        return page

    yield open_page
    context.close()
    own = (tmp_path / "play.html").as_uri()
    assert [url for url in asked if not url.startswith(("data:", "blob:"))] in ([own], [])
    assert heard == []
