"""How many images does one need? The accuracy by the number of training images."""

import torch
from torch.utils.data import TensorDataset

from mnistlab import Curves, build_model
from mnistlab.language import N_, _
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check_true, images_of, part_of, trained

STEPS = 360
COUNTS = (20, 50, 100, 300, 1000, 3000, 12000)
LARGEST = COUNTS[-1]


def lesson(seed: int = 0, digits: str = "two") -> Lesson:
    """`seed` draws images and weights. digits: `two` (3 and 7) or `all`."""
    data = images_of(digits)
    setup = N_("""Setup: a net of two layers, {steps} steps of 100 images at rate 0.5, whatever the
        number of training images, and always the same {valid:,} for validation.""")
    yield Say(setup, steps=STEPS, valid=len(data.valid_ds))
    yield Ask("From 100 images to 1,000: by which factor do the errors fall?")
    accuracies = {}
    for count in COUNTS:
        model = build_model("two-layer", data.image_size, data.classes, seed)
        few = part_of(data, count, seed)
        # the same images again and again, so that an epoch has the same number of steps for all
        again = TensorDataset(*(torch.cat([part] * (LARGEST // count)) for part in few.tensors))
        rows = trained(model, data, 0.5, STEPS * 100 // LARGEST, 100, train_ds=again)
        accuracies[count] = rows[-1].accuracy
    yield Show("accuracy by images", {n: round(value, 4) for n, value in accuracies.items()})
    dots = {_("accuracy"): (list(COUNTS), list(accuracies.values()))}
    title, x_label = _("More images"), _("training images")
    yield Curves(title, {}, x_label, _("accuracy"), dots, log_x=True)
    errors = {count: 1 - accuracy for count, accuracy in accuracies.items()}
    yield Show("errors at 100 images, over those at 1,000", errors[100] / errors[1000])
    yield check_true("3,000 images: fewer errors than 1,000", errors[3000] < errors[1000])
    fewer = errors[LARGEST] < errors[100] * 2 / 3
    yield check_true("12,000 images: less than two thirds of the errors of 100", fewer)
    yield Say("""Now change this: the linear model. It has fewer numbers to learn; with which number
        of images do the two change places?""")
