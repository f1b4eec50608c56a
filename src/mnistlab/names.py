"""Names as people write and read them: order, nearest match, safe display."""

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

_UNSAFE = {"Cc", "Cs", "Zl", "Zp"}  # controls, lone surrogates (bytes not UTF-8), line breaks
_LISTED = 6  # of what is counted


def natural_key(name: str) -> tuple[tuple[int, int, str, str], ...]:
    """Sort key that puts `2` before `10` and `img9` before `img10`."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    # A number is its length and its digits, as int() refuses more than a few thousand of them.
    return tuple(
        (0, len(value := digits.lstrip("0")), value, digits) if digits else (1, 0, text, "")
        for digits, text in parts
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean linear?` for a near miss, the list of known names otherwise."""
    options = list(known)
    for close in difflib.get_close_matches(name, options, n=1):
        return f"; did you mean {close}?"
    return f"; known: {', '.join(options)}"


def is_clean(name: str) -> bool:
    """Whether a file or class name is UTF-8 and free of control characters and line breaks."""
    # isprintable is one C call and settles nearly every name; it also refuses odd spaces,
    # which are harmless, so those are looked at one by one.
    return name.isprintable() or not any(unicodedata.category(c) in _UNSAFE for c in name)


def printable(text: object) -> str:
    """`text` with everything that could move a cursor or break an encoding escaped."""
    return "".join(
        c if c.isprintable() or c == " " else c.encode("unicode_escape").decode() for c in str(text)
    )


def listed(counts: Counter[str], pattern: str) -> str:
    """The most common of `counts`, and how many more there are."""
    texts = [pattern.format(*item) for item in counts.most_common(_LISTED)]
    more = len(counts) - len(texts)
    return ", ".join(texts) + (f", and {more} more" if more else "")
