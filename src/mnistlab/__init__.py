"""mnistlab: train a small image classifier from folders of images, from first principles.

From a notebook:

    from mnistlab import load_data, build_model, train_epochs, evaluate, BasicOptim, mnist_loss

docs/python.md shows how they go together.

Importing `mnistlab` is light; torch is imported when one of these names is first used.
"""

from importlib import import_module

__version__ = "0.1.0"

# Not typing's, as importing that takes longer than all else here: a Ctrl-C in the meantime would
# come before the command line can answer it without a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mnistlab import models
    from mnistlab.data.folders import load_folders
    from mnistlab.data.memory import load_tensors
    from mnistlab.data.named import load_data
    from mnistlab.errors import MnistlabError
    from mnistlab.experiment import train_run
    from mnistlab.losses import binary_cross_entropy, cross_entropy, mnist_loss
    from mnistlab.models import LinearModel, ModelCard, PixelSimilarity, TwoLayerModel, build_model
    from mnistlab.optim import BasicOptim
    from mnistlab.report.files import draw
    from mnistlab.report.pictures import Curves, Images
    from mnistlab.runs import find_run
    from mnistlab.scoring import open_model, predict_images, score_run
    from mnistlab.storage import load_model, save_model, weights_sha256
    from mnistlab.studies.compare import compare_runs
    from mnistlab.training import evaluate, train_epochs

_HOMES = {
    "BasicOptim": "optim",
    "Curves": "report.pictures",
    "Images": "report.pictures",
    "LinearModel": "models",
    "MnistlabError": "errors",
    "ModelCard": "models",
    "PixelSimilarity": "models",
    "TwoLayerModel": "models",
    "binary_cross_entropy": "losses",
    "build_model": "models",
    "compare_runs": "studies.compare",
    "cross_entropy": "losses",
    "draw": "report.files",
    "evaluate": "training",
    "find_run": "runs",
    "load_data": "data.named",
    "load_folders": "data.folders",
    "load_model": "storage",
    "load_tensors": "data.memory",
    "mnist_loss": "losses",
    "models": "",
    "open_model": "scoring",
    "predict_images": "scoring",
    "save_model": "storage",
    "score_run": "scoring",
    "train_epochs": "training",
    "train_run": "experiment",
    "weights_sha256": "storage",
}

__all__ = [
    "BasicOptim",
    "Curves",
    "Images",
    "LinearModel",
    "MnistlabError",
    "ModelCard",
    "PixelSimilarity",
    "TwoLayerModel",
    "__version__",
    "binary_cross_entropy",
    "build_model",
    "compare_runs",
    "cross_entropy",
    "draw",
    "evaluate",
    "find_run",
    "load_data",
    "load_folders",
    "load_model",
    "load_tensors",
    "mnist_loss",
    "models",
    "open_model",
    "predict_images",
    "save_model",
    "score_run",
    "train_epochs",
    "train_run",
    "weights_sha256",
]


def __getattr__(name: str) -> "Any":
    if name not in _HOMES:
        raise AttributeError(f"module 'mnistlab' has no attribute {name!r}")
    if not _HOMES[name]:
        return import_module(f"mnistlab.{name}")
    return getattr(import_module(f"mnistlab.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
