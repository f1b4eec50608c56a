"""Images as tensors, and pixel similarity. fastbook ch. 4, "Pixels" and "First Try"."""

from collections.abc import Iterator
from typing import Any

import torch

from mnistlab.exercises.kit import Exercise, images_of
from mnistlab.language import N_


def try_mean_image(mean_image: Any) -> Iterator[tuple[str, Any]]:
    two = torch.tensor([[[0.0, 0.5]], [[1.0, 0.5]]])
    yield N_("the mean of two images of 1 x 2 pixels"), mean_image(two)
    yield N_("the mean 3 of all training images"), mean_image(images_of("3"))


mean_image = Exercise(
    task=N_("""\
Write a function that takes many images and gives their mean image: each pixel is the mean of
that pixel over all images.
images: floats from 0 to 1, shape (n, 28, 28). The result has the shape (28, 28).
"""),
    code="""\
from torch import Tensor


def mean_image(images: Tensor) -> Tensor:
    ...
""",
    right={"mean_image": lambda images: images.mean(0)},
    scenario=try_mean_image,
    mistakes={
        N_("This is the mean of all pixels, one number: name the axis of the images, 0."): (
            lambda images: images.mean()
        ),
        N_("You take the mean over the last axis, the columns; the images lie along axis 0."): (
            lambda images: images.mean(-1)
        ),
        N_("This is the sum of the images: divide it by their number."): (
            lambda images: images.sum(0)
        ),
        N_("You divide by 255, but these images are floats from 0 to 1 already."): (
            lambda images: images.mean(0) / 255
        ),
    },
    hints=N_("""\
A tensor has a method `mean`.
Without an argument it takes the mean of all numbers; with one, along that axis.
The images lie along the first axis, which has the number 0.
"""),
)


def try_mnist_distance(mnist_distance: Any) -> Iterator[tuple[str, Any]]:
    black, grey = torch.zeros(28, 28), torch.full((28, 28), 0.25)
    yield N_("black and a quarter grey"), mnist_distance(black, grey)
    threes, mean7 = images_of("3"), images_of("7").mean(0)
    yield N_("the second 3 and the mean 7"), mnist_distance(threes[1], mean7)
    yield N_("five 3s and their mean: five distances"), mnist_distance(threes[:5], threes.mean(0))


mnist_distance = Exercise(
    task=N_("""\
Write the distance of two images: the mean of the absolute differences of their pixels (L1).
a: one image (28, 28), or many (n, 28, 28); b: one image (28, 28). Floats from 0 to 1.
The result is one number, or n of them, shape (n,): broadcasting does the rest.
"""),
    code="""\
from torch import Tensor


def mnist_distance(a: Tensor, b: Tensor) -> Tensor:
    ...
""",
    right={"mnist_distance": lambda a, b: (a - b).abs().mean((-1, -2))},
    scenario=try_mnist_distance,
    mistakes={
        N_("Without `abs`, too bright and too dark pixels cancel each other."): (
            lambda a, b: (a - b).mean((-1, -2))
        ),
        N_("This is the mean over everything: each image needs its own, over axes -1 and -2."): (
            lambda a, b: (a - b).abs().mean()
        ),
        N_("These are squares, the L2 distance without its root; L1 takes `abs`."): (
            lambda a, b: (a - b).square().mean((-1, -2))
        ),
        N_("This is the RMSE, the L2 distance; asked is L1, which takes `abs`."): (
            lambda a, b: (a - b).square().mean((-1, -2)).sqrt()
        ),
        N_("This is the sum of the differences; the distance is their mean."): (
            lambda a, b: (a - b).abs().sum((-1, -2))
        ),
    },
    hints=N_("""\
Subtract, drop the sign, take the mean.
`mean` takes several axes at once, as a tuple.
The last two axes are -1 and -2, however many images there are.
"""),
)

EXERCISES = {"mean_image": mean_image, "mnist_distance": mnist_distance}
