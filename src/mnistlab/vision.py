"""The one door to torchvision: its datasets' addresses and checksums, its models.

It takes more than a second to import, so that is done only where it is used.
"""

import contextlib
from importlib import import_module
from types import ModuleType

import torch

from mnistlab.errors import RunError
from mnistlab.names import printable

# What torchvision's Python code looks up of its compiled part while it is imported.
_LOOKED_UP = ("nms", "qnms")
_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def torchvision() -> ModuleType:
    """The torchvision package, also where its compiled operators do not fit the installed torch.

    torchvision from the package index is compiled for CUDA and cannot load its operators beside a
    CPU build of torch; then it cannot be imported at all, although neither its datasets nor its
    classifiers need any. Only then the missing operators are declared; nothing can run them.
    Raises RunError where torchvision cannot be imported even so.
    """
    try:
        with contextlib.suppress(RuntimeError):
            return import_module("torchvision")
        for name in _LOOKED_UP:
            if not hasattr(torch.ops.torchvision, name):
                torch.library.define(f"torchvision::{name}", _SCHEMA)
        return import_module("torchvision")
    except (ImportError, OSError, RuntimeError) as error:
        raise RunError(
            f"torchvision cannot be imported ({printable(error)}); install the version that "
            f"belongs to torch {torch.__version__}"
        ) from error
