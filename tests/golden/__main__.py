"""Make expected.json again: `python -m tests.golden`, two minutes; needs MNIST's own files.

Only in a commit of its own, whose message and changelog say which figure changes and why. The
run folders in `runs/` were made by commit 4a638a5 and are never made again.
"""

import os
import tempfile
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # as the tests do


def main() -> None:
    """Play every case and write what it gave."""
    from tests.golden.cases import GROUPS, MNIST, SLOW
    from tests.golden.play import EXPECTED, HERE, dump, help_of, machine, play

    originals = os.environ.get("MNISTLAB_MNIST") or HERE.parents[2] / "shared/data/mnist"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        os.environ["MNISTLAB_CACHE"] = str(folder / "cache")
        groups = {**GROUPS, "mnist": MNIST, "slow": SLOW}
        played = {
            group: {name: play(lines, folder / group / name, Path(originals))
                    for name, lines in cases.items()}
            for group, cases in groups.items()
        }  # fmt: skip
    document = {"machine": machine(), "help": help_of(), "groups": played}
    EXPECTED.write_text(dump(document) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
