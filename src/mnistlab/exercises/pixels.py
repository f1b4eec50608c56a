"""Images as tensors, and pixel similarity. fastbook ch. 4, "Pixels" and "First Try"."""

from typing import Any

import torch
from torch import Tensor

from mnistlab.exercises.kit import Exercise, Tries, images_of
from mnistlab.language import N_


def try_mean_image(mean_image: Any) -> Tries:
    two = torch.tensor([[[0.0, 0.5]], [[1.0, 0.5]]])
    yield N_("the mean of two images of 1 x 2 pixels"), mean_image(two)
    yield N_("the mean 3 of 500 images"), mean_image(images_of("3")[:500])


mean_image = Exercise(
    task=N_("""Write a function that takes many images and gives their mean image: each pixel is
the mean of that pixel over all images.
images: floats from 0 to 1, shape (n, 28, 28). The result has the shape (28, 28)."""),
    code="def mean_image(images: Tensor) -> Tensor: ...",
    right={"mean_image": lambda images: images.mean(0)},
    scenario=try_mean_image,
    mistakes={
        N_("This is the mean of all pixels: name the axis, 0."): lambda images: images.mean(),
        N_("The images lie along axis 0, not -1."): lambda images: images.mean(-1),
        N_("Divide the sum by the number of images."): lambda images: images.sum(0),
    },
    hints=N_("""A tensor has a method `mean`.
Without an argument it takes the mean of all numbers; with one, along that axis.
The images lie along the first axis, which has the number 0."""),
)


def distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean((-1, -2))


def try_mnist_distance(mnist_distance: Any) -> Tries:
    black, grey = torch.zeros(28, 28), torch.full((28, 28), 0.25)
    yield N_("black and a quarter grey"), mnist_distance(black, grey)
    threes, mean7 = images_of("3")[:5].clone(), images_of("7").mean(0)
    yield N_("the second 3 and the mean 7"), mnist_distance(threes[1], mean7)
    mean3 = images_of("3").mean(0)
    yield N_("five 3s and their mean: five distances"), mnist_distance(threes, mean3)


mnist_distance = Exercise(
    task=N_("""Write the distance of two images: the mean of the absolute differences of their
pixels (L1). a: one image (28, 28), or many (n, 28, 28); b: one image (28, 28). Floats from 0 to 1.
The result is one number, or n of them, shape (n,): broadcasting does the rest."""),
    code="def mnist_distance(a: Tensor, b: Tensor) -> Tensor: ...",
    right={"mnist_distance": distance},
    scenario=try_mnist_distance,
    mistakes={
        N_("Without `abs`, bright and dark cancel out."): lambda a, b: (a - b).mean((-1, -2)),
        N_("This is the RMSE, L2."): lambda a, b: (a - b).square().mean((-1, -2)).sqrt(),
        N_("`a -= b` changes the images that you are given: use `a - b`."): (
            lambda a, b: a.sub_(b).abs().mean((-1, -2))
        ),
    },
    hints=N_("""Subtract, drop the sign, take the mean.
`mean` takes several axes at once, as a tuple.
The last two axes are -1 and -2, however many images there are."""),
)


def nearer(images: Tensor, this: Tensor, other: Tensor) -> Tensor:
    return distance(images, this) < distance(images, other)


def try_is_3(is_3: Any) -> Tries:
    white = torch.ones(28, 28)
    greys = torch.stack([0.1 * white, 0.9 * white, 0.6 * white])
    yield (
        N_("dark, light and grey; the mean 3 white, the mean 7 black"),
        is_3(greys, white, 0 * white),
    )
    threes, sevens = images_of("3"), images_of("7")
    means = threes.mean(0), sevens.mean(0)
    yield N_("the first 3"), is_3(threes[0], *means)
    yield N_("500 images of a 7"), is_3(sevens[:500], *means)


is_3 = Exercise(
    task=N_("""Write the first classifier: an image is a 3 if it is nearer to the mean 3 than to
the mean 7, by `mnist_distance`.
images: one image (28, 28), or many (n, 28, 28). The result is one bool, or n of them: (n,)."""),
    code="""\
def mnist_distance(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean((-1, -2))


def is_3(images: Tensor, mean3: Tensor, mean7: Tensor) -> Tensor: ...
""",
    right={"is_3": nearer},
    scenario=try_is_3,
    mistakes={
        N_("You ask which is nearer to the 7."): lambda x, a, b: nearer(x, b, a),
        N_("Asked is yes or no: compare, by `<`."): lambda x, a, b: distance(x, b) - distance(x, a),
        N_("This is one answer for all: take the means over axes -1 and -2."): (
            lambda x, a, b: (x - a).abs().mean() < (x - b).abs().mean()
        ),
    },
    hints=N_("""Two distances for each image, to each mean, and a comparison.
`mnist_distance` takes many images at once, so that no loop is needed.
A comparison of two tensors of the shape (n,) gives n bools."""),
)


def try_accuracy(accuracy: Any) -> Tries:
    answers, targets = torch.tensor([1, 0, 1, 1, 1]) == 1, torch.tensor([1, 1, 0, 1, 0])
    yield N_("two of five answers are right"), accuracy(answers, targets)
    threes, sevens = images_of("3"), images_of("7")
    answers = nearer(torch.cat([threes[:300], sevens[300:1000]]), threes.mean(0), sevens.mean(0))
    targets = (torch.arange(1000) < 300).long()
    yield N_("300 images of a 3 and 700 of a 7, told by the means"), accuracy(answers, targets)


accuracy = Exercise(
    task=N_("""Write the share of right answers, from 0 to 1.
answers: what a classifier says, a bool for each image, True for a 3. Shape (n,).
targets: what each image is, 1 for a 3 and 0 for a 7. Shape (n,). The result is one number."""),
    code="def accuracy(answers: Tensor, targets: Tensor) -> Tensor: ...",
    right={"accuracy": lambda answers, targets: (answers == targets).float().mean()},
    scenario=try_accuracy,
    mistakes={
        N_("Divide by the number of images."): lambda says, true: (says == true).sum(),
        N_("This is the share of wrong answers."): lambda a, b: (a != b).float().mean(),
        N_("A 7 called a 7 is right, too."): lambda says, true: says[true == 1].float().mean(),
    },
    hints=N_("""Where is an answer equal to its target?
`==` compares two tensors number by number; True counts as 1.
The share is a mean; the mean of bools needs `float()` first."""),
)
