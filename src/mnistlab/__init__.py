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

    from mnistlab import models as models
    from mnistlab.data.folders import load_folders as load_folders
    from mnistlab.data.memory import load_tensors as load_tensors
    from mnistlab.data.named import load_data as load_data
    from mnistlab.errors import MnistlabError as MnistlabError
    from mnistlab.experiment import train_run as train_run
    from mnistlab.losses import binary_cross_entropy as binary_cross_entropy
    from mnistlab.losses import cross_entropy as cross_entropy
    from mnistlab.losses import mnist_loss as mnist_loss
    from mnistlab.models import LinearModel as LinearModel
    from mnistlab.models import ModelCard as ModelCard
    from mnistlab.models import PixelSimilarity as PixelSimilarity
    from mnistlab.models import TwoLayerModel as TwoLayerModel
    from mnistlab.models import build_model as build_model
    from mnistlab.optim import BasicOptim as BasicOptim
    from mnistlab.own_code import trust_code as trust_code
    from mnistlab.report.files import draw as draw
    from mnistlab.report.pictures import Curves as Curves
    from mnistlab.report.pictures import Images as Images
    from mnistlab.runs import find_run as find_run
    from mnistlab.scoring import open_model as open_model
    from mnistlab.scoring import predict_images as predict_images
    from mnistlab.scoring import score_run as score_run
    from mnistlab.storage import load_model as load_model
    from mnistlab.storage import save_model as save_model
    from mnistlab.storage import weights_sha256 as weights_sha256
    from mnistlab.studies.compare import compare_runs as compare_runs
    from mnistlab.training import evaluate as evaluate
    from mnistlab.training import train_epochs as train_epochs

_PUBLIC = {
    "data.folders": ("load_folders",),
    "data.memory": ("load_tensors",),
    "data.named": ("load_data",),
    "errors": ("MnistlabError",),
    "experiment": ("train_run",),
    "losses": ("binary_cross_entropy", "cross_entropy", "mnist_loss"),
    "models": ("LinearModel", "ModelCard", "PixelSimilarity", "TwoLayerModel", "build_model"),
    "optim": ("BasicOptim",),
    "own_code": ("trust_code",),
    "report.files": ("draw",),
    "report.pictures": ("Curves", "Images"),
    "runs": ("find_run",),
    "scoring": ("open_model", "predict_images", "score_run"),
    "storage": ("load_model", "save_model", "weights_sha256"),
    "studies.compare": ("compare_runs",),
    "training": ("evaluate", "train_epochs"),
}

__all__ = sorted(["__version__", "models", *(n for names in _PUBLIC.values() for n in names)])


def __getattr__(name: str) -> "Any":
    if name == "models":
        return import_module("mnistlab.models")
    for module, names in _PUBLIC.items():
        if name in names:
            return getattr(import_module(f"mnistlab.{module}"), name)
    raise AttributeError(f"module 'mnistlab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
