"""mnistlab: train a small image classifier from folders of images, from first principles.

From a notebook:

    from mnistlab import load_data, build_model, train_epochs, evaluate, BasicOptim, mnist_loss

docs/python.md shows how they go together.

Importing `mnistlab` is light; torch is imported when one of these names is first used.
"""

from importlib import import_module

__version__ = "1.0.0"

# Which name is from which module says `__init__.pyi`, a line each.
with open(f"{__file__}i", encoding="utf-8") as _stub:
    _IMPORTS = [line.split() for line in _stub if line.startswith("from mnistlab")]
_PUBLIC = {name: module for _, module, _, name, *_ in _IMPORTS}

__all__ = sorted(["__version__", *_PUBLIC])


def __getattr__(name):
    if name not in _PUBLIC:
        raise AttributeError(f"module 'mnistlab' has no attribute {name!r}")
    if name == "models":
        return import_module("mnistlab.models")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__():
    return __all__
