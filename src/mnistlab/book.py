"""The figures of the chapter, as two sources print them: the study notes and the book.

They differ only where something is drawn at random. notes: four sets of Chinese study notes, whose
figures are those of the notebook run with seed 42 (`notebook_models`), but for the linear model
from scratch. book: fastai/fastbook `04_mnist_basics.ipynb` at commit be67ff5, of which
the printed book is made; its random draws are not known. All on the 2038 validation images. What
their own loop prints are means of batch means (7 batches of 256, one of 246), four digits; tables
count every image once.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from mnistlab.models import LinearModel, TwoLayerModel

Table = Mapping[int, tuple[Sequence[float] | None, Sequence[float]]]
"""Epoch → its row in the notes, None where they leave it out, and its row in the book."""

# Shares of the 3s and of the 7s that are right, and the mean of the two.
PIXEL_SIMILARITY = {"l1": (0.9168, 0.9854, 0.9511), "rmse": (0.9584, 0.9737, 0.9661)}

# The training accuracy of a random linear model, in both; and the gradient of the bias for a batch
# of four images after 1, 2 and 3 backward passes: notes, book.
RANDOM_TRAINING_ACCURACY = 0.4912068545818329
BIAS_GRADIENT = ((-0.0017, -0.0034, -0.0051), (-0.0008, -0.0015, -0.0023))

# What follows: (notes, book). Before any training, then after each epoch.

# Linear from scratch (weights and bias standard normal, rate 1): one epoch, then twenty more.
SCRATCH_UNTRAINED = (0.465, 0.5219)
SCRATCH = (
    (
        0.7092, 0.7895, 0.8930, 0.9331, 0.9467, 0.9565, 0.9589, 0.9604, 0.9663, 0.9687, 0.9702,
        0.9697, 0.9716, 0.9721, 0.9726, 0.9736, 0.9741, 0.9746, 0.9746, 0.9746, 0.9751,
    ),
    (
        0.6883, 0.8314, 0.9017, 0.9227, 0.9349, 0.9438, 0.9501, 0.9535, 0.9564, 0.9594, 0.9618,
        0.9613, 0.9638, 0.9643, 0.9652, 0.9662, 0.9677, 0.9687, 0.9691, 0.9691, 0.9696,
    ),
)  # fmt: skip

# nn.Linear with BasicOptim, rate 1.
BASIC_OPTIM_UNTRAINED = (0.4608, 0.4157)
BASIC_OPTIM = (
    (
        0.4932, 0.7686, 0.8555, 0.9136, 0.9346, 0.9482, 0.9570, 0.9634, 0.9658, 0.9678,
        0.9697, 0.9717, 0.9736, 0.9746, 0.9761, 0.9770, 0.9775, 0.9775, 0.9780, 0.9785,
    ),
    (
        0.4932, 0.8618, 0.8203, 0.9102, 0.9331, 0.9468, 0.9555, 0.9629, 0.9658, 0.9673,
        0.9687, 0.9707, 0.9726, 0.9751, 0.9761, 0.9761, 0.9775, 0.9780, 0.9785, 0.9785,
    ),
)  # fmt: skip

# The library's SGD in its place.
LIBRARY_SGD = (
    (
        0.4932, 0.8179, 0.8496, 0.9141, 0.9346, 0.9482, 0.9570, 0.9619, 0.9658, 0.9673,
        0.9692, 0.9712, 0.9741, 0.9751, 0.9761, 0.9775, 0.9775, 0.9780, 0.9785, 0.9790,
    ),
    (
        0.4932, 0.8520, 0.8335, 0.9116, 0.9326, 0.9473, 0.9555, 0.9624, 0.9648, 0.9668,
        0.9692, 0.9712, 0.9731, 0.9746, 0.9761, 0.9765, 0.9775, 0.9780, 0.9785, 0.9785,
    ),
)  # fmt: skip

# nn.Linear: epoch → smoothed train_loss, valid_loss, accuracy.
LINEAR_TABLE: Table = {
    0: ((0.636709, 0.503144, 0.495584), (0.636857, 0.503549, 0.495584)),
    1: ((0.429828, 0.248517, 0.777233), (0.545725, 0.170281, 0.866045)),
    2: ((0.161680, 0.155361, 0.861629), (0.199223, 0.184893, 0.831207)),
    3: ((0.072948, 0.097722, 0.917566), (0.086580, 0.107836, 0.911187)),
    4: ((0.040128, 0.073205, 0.936212), (0.045185, 0.078481, 0.932777)),
    5: ((0.027210, 0.059466, 0.950442), (0.029108, 0.062792, 0.946516)),
    6: ((0.021837, 0.050799, 0.957802), (0.022560, 0.053017, 0.955348)),
    7: ((0.019398, 0.044980, 0.964181), (0.019687, 0.046500, 0.962218)),
    8: ((0.018122, 0.040853, 0.966143), (0.018252, 0.041929, 0.965162)),
    9: ((0.017330, 0.037788, 0.968106), (0.017402, 0.038573, 0.967615)),
}  # fmt: skip

# Two layers (784 → 30 → ReLU → 1), rate 0.1; the notes leave epoch 21 out.
TWO_LAYER_TABLE: Table = {
    0: ((0.333021, 0.396112, 0.512267), (0.305828, 0.399663, 0.508341)),
    1: ((0.152461, 0.235238, 0.797350), (0.142960, 0.225702, 0.807655)),
    2: ((0.083573, 0.117471, 0.911678), (0.079516, 0.113519, 0.919529)),
    3: ((0.054309, 0.078720, 0.940628), (0.052391, 0.076792, 0.943081)),
    4: ((0.040829, 0.061228, 0.956330), (0.039796, 0.060083, 0.956330)),
    5: ((0.034006, 0.051490, 0.963690), (0.033368, 0.050713, 0.963690)),
    6: ((0.030123, 0.045381, 0.966634), (0.029680, 0.044797, 0.965653)),
    7: ((0.027619, 0.041218, 0.968106), (0.027290, 0.040729, 0.968106)),
    8: ((0.025825, 0.038200, 0.969087), (0.025568, 0.037771, 0.968597)),
    9: ((0.024441, 0.035901, 0.969578), (0.024233, 0.035508, 0.970559)),
    10: ((0.023321, 0.034082, 0.971541), (0.023149, 0.033714, 0.972031)),
    11: ((0.022387, 0.032598, 0.972031), (0.022242, 0.032243, 0.972522)),
    12: ((0.021592, 0.031353, 0.974485), (0.021468, 0.031006, 0.973503)),
    13: ((0.020904, 0.030284, 0.975466), (0.020796, 0.029944, 0.974485)),
    14: ((0.020300, 0.029352, 0.975466), (0.020207, 0.029016, 0.975466)),
    15: ((0.019766, 0.028526, 0.975466), (0.019683, 0.028196, 0.976448)),
    16: ((0.019288, 0.027788, 0.976448), (0.019215, 0.027463, 0.976448)),
    17: ((0.018857, 0.027124, 0.977429), (0.018791, 0.026806, 0.976938)),
    18: ((0.018465, 0.026523, 0.978410), (0.018405, 0.026212, 0.977920)),
    19: ((0.018107, 0.025977, 0.978901), (0.018051, 0.025671, 0.977920)),
    20: ((0.017777, 0.025479, 0.978901), (0.017725, 0.025179, 0.977920)),
    21: (None, (0.017422, 0.024728, 0.978410)),
    22: ((0.017191, 0.024601, 0.980373), (0.017141, 0.024313, 0.978901)),
    23: ((0.016927, 0.024213, 0.980373), (0.016878, 0.023932, 0.979392)),
    24: ((0.016680, 0.023855, 0.981354), (0.016632, 0.023580, 0.979882)),
    25: ((0.016449, 0.023521, 0.981354), (0.016400, 0.023254, 0.979882)),
    26: ((0.016230, 0.023211, 0.981354), (0.016181, 0.022952, 0.979882)),
    27: ((0.016023, 0.022922, 0.981354), (0.015975, 0.022672, 0.980864)),
    28: ((0.015827, 0.022653, 0.981845), (0.015779, 0.022411, 0.980864)),
    29: ((0.015641, 0.022401, 0.981845), (0.015593, 0.022168, 0.981845)),
    30: ((0.015463, 0.022165, 0.981845), (0.015417, 0.021941, 0.981845)),
    31: ((0.015294, 0.021944, 0.983317), (0.015249, 0.021728, 0.981845)),
    32: ((0.015132, 0.021736, 0.982826), (0.015088, 0.021529, 0.981845)),
    33: ((0.014977, 0.021541, 0.982826), (0.014935, 0.021341, 0.981845)),
    34: ((0.014828, 0.021357, 0.982336), (0.014788, 0.021164, 0.981845)),
    35: ((0.014686, 0.021184, 0.982336), (0.014647, 0.020998, 0.982336)),
    36: ((0.014549, 0.021019, 0.982336), (0.014512, 0.020840, 0.982826)),
    37: ((0.014417, 0.020864, 0.982336), (0.014382, 0.020691, 0.982826)),
    38: ((0.014290, 0.020716, 0.982336), (0.014257, 0.020550, 0.982826)),
    39: ((0.014168, 0.020576, 0.982336), (0.014136, 0.020415, 0.982826)),
}  # fmt: skip

# 18-layer residual net, one-cycle, one epoch.
RESNET = {
    "train_loss": (0.065800, 0.082089),
    "valid_loss": (0.017196, 0.009578),
    "accuracy": (0.994112, 0.997056),
}


def notebook_models() -> dict[str, list[nn.Module]]:
    """The models that the notes' notebook draws, by the title of their curve.

    fastbook sets seed 42 when it is imported. What the notebook takes from torch's generator from
    there on is followed in its order: also each pass over a DataLoader takes one number.
    """
    models: dict[str, list[nn.Module]] = {}

    def passes(count: int) -> None:
        for _ in range(count):
            torch.empty((), dtype=torch.int64).random_()

    def draw(title: str, make: Callable[..., nn.Module], *settings: str) -> None:
        models.setdefault(title, []).append(make((28, 28), 2, *settings))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(42)
        torch.randn(20)  # the points of the roller coaster, and its three parameters
        torch.randn(3)
        draw("random model", LinearModel, "normal")
        passes(2)
        LinearModel((28, 28), 2, "normal")  # from scratch: the notes have another one
        passes(1 + 1 + 2 * 21)  # the first batch, the score before, 21 epochs and their scores
        draw("nn.Linear, BasicOptim", LinearModel)
        passes(1 + 2 * 20)
        draw("nn.Linear, the library's SGD", LinearModel)
        passes(2 * 20)
        draw("nn.Linear, BasicOptim", LinearModel)  # that of the table
        passes(2 * 10)
        for shape in ((784, 30), (30,), (30, 1), (1,)):
            torch.randn(shape)  # two layers by hand, which it never trains
        draw("two layers", TwoLayerModel)
    return models
