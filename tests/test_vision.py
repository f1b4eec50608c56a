"""torchvision can be imported beside any build of torch, and nothing is declared without need."""

import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch

from mnistlab import devices
from mnistlab.data import download
from mnistlab.devices import torchvision
from mnistlab.errors import RunError
from tests.conftest import CHECKOUT
from tests.originals import publish


def test_its_datasets_and_models_are_there() -> None:
    package = torchvision()
    assert package is torchvision()
    assert package.datasets.MNIST.resources[0][0] == "train-images-idx3-ubyte.gz"
    out = package.models.resnet18(num_classes=3).eval()(torch.zeros(2, 3, 32, 32))
    assert list(out.shape) == [2, 3]


@pytest.mark.parametrize("compiled", [True, False])
def test_operators_are_declared_only_where_they_are_missing(
    compiled: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a torchvision that looks its operators up as the real one does; of names of its own, as what
    # is declared stays in this process
    names = [f"{name}_{'compiled' if compiled else 'missing'}" for name in ("one", "two")]
    lines = ["import torch"]
    if compiled:
        lines += ["library = torch.library.Library('torchvision', 'FRAGMENT')"]
        lines += [f"library.define('{name}(Tensor dets) -> Tensor')" for name in names]
    looked_up = "torch._C._dispatch_has_kernel_for_dispatch_key('torchvision::{}', 'Meta')"
    lines += [looked_up.format(name) for name in names]
    (tmp_path / "torchvision.py").write_text("\n".join(lines))
    declared = mock.Mock(wraps=torch.library.define)
    monkeypatch.setattr(torch.library, "define", declared)
    monkeypatch.setattr(devices, "_LOOKED_UP", names)
    monkeypatch.syspath_prepend(tmp_path)
    with mock.patch.dict(sys.modules):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        assert torchvision().__file__ == str(tmp_path / "torchvision.py")
        torchvision()
    assert [call.args[0] for call in declared.call_args_list] == (
        [] if compiled else [f"torchvision::{name}" for name in names]
    )


@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'torchvision'"),
        RuntimeError("compiled with\x1b other versions"),
        RuntimeError("operator torchvision::roi does not exist"),
        OSError("libc10.so: cannot open"),
    ],
)
def test_whatever_keeps_it_from_being_imported_is_told(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def importing(name: str) -> None:
        raise error

    monkeypatch.setattr(torch.library, "define", lambda *_: None)
    monkeypatch.setattr(devices, "import_module", importing)
    with pytest.raises(RunError, match="install the version that belongs to torch") as told:
        devices.torchvision()
    assert str(told.value).isprintable()


def test_linear_models_and_opening_a_cnn_import_neither_torchvision_nor_compiler_nor_scipy(
    tiny: Path, tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usps = publish(monkeypatch, "usps", tmp_path / "from")
    download.obtain(usps.dataset, str(usps.folder))
    program = """
import sys
from tests.command import run_in_process
for model, data in (("linear", "usps"), ("two-layer", sys.argv[1])):
    run_in_process("train", "--model", model, "--data", data, "--epochs", "2").ok()
from mnistlab.models import ModelCard
ModelCard("cnn", ("a", "b"), (28, 28), {"cosines": True}, "bce").state_shapes()
heavy = {"torchvision", "torch._dynamo", "torch._inductor", "sympy", "scipy"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(CHECKOUT / "src"), str(CHECKOUT)))},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
