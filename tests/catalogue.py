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
METHODS = [("**.py", "python"), ("**.j2", "jinja2.ext.babel_extract"), ("**.js", "javascript")]
# The functions whose first argument is a text for people, beside gettext's own names.
TAKES_TEXT = ("Say", "Ask", "Show", "check", "check_true", "beside", "less")
KEYWORDS = {"_": None, "N_": None, **dict.fromkeys(TAKES_TEXT, (1,))}


def source_texts() -> Iterator[tuple[str, str]]:
    """Where each text of the source stands, and the text."""
    found = extract_from_dir(SOURCE, METHODS, keywords=KEYWORDS)
    for name, line, message, _comments, _context in found:
        assert isinstance(message, str), message
        # in a lesson it does not matter where the lines of a text break
        yield f"{name}:{line}", " ".join(message.split()) if "lessons" in name else message
    yield from sources_of_checks()


def sources_of_checks() -> Iterator[tuple[str, str]]:
    """Where the expected figures of lessons come from, as far as these are words."""
    for file in sorted(SOURCE.glob("lessons/*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            given = node.value if isinstance(node, ast.keyword) and node.arg == "source" else None
            if isinstance(given, ast.Constant) and re.search("[a-z]{3}", str(given.value)):
                yield f"lessons/{file.name}:{given.lineno}", str(given.value)


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


def written(catalogue: Catalog) -> tuple[bytes, bytes]:
    """The bytes of the `.po` and the `.mo` file."""
    po, mo = io.BytesIO(), io.BytesIO()
    write_po(po, catalogue, sort_output=False, include_lineno=False, omit_header=True, width=0)
    head = (
        'msgid ""\nmsgstr ""\n"Language: zh\\n"\n"Content-Type: text/plain; charset=utf-8\\n"\n\n'
    )
    content = head.encode() + po.getvalue().lstrip(b"\n")
    write_mo(mo, read_po(io.BytesIO(content), locale="zh"))
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
