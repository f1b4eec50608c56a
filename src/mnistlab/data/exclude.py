"""Images that a list names are left out: the files stay, and so does what was decoded of them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mnistlab.data.scan import fault_in
from mnistlab.data.store import Split
from mnistlab.errors import DataError
from mnistlab.files import user_path
from mnistlab.names import printable

_HEADINGS = ("file", "name")


def _names_in(path: Path) -> list[str]:
    """The images that a list names: a column `file` of a CSV file, else its first, or plain lines.

    Raises DataError.
    """
    from mnistlab.data.tables import rows_of  # most runs leave nothing out

    with rows_of(path) as (_, rows):
        lines = [[cell.strip() for cell in row] for row in rows if any(map(str.strip, row))]
    heading = [cell.lower() for cell in lines[0]] if lines else []
    column = next((heading.index(name) for name in _HEADINGS if name in heading), None)
    if column is not None:
        lines = lines[1:]
    return [line[column or 0] for line in lines if len(line) > (column or 0)]


def leave_out(
    splits: Mapping[str, Split], listed: str, *, all_known: bool = True
) -> dict[str, Split]:
    """`splits` without the images, or the bad files, that the file `listed` names.

    Names are those of `Split.path_of`. all_known: every one of them must be in one of the splits.
    Raises DataError for a name that is not there, and where a class would have no image left.
    """
    path = user_path(listed)
    names = dict.fromkeys(_names_in(path))
    where = f"--exclude {printable(path)}"
    known = {name: 0 for split in splits.values() for name in (*split.paths(), *split.skipped)}
    faults = [f"{where}: {printable(name)}: no such image" for name in names if name not in known]
    if faults and all_known:
        example = next(iter(known), "")
        advice = f"{len(faults)} of {len(names)} names; they are written as {printable(example)}"
        raise DataError(where, faults, advice)
    left = {}
    for role, split in splits.items():
        rows = [row for row, name in enumerate(split.paths()) if name not in names]
        skipped = {file: why for file, why in split.skipped.items() if file not in names}
        kept = split if len(rows) == len(split.ds) else split.take(rows)
        left[role] = replace(kept, skipped=skipped)
        if gone := [name for name, n in left[role].counts.items() if n == 0 < split.counts[name]]:
            raise fault_in(path, f"--exclude leaves no image of the class {gone[0]} in {role}")
    return left
