"""Where things are: the files that travel with the package, and the user's cache."""

import os
from importlib import resources
from pathlib import Path

from mnistlab.errors import RunError


def packaged(folder: str) -> Path:
    """A folder shipped with mnistlab: `configs` or `data`.

    An installed wheel carries them inside the package; a checkout has them at its top.
    """
    inside = Path(str(resources.files("mnistlab"))) / f"_{folder}"
    if inside.is_dir():
        return inside
    checkout = Path(__file__).parents[2] / folder
    if checkout.is_dir():
        return checkout
    raise RunError(f"{inside}: missing; mnistlab is not installed completely, install it again")


def cache_folder() -> Path:
    """`$MNISTLAB_CACHE`, else `$XDG_CACHE_HOME/mnistlab`, else `~/.cache/mnistlab`.

    Not created here. Raises RunError where there is neither a variable nor a home.
    """
    if own := os.environ.get("MNISTLAB_CACHE"):
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):  # the XDG rules: a relative path there is to be ignored
        return Path(base) / "mnistlab"
    try:
        return Path.home() / ".cache" / "mnistlab"
    except RuntimeError as error:
        raise RunError("no home folder for the cache; set MNISTLAB_CACHE to a folder") from error
