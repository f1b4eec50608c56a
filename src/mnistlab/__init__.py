"""mnistlab: train a small image classifier from folders of images, from first principles.

From a notebook:

    from mnistlab import load_data, build_model, train_epochs, evaluate, BasicOptim, mnist_loss

Importing `mnistlab` is light; torch is imported when one of these names is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from mnistlab import models
    from mnistlab.checkpoint import load_model, save_model, weights_sha256
    from mnistlab.data.folders import load_folders
    from mnistlab.data.named import load_data
    from mnistlab.errors import MnistlabError
    from mnistlab.losses import binary_cross_entropy, cross_entropy, mnist_loss
    from mnistlab.models import LinearModel, PixelSimilarity, TwoLayerModel, build_model
    from mnistlab.optim import BasicOptim
    from mnistlab.training import evaluate, train_epochs

_HOMES = {
    "BasicOptim": "optim",
    "LinearModel": "models",
    "MnistlabError": "errors",
    "PixelSimilarity": "models",
    "TwoLayerModel": "models",
    "binary_cross_entropy": "losses",
    "build_model": "models",
    "cross_entropy": "losses",
    "evaluate": "training",
    "load_data": "data.named",
    "load_folders": "data.folders",
    "load_model": "checkpoint",
    "mnist_loss": "losses",
    "models": "",
    "save_model": "checkpoint",
    "train_epochs": "training",
    "weights_sha256": "checkpoint",
}

__all__ = [
    "BasicOptim",
    "LinearModel",
    "MnistlabError",
    "PixelSimilarity",
    "TwoLayerModel",
    "__version__",
    "binary_cross_entropy",
    "build_model",
    "cross_entropy",
    "evaluate",
    "load_data",
    "load_folders",
    "load_model",
    "mnist_loss",
    "models",
    "save_model",
    "train_epochs",
    "weights_sha256",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'mnistlab' has no attribute {name!r}")
    if not _HOMES[name]:
        return import_module(f"mnistlab.{name}")
    return getattr(import_module(f"mnistlab.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
