"""A real run on the bundled data, trained once for all tests of this folder."""

import os
from pathlib import Path
from unittest import mock

import pytest

from mnistlab.data.store import ImageData
from mnistlab.report.page import Report, open_report, render
from mnistlab.runs import Run
from tests.command import run_in_process


@pytest.fixture(scope="session")
def digits(
    tmp_path_factory: pytest.TempPathFactory, shared_cache: Path, sample: ImageData
) -> Report:
    """The linear model, four epochs, on MNIST_SAMPLE, scored."""
    folder = tmp_path_factory.mktemp("digits")
    with mock.patch.dict(os.environ, {"MNISTLAB_CACHE": str(shared_cache)}):
        run_in_process("train", "--epochs", "4", "--run-dir", folder, "-q").ok()
        [path] = folder.iterdir()
        return open_report(Run(path))


@pytest.fixture(scope="session")
def digits_page(digits: Report) -> str:
    """The page of that run."""
    return render(digits)
