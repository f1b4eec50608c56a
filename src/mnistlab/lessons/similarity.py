"""The baseline without any learning: which of two average digits is nearer?

One learns two ways to measure the distance between images, and how broadcasting measures
thousands of distances in one expression without a loop and without copying.
fastbook ch. 4, "First Try: Pixel Similarity" and "Computing Metrics Using Broadcasting".
"""

import torch
from torch.nn.functional import l1_loss, mse_loss

from mnistlab.data.named import load_data
from mnistlab.lessons.kit import Lesson, Say, Show, check, check_true
from mnistlab.losses import predictions
from mnistlab.models import PixelSimilarity
from mnistlab.report.pictures import Images


def l1(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference over the last two axes: rows and columns."""
    return (a - b).abs().mean((-1, -2))


def rmse(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Root of the mean squared difference over the last two axes."""
    return (a - b).square().mean((-1, -2)).sqrt()


def lesson() -> Lesson:
    """One digit against two averages, then the whole validation set."""
    data = load_data()
    images, labels = data.train_ds.tensors
    three, seven = (data.classes.index(name) for name in ("3", "7"))
    mean3 = (images[labels == three].float() / 255).mean(0)
    mean7 = (images[labels == seven].float() / 255).mean(0)
    second = images[data.train.files.index("3/10000.png")].float() / 255

    yield from _one_digit(second, mean3, mean7)
    valid = data.valid_ds.tensors[0].float() / 255
    yield from _broadcasting(valid, mean3)

    is_three = l1(valid, mean3) < l1(valid, mean7)  # every image against both averages, at once
    valid_labels = data.valid_ds.tensors[1]
    yield from _accuracy(is_three[valid_labels == three], is_three[valid_labels == seven])

    yield Say("The project keeps this baseline as a model like any other; it answers the same.")
    model = PixelSimilarity(data.image_size, len(data.classes)).fit(images, labels)
    theirs_too = predictions(model(valid.unsqueeze(1))) == three
    yield check_true("PixelSimilarity agrees on each image", torch.equal(theirs_too, is_three))


def _one_digit(second: torch.Tensor, mean3: torch.Tensor, mean7: torch.Tensor) -> Lesson:
    yield Say(
        "How far is the second 3 from the average 3 and from the average 7? Adding up plain "
        "differences would let too bright and too dark cancel. So either drop the signs and "
        "take the mean (L1), or square, take the mean, and undo the square by a root (RMSE)."
    )
    yield Images(
        "What is compared",
        {"a 3": second, "mean 3": mean3, "|a 3 - mean 3|": (second - mean3).abs()},
    )
    plain = (second - mean7).mean()
    yield Show("plain mean difference to the mean 7", plain)
    yield check_true("it is less than half the L1", bool(plain.abs() < l1(second, mean7) / 2))
    yield check("L1 to the mean 3", l1(second, mean3), 0.1114, within=0.00005)
    yield check("L1 to the mean 7", l1(second, mean7), 0.1586, within=0.00005)
    yield Show("RMSE to the mean 3", rmse(second, mean3))
    yield check("RMSE to the mean 7", rmse(second, mean7), 0.3021, within=0.00005)
    nearer = bool(l1(second, mean3) < l1(second, mean7))
    yield check_true("it is nearer to the mean 3, by L1", nearer)
    yield check_true("and by RMSE", bool(rmse(second, mean3) < rmse(second, mean7)))

    yield Say("The library has both; its mean squared error still wants its root.")
    ours = [l1(second, mean7), rmse(second, mean7)]
    theirs = [l1_loss(second, mean7), mse_loss(second, mean7).sqrt()]
    yield check(
        "ours beside l1_loss and mse_loss(...).sqrt()", ours, theirs, within=1e-6, source="torch"
    )
    yield Say(
        "Squares punish a few large differences more than many small ones, so RMSE is never the "
        "smaller of the two."
    )
    larger = all(bool(rmse(second, mean) >= l1(second, mean)) for mean in (mean3, mean7))
    yield check_true("RMSE >= L1 for both averages", larger)


def _broadcasting(valid: torch.Tensor, mean3: torch.Tensor) -> Lesson:
    yield Say(
        "The same function takes all validation images at once. Their shape has one axis more "
        "than the average; broadcasting treats the average as if it were repeated along it, "
        "and the mean over the last two axes leaves one distance per image."
    )
    yield Show("shape of the images", tuple(valid.shape))
    yield Show("shape of the average", tuple(mean3.shape))
    distances = l1(valid, mean3)
    yield Show("l1(valid, mean3)", distances)
    yield check("one distance per image", distances.shape, (2038,), source="the images")
    one_by_one = torch.stack([l1(image, mean3) for image in valid])
    yield check("a loop over the images gives", distances, one_by_one, within=1e-6, source="a loop")
    repeated = mean3.expand(2038, 28, 28)
    yield check(
        "steps in memory from image to image, row to row, column to column: the repeated average "
        "stays where it is, so nothing is copied",
        repeated.stride(),
        (0, 28, 1),
        source="a step of 0",
    )


def _accuracy(threes_called_three: torch.Tensor, sevens_called_three: torch.Tensor) -> Lesson:
    on_threes = threes_called_three.float().mean()
    on_sevens = 1 - sevens_called_three.float().mean()
    yield Say("An image is called a 3 if it is nearer to the mean 3. How often is that right?")
    yield check("accuracy on the 3s", on_threes, 0.9168, within=0.00005)
    yield check("accuracy on the 7s", on_sevens, 0.9854, within=0.00005)
    yield check("mean of the two", (on_threes + on_sevens) / 2, 0.9511, within=0.00005)
    right = int(threes_called_three.sum() + (~sevens_called_three).sum())
    yield check("all images together: right, of 2038", right, 1939, source="counted here")
