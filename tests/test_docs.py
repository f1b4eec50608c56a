"""The pages: each link, command, flag, file and make target that they name exists."""

import html
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from mnistlab.cli.app import app
from mnistlab.lessons import LESSONS
from mnistlab.models import build_model
from mnistlab.studies.ladder import CHAPTER
from tests import compat
from tests.newcomer import difference
from tests.pages import ROOT, Page

SOURCE = ROOT / "src" / "mnistlab"
NAMES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "data/README.md"]
PAGES = [name for name in NAMES if (ROOT / name).exists()]
PAGES += sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
# English page → the same in Chinese.
CHINESE = {"README.md": "README.zh-CN.md"}
CHINESE |= {f"docs/{p.name}": f"docs/zh/{p.name}" for p in sorted((ROOT / "docs/zh").glob("*.md"))}
PAGES += CHINESE.values()
FOLDERS = ("src", "tests", "docs", "data", "configs", "benchmarks")
# A command, up to what ends it on a line: a comment, another command, a redirection.
COMMAND = re.compile(r"(?:^|\s)mnistlab(?= |$)([^#;|>]*)")
COMMENT = re.compile(r"\s+# .*")


def headings(path: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them of its headings."""
    titles = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def linked(page: Page) -> set[str]:
    """The files that a page links to, as paths from the root."""
    links = re.findall(r"\]\(([^)#\s]+)", page.prose)
    files = [(page.path.parent / link).resolve() for link in links if "://" not in link]
    return {file.relative_to(ROOT).as_posix() for file in files}


def untranslated(page: Page) -> dict[str, set[Any]]:
    """What a page shares with its translation, other than the figures in its text."""
    code = "\n".join(block for _, block in page.blocks)
    return {
        "code": set(COMMENT.sub("", code).splitlines()),
        # comments are translated, but not the commands and flags in them
        "commands in comments": {
            name
            for comment in COMMENT.findall(code)
            for name in re.findall(r"mnistlab(?: [\w-]+)+|--[\w-]+", comment, re.ASCII)
        },
        "inline code": set(page.inline),
        "links": {CHINESE.get(link, link) for link in linked(page)},
    }


def figures(page: Page) -> set[str]:
    """The numbers in a page, as they are written; not those in the names of linked files."""
    text = re.sub(r"\]\(\S+?\)", "]", page.path.read_text(encoding="utf-8"))
    return set(re.findall(r"\d+(?:[.,]\d+)*", text))


def fault_of(line: str) -> str | None:
    """Why `mnistlab LINE` is not a command line, from the tree of commands; None if it is one."""
    command: Any = typer.main.get_command(app)
    args = shlex.split(line)
    while hasattr(command, "commands") and args and not args[0].startswith("-"):
        if args[0] not in command.commands:
            return f"{line.strip()}: no command {args[0]}"
        command = command.commands[args.pop(0)]
    context = typer.Context(command, help_option_names=["-h", "--help"])
    try:
        command.make_parser(context).parse_args(args)
    except Exception as error:  # typer has click's errors under a name of its own
        return f"{line.strip()}: {error}"
    return None


def flags_of(command: Any) -> set[str]:
    """All flags of a command and of those below it."""
    below = getattr(command, "commands", {}).values()
    own = [flag for param in command.params for flag in (*param.opts, *param.secondary_opts)]
    return {"--help", "-h", *own}.union(*map(flags_of, below))


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_to_a_file_and_a_heading(name: str) -> None:
    page = Page(name)
    for link in re.findall(r"\]\(([^)\s]+)\)", page.prose):
        if link.startswith(("http://", "https://")):
            continue
        file, _, anchor = link.partition("#")
        target = page.path.parent / file if file else page.path
        assert target.exists(), link
        assert not anchor or anchor in headings(target), link


@pytest.mark.parametrize("name", PAGES)
def test_every_command_and_flag_exists(name: str) -> None:
    page = Page(name)
    lines = [line for code in page.inline + page.console for line in COMMAND.findall(code)]
    assert [fault for fault in map(fault_of, lines) if fault] == []
    known = flags_of(typer.main.get_command(app)) | {"--install-completion", "--show-completion"}
    flags = [code.split()[0] for code in page.inline if code.startswith("-") and code != "-"]
    assert [flag for flag in flags if not set(re.split("[/=]", flag)) <= known] == []


@pytest.mark.parametrize("name", PAGES)
def test_every_file_of_the_project_exists(name: str) -> None:
    page = Page(name)
    files = [*ROOT.glob("*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
    known = {f"/{path.relative_to(ROOT).as_posix()}" for path in files}
    plain = [block for language, block in page.blocks if not language]  # a drawn tree of folders
    names = [
        *re.findall(r"(?<![\w/.-])[\w/]+\.py\b(?!\.)", " ".join(page.inline + plain)),
        *re.findall(r"(?<![\w/.-])(?:docs/)?\w+\.md\b", " ".join(page.inline)),
        *(code for code in page.inline if code.startswith(tuple(f"{top}/" for top in FOLDERS))),
    ]
    known |= {"/net.py", "/loss.py", "/opt.py"}  # files of the user's own
    missing = [n for n in names if not any(path.endswith(f"/{n.rstrip('/')}") for path in known)]
    assert sorted(set(missing)) == []


@pytest.mark.parametrize("name", PAGES)
def test_every_make_target_exists(name: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    page = Page(name)
    for code in page.inline + page.console:
        for target in re.findall(r"^make ([a-z-]+)", code):
            assert target in targets, code


def test_the_pages_for_learners_are_there_in_chinese() -> None:
    names = ("book", "exercises", "install", "predict", "python", "tour")
    assert set(CHINESE) >= {"README.md", *(f"docs/{name}.md" for name in names)}


@pytest.mark.parametrize("name", CHINESE)
def test_a_chinese_page_has_the_code_the_figures_and_the_links_of_the_english_one(
    name: str,
) -> None:
    page, chinese = Page(name), Page(CHINESE[name])
    expected, found = untranslated(page), untranslated(chinese)
    missing = {what: expected[what] - found[what] for what in expected}
    added = {what: found[what] - expected[what] for what in expected}
    assert {what: names for what, names in missing.items() if names} == {}
    assert {what: names for what, names in added.items() if names} == {}
    assert figures(page) - figures(chinese) == set()
    # each leads to the other, and a Chinese page to Chinese pages where there are any
    assert CHINESE[name] in linked(page)
    assert linked(chinese) & set(CHINESE) == {name}


def test_a_page_that_names_what_is_not_there_is_caught() -> None:
    assert "no command lessons" in str(fault_of(" lessons pixels"))
    assert "no command ls" in str(fault_of(" runs ls"))
    assert "--nothing" in str(fault_of(" train --nothing 3"))
    assert fault_of(" runs rm RUN --force") is None


def test_every_lesson_is_listed_and_every_lesson_and_model_is_on_the_book_page() -> None:
    files = {path.stem for path in SOURCE.glob("lessons/*.py")}
    assert files == {*(name.replace("-", "_") for name in LESSONS), "kit", "__init__"}
    text = (ROOT / "docs" / "book.md").read_text(encoding="utf-8")
    assert set(re.findall(r"mnistlab lesson ([a-z-]+)`", text)) == set(LESSONS)
    classes = {type(build_model(name, (28, 28), ("3", "7"))).__name__ for name in CHAPTER}
    assert {name for name in classes if name not in text} == set()


def test_the_readme_example_runs() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(example.replace("epochs=5", "epochs=1"), "README.md", "exec"), names)
    assert "evaluate" in names


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md"])
def test_the_readme_is_short_and_its_pictures_are_small_and_ask_nothing_of_a_network(
    name: str,
) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 110
    found = re.findall(r'(srcset|src)="([^"]+)-(light|dark)\.(\w+)"', text)
    both = [("srcset", "dark"), ("src", "light")]
    assert [(kind, theme) for kind, _, theme, _ in found] == both * 2
    for _, stem, theme, ending in found:
        file = ROOT / f"{stem}-{theme}.{ending}"
        assert file.stat().st_size <= 60_000
        if ending == "svg":
            assert re.findall(r"url\((?!#)|href|@import", file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_terminal_in_the_picture_shows_what_the_tour_shows(theme: str) -> None:
    drawn = (ROOT / "docs" / "pictures" / f"train-{theme}.svg").read_text(encoding="utf-8")
    texts = re.findall(r"<text [^>]*>([^<]+)</text>", drawn)
    lines = [html.unescape(text).replace("\xa0", " ") for text in texts if text.strip()]
    shown = next(block for language, block in Page("docs/tour.md").blocks if not language)
    assert difference(shown.splitlines(), lines) is None


def test_a_row_of_versions_replaces_that_of_the_same_session_and_system() -> None:
    head = "| session | system | passed |\n|---|---|---|"
    page = f"before\n{compat.BEGIN}\n{head}\n{compat.END}\nafter\n"
    rows = [["oldest", "Linux", "1"], ["newest", "Linux", "2"], ["oldest", "macOS", "3"]]
    for row in [*rows, ["oldest", "Linux", "4"]]:
        page = compat.with_row(page, row)
    assert page.splitlines()[2:] == [
        "| session | system | passed |",
        "|---|---|---|",
        "| newest | Linux | 2 |",
        "| oldest | Linux | 4 |",
        "| oldest | macOS | 3 |",
        compat.END,
        "after",
    ]
    assert compat.BEGIN in compat.PAGE.read_text(encoding="utf-8")
