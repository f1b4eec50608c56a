"""The catalogue of Chinese texts: `make catalogue` brings it up to the source.

New texts come into `locale/zh/LC_MESSAGES/mnistlab.po` without a translation, texts that are gone
leave it, and the compiled `.mo` beside it, which gettext reads, is written anew.
"""

import ast
import io
import re
from collections.abc import Iterator
from pathlib import Path

from babel.messages import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

SOURCE = Path(__file__).parents[1] / "src" / "mnistlab"
PO = SOURCE / "locale" / "zh" / "LC_MESSAGES" / "mnistlab.po"
MO = PO.with_suffix(".mo")
PAGES = [("**.j2", "jinja2.ext.babel_extract"), ("**.js", "javascript")]
# What takes a text for people as its first argument: everywhere, and in lessons.
MARKS = ("_", "N_")
TAKES_TEXT = ("Say", "Ask", "Show", "check", "check_true", "beside", "less")


def source_texts() -> Iterator[tuple[str, str]]:
    """Where each text of the source stands, and the text."""
    for file in sorted(SOURCE.rglob("*.py")):
        where, in_lessons = file.relative_to(SOURCE).as_posix(), file.parent.name == "lessons"
        for node, text in first_arguments(file):
            # in a lesson it does not matter where the lines of a text break
            yield f"{where}:{node.lineno}", " ".join(text.split()) if in_lessons else text
    for name, line, found, _comments, _context in extract_from_dir(
        SOURCE, PAGES, keywords={"_": None}
    ):
        assert isinstance(found, str), found
        yield f"{name}:{line}", found


def first_arguments(file: Path) -> Iterator[tuple[ast.Call, str]]:
    """The calls in `file` that take a text for people, and the text, if it is a constant.

    In lessons also the sources of expected figures, as far as these are words.
    """
    names = (*MARKS, *TAKES_TEXT) if file.parent.name == "lessons" else MARKS
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    calls = [n for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)]
    for node in sorted(calls, key=lambda call: (call.lineno, call.col_offset)):
        assert isinstance(node.func, ast.Name)
        if node.func.id in names and node.args and (text := constant(node.args[0])):
            yield node, text
        for given in node.keywords if file.parent.name == "lessons" else ():
            text = constant(given.value)
            if given.arg == "source" and re.search("[a-z]{3}", text):
                yield node, text


def constant(node: ast.expr) -> str:
    """The text that stands there; empty where it is none."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def read_catalogue() -> Catalog:
    with PO.open("rb") as file:
        return read_po(file, locale="zh")


def updated(catalogue: Catalog) -> Catalog:
    """A catalogue of the texts of the source, with the translations that there are."""
    new = Catalog("zh", project="mnistlab", fuzzy=False)
    for where, text in source_texts():
        old = catalogue.get(text)
        new.add(text, old.string if old else "", locations=[(where.partition(":")[0], 0)])
    return new


class Undated(Catalog):
    """A catalogue without a date and the version of Babel: the same texts are the same bytes."""

    mime_headers = [  # type: ignore[override]  # noqa: RUF012
        ("Language", "zh"),
        ("Content-Type", "text/plain; charset=utf-8"),
    ]


def written(catalogue: Catalog) -> tuple[bytes, bytes]:
    """The bytes of the `.po` and the `.mo` file."""
    po, mo, undated = io.BytesIO(), io.BytesIO(), Undated("zh")
    for message in catalogue:
        if message.id:
            undated.add(message.id, message.string)
    write_mo(mo, undated)
    write_po(po, catalogue, sort_output=False, include_lineno=False, omit_header=True, width=0)
    head = "".join(f'"{name}: {value}\\n"\n' for name, value in undated.mime_headers)
    content = f'msgid ""\nmsgstr ""\n{head}\n'.encode() + po.getvalue().lstrip(b"\n")
    return content, mo.getvalue()


def main() -> None:
    PO.parent.mkdir(parents=True, exist_ok=True)
    new = updated(read_catalogue() if PO.exists() else Catalog("zh"))
    for path, content in zip((PO, MO), written(new), strict=True):
        path.write_bytes(content)
    open_texts = sum(not message.string for message in new if message.id)
    print(f"{len(new)} texts, {open_texts} without a translation")


if __name__ == "__main__":
    main()
