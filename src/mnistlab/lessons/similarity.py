"""The baseline without any learning: which of two average digits is nearer?

fastbook ch. 4, "First Try: Pixel Similarity" and "Computing Metrics Using Broadcasting".
"""

import torch
from torch.nn.functional import l1_loss, mse_loss

from mnistlab import Images, PixelSimilarity, load_data
from mnistlab.language import N_, _
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check, check_true, images_of
from mnistlab.losses import predictions


def l1(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference over the last two axes: rows and columns."""
    return (a - b).abs().mean((-1, -2))


def rmse(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Root of the mean squared difference over the last two axes."""
    return (a - b).square().mean((-1, -2)).sqrt()


def lesson(digits: str = "two") -> Lesson:
    """Of 3s and 7s; with digits `all` also how well it does with all ten."""
    data, ten = load_data(), images_of(digits)
    images, labels = data.train_ds.tensors
    three, seven = (data.classes.index(name) for name in ("3", "7"))
    mean3, mean7 = ((images[labels == label] / 255).mean(0) for label in (three, seven))  # (28, 28)
    second = images[data.train.files.index("3/10000.png")].float() / 255

    yield Say("""Setup: the average 3 and the average 7 of the training images; nothing is trained.
        How far is the second 3 from each of them? Adding up plain differences would let too bright
        and too dark cancel. So either drop the signs and take the mean (L1), or square, take the
        mean, and undo the square by a root (RMSE).""")
    compared = {_("a 3"): second, _("mean 3"): mean3, _("|a 3 - mean 3|"): (second - mean3).abs()}
    yield Images(_("What is compared"), compared, limits=(0, 1))
    yield Ask("Which of the two distances is the larger one, and is it so for every image?")
    difference = (second - mean7).mean()
    yield Show("plain mean difference to the mean 7", difference)
    yield check_true("it is less than half the L1", bool(difference.abs() < l1(second, mean7) / 2))
    yield check("L1 to the mean 3", l1(second, mean3), 0.1114, within=0.00005)
    yield check("L1 to the mean 7", l1(second, mean7), 0.1586, within=0.00005)
    yield Show("RMSE to the mean 3", rmse(second, mean3))
    yield check("RMSE to the mean 7", rmse(second, mean7), 0.3021, within=0.00005)
    nearer = l1(second, mean3) < l1(second, mean7)
    yield check_true("it is nearer to the mean 3, by L1", bool(nearer))
    yield check_true("and by RMSE", bool(rmse(second, mean3) < rmse(second, mean7)))

    yield Say("The library has both; its mean squared error still wants its root.")
    ours = [l1(second, mean7), rmse(second, mean7)]
    theirs = [l1_loss(second, mean7), mse_loss(second, mean7).sqrt()]
    title = N_("ours beside l1_loss and mse_loss(...).sqrt()")
    yield check(title, ours, theirs, within=1e-6, source="torch")
    yield Say("""Squares punish a few large differences more than a lot of small ones, so RMSE is
        never the smaller of the two.""")
    larger = all(bool(rmse(second, mean) >= l1(second, mean)) for mean in (mean3, mean7))
    yield check_true("RMSE >= L1 for both averages", larger)

    yield Say("""The same function takes all validation images at once. Their shape has one axis
        more than the average; broadcasting treats the average as if it were repeated along it, and
        the mean over the last two axes leaves one distance per image.""")
    valid, valid_labels = data.valid_ds.tensors
    valid = valid.float() / 255
    yield Show("shape of the images", valid.shape)
    yield Show("shape of the average", mean3.shape)
    distances = l1(valid, mean3)
    yield Show("l1(valid, mean3)", distances)
    yield check("one distance per image", distances.shape, (2038,), source="the images")
    one_by_one = torch.stack([l1(image, mean3) for image in valid])
    yield check("a loop over the images gives", distances, one_by_one, within=1e-6, source="a loop")
    title = N_(
        "steps in memory from image to image, row to row, column to column: the repeated average "
        "stays where it is, so nothing is copied"
    )
    yield check(title, mean3.expand(2038, 28, 28).stride(), (0, 28, 1), source="a step of 0")

    yield Say("An image is called a 3 if it is nearer to the mean 3.")
    yield Ask("How often is that right, though nothing was learned?")
    is_three = l1(valid, mean3) < l1(valid, mean7)  # every image against both averages, at once
    on_threes = is_three[valid_labels == three].float().mean()
    on_sevens = 1 - is_three[valid_labels == seven].float().mean()
    yield check("accuracy on the 3s", on_threes, 0.9168, within=0.00005)
    yield check("accuracy on the 7s", on_sevens, 0.9854, within=0.00005)
    yield check("mean of the two", (on_threes + on_sevens) / 2, 0.9511, within=0.00005)
    right = int((is_three == (valid_labels == three)).sum())
    yield check("all images together: right, of 2038", right, 1939, source="counted here")

    yield Say("The project has this baseline as a model like any other; it answers the same.")
    model = PixelSimilarity(data.image_size, len(data.classes)).fit(images, labels)
    its_answers = predictions(model(valid.unsqueeze(1))) == three
    yield check_true("PixelSimilarity agrees on each image", torch.equal(its_answers, is_three))

    if digits == "all":
        yield Say("The same with ten averages: an image is the digit whose average is nearest.")
        images, labels = ten.train_ds.tensors
        means = [(images[labels == label] / 255).mean(0) for label in range(10)]
        valid, valid_labels = ten.valid_ds.tensors
        for name, distance, measured in (("L1", l1, 0.6685), ("RMSE", rmse, 0.8203)):
            answers = torch.stack([distance(valid / 255, mean) for mean in means]).argmin(0)
            accuracy = (answers == valid_labels).float().mean()
            title = N_("accuracy on ten digits by {name}")
            yield check(title, accuracy, measured, within=0.00005, source="measured", name=name)
    yield Say("""Now change this: take the averages of the first ten images of each digit, not of
        all. Does the accuracy fall?""")
