"""The public names and where each is from: type checkers read it, and `__init__.py` does."""

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

__version__: str
__all__: list[str]

def __getattr__(name: str) -> Any: ...
def __dir__() -> list[str]: ...
