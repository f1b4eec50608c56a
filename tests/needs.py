"""Marks for tests that need what not every system has: `@needs.symlinks`."""

import os
import sys
import tarfile
import tempfile
from pathlib import Path

import pytest

from mnistlab.data.datasets import DATASETS
from tests.systems import INSTALLED

WINDOWS = os.name == "nt" or INSTALLED == "windows"
MACOS = sys.platform == "darwin" or INSTALLED == "macos"
LINUX = sys.platform == "linux" and not INSTALLED


with tempfile.TemporaryDirectory() as folder:
    try:
        os.symlink("nowhere", Path(folder) / "link")
        SYMLINKS = True
    except OSError:  # Windows asks for a privilege
        SYMLINKS = False


symlinks = pytest.mark.skipif(not SYMLINKS, reason="no symbolic links for this user")
pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name here")
ctimes = pytest.mark.skipif(WINDOWS, reason="ctime is the time of creation here")
permissions = pytest.mark.skipif(WINDOWS, reason="chmod does not protect a folder here")
any_name = pytest.mark.skipif(
    WINDOWS or sys.platform == "darwin", reason="a file cannot have such a name here"
)
accents = pytest.mark.skipif(MACOS, reason="an accent can be a character of its own here")
folders = pytest.mark.skipif(WINDOWS, reason="a folder cannot be opened here")
signals = pytest.mark.skipif(os.name == "nt", reason="no other process can be sent a signal here")
posix = pytest.mark.skipif(WINDOWS, reason="the shell of this system quotes in another way")
shell = pytest.mark.skipif(os.name == "nt", reason="no Unix shell here")
devices = pytest.mark.skipif(WINDOWS, reason="no files that are devices here")
deleting = pytest.mark.skipif(WINDOWS, reason="what is open cannot be deleted or renamed here")
real_linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux's own folders and locales")
processes = pytest.mark.skipif(
    bool(INSTALLED), reason="a system that is only pretended does not reach another process"
)
mnist = pytest.mark.skipif(
    not DATASETS["mnist"].bundled, reason="no data/digits/mnist.npz, nor the package of it"
)
tar = pytest.mark.skipif(
    not hasattr(tarfile, "data_filter"), reason="Python before 3.11.4 cannot unpack a tar safely"
)
linux = pytest.mark.skipif(not LINUX, reason="done as Linux does it")


def can_be_a_name(text: str) -> bool:
    """Whether a folder of that name is listed under it here."""
    if MACOS and not text.isascii():  # an accent may come back as a character of its own
        return False
    return text.strip() != "" and not (WINDOWS and text.endswith(" "))
