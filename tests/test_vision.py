"""torchvision can be imported beside any build of torch, and nothing is declared without need."""

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

from mnistlab import vision
from mnistlab.errors import RunError


def told_by(program: str) -> Any:
    """The JSON that a process of its own prints: what is imported there is imported anew."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_datasets_and_models_are_there_also_where_the_operators_do_not_load() -> None:
    told = told_by("""
        import json, sys
        import torch
        from mnistlab.vision import torchvision
        late = "torchvision" not in sys.modules
        package = torchvision()
        out = package.models.resnet18(num_classes=3).eval()(torch.zeros(2, 3, 32, 32))
        print(json.dumps([late, package is torchvision(), list(out.shape),
                          package.datasets.MNIST.resources[0][0]]))
    """)
    assert told == [True, True, [2, 3], "train-images-idx3-ubyte.gz"]


# A torchvision that looks its operators up as the real one does, with and without a compiled part.
FAKE = """
    import json, pathlib, sys
    import torch
    folder = pathlib.Path("fake/torchvision")
    folder.mkdir(parents=True)
    load = {compiled}
    folder.joinpath("__init__.py").write_text(
        ("import torch\\nlibrary = torch.library.Library('torchvision', 'DEF')\\n"
         "library.define('nms(Tensor dets) -> Tensor')\\n"
         "library.define('qnms(Tensor dets) -> Tensor')\\n" if load else "")
        + "import torch\\n"
        "assert torch._C._dispatch_has_kernel_for_dispatch_key('torchvision::nms', 'Meta') in (0, 1)\\n"
        "assert torch._C._dispatch_has_kernel_for_dispatch_key('torchvision::qnms', 'Meta') in (0, 1)\\n"
    )
    sys.path.insert(0, "fake")
    declared = []
    define = torch.library.define
    torch.library.define = lambda name, schema: declared.append(name) or define(name, schema)
    from mnistlab.vision import torchvision
    assert torchvision().__file__.startswith(str(pathlib.Path("fake").resolve()))
    torchvision()
    print(json.dumps(declared))
"""  # noqa: E501


@pytest.mark.parametrize(
    ("compiled", "declared"), [(True, []), (False, ["torchvision::nms", "torchvision::qnms"])]
)
def test_operators_are_declared_only_where_they_are_missing(
    compiled: bool, declared: list[str]
) -> None:
    assert told_by(FAKE.format(compiled=compiled)) == declared


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
    monkeypatch.setattr(vision, "import_module", importing)
    with pytest.raises(RunError, match="install the version that belongs to torch") as told:
        vision.torchvision()
    assert str(told.value).isprintable()


def test_training_the_chapters_models_imports_neither_torchvision_nor_the_compiler(
    tiny: Path,
) -> None:
    program = """
import sys
from unittest import mock
from mnistlab.__main__ import main
folder = sys.argv[1]
for model in ("linear", "two-layer"):
    command = ["-", "train", "--data", folder, "--model", model]
    with mock.patch.object(sys, "argv", command):
        try:
            main()
        except SystemExit as leaving:
            assert not leaving.code
print(sorted({"torchvision", "torch._dynamo", "torch._inductor", "sympy"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tiny)], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
