"""The language in which lessons, exercises, the drawing page and the report speak. No torch.

A text stands in English where it is used, inside `_(...)`, and is looked up in the catalogue of the
chosen language (`locale/`, made by gettext). Errors and `--json` are always English.
"""

import gettext
import os
import re
import textwrap
import unicodedata
from collections.abc import Callable
from pathlib import Path

from mnistlab.names import printable

LANGUAGES = ("en", "zh")
FOLDER = Path(__file__).with_name("locale")
# Where a system says its language, in the order in which they count (POSIX).
_VARIABLES = ("LC_ALL", "LC_MESSAGES", "LANG")

_catalogue = gettext.NullTranslations()


def use_language(lang: str | None, notice: Callable[[str], None] = lambda text: None) -> None:
    """Speak `lang` from now on; None: what the system says, English where it says nothing.

    `notice` is told of a `lang` that there is not, in whose place English is spoken.
    """
    global _catalogue
    if lang is None:
        system = next(filter(None, map(os.environ.get, _VARIABLES)), "")
        lang = "zh" if system.startswith("zh") else "en"
    if lang not in LANGUAGES:
        known = ", ".join(LANGUAGES)
        notice(f"--lang {printable(lang)}: not a language of mnistlab ({known}); in English then")
        lang = "en"
    _catalogue = gettext.translation("mnistlab", FOLDER, [lang], fallback=True)


def language() -> str:
    """The language that is spoken: `en` or `zh`."""
    return _catalogue.info().get("language", "en")


def _(text: str) -> str:
    """`text`, a constant, in the chosen language."""
    # gettext answers "" with the head of the catalogue
    return _catalogue.gettext(text) if text else ""


def N_(text: str) -> str:  # noqa: N802 - the name that gettext's tools look for
    """Marks a text for the catalogue which is looked up later, by `_`, where it is shown."""
    return text


# What a line cannot end inside of: a word, or one wide character, with the marks that belong to it.
_PIECE = re.compile(r" *[（“]*(?:[\u2e80-\uffef]|[^ “\u2e80-\uffef]+)[，。：；？！、）”]*")


def folded(text: str, width: int, indent: str = "") -> list[str]:
    """`text` in lines of at most `width` columns, `indent` before all but the first.

    A Chinese character takes two columns, and a line may end before it.
    """
    if _columns(text) == len(text):
        return textwrap.wrap(text, width, subsequent_indent=indent)
    lines = [""]
    for piece in _PIECE.findall(text):
        if lines[-1].strip() and _columns(lines[-1] + piece) > width:
            lines.append(indent + piece.lstrip())
        else:
            lines[-1] += piece
    return lines


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)
