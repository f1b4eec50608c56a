"""What the hidden units look like, and how many of them are needed.

A hidden unit is an image of weights: it answers where the image is like it.
"""

from mnistlab import Curves, Images, build_model
from mnistlab.language import N_, _
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check, check_true, images_of, trained

COUNTS = (1, 2, 3, 5, 10, 30)
EPOCHS = 5


def lesson(seed: int = 0, digits: str = "two") -> Lesson:
    """`seed` draws the weights. digits: `two` (3 and 7) or `all`."""
    data = images_of(digits)
    setup = N_("""Setup: nets of two layers with 1 to 30 hidden units, each trained for {epochs}
        epochs at rate 0.5 on all training images. What does a unit see, and how many does it
        take?""")
    yield Say(setup, epochs=EPOCHS)
    yield Ask("How many hidden units are needed to beat the linear model?")
    model = build_model("linear", data.image_size, data.classes, seed)
    linear = trained(model, data, 0.5, EPOCHS)[-1].accuracy
    accuracies, nets = {}, {}
    for count in COUNTS:
        nets[count] = build_model("two-layer", data.image_size, data.classes, seed, hidden=count)
        accuracies[count] = trained(nets[count], data, 0.5, EPOCHS)[-1].accuracy
    yield Show("accuracy by units", {n: round(value, 4) for n, value in accuracies.items()})
    yield Show("accuracy of the linear model", linear)
    dots = {_("two layers"): (list(COUNTS), list(accuracies.values()))}
    lines = {_("linear"): ([1, 30], [linear, linear])}
    title, x_label = _("How many units?"), _("hidden units")
    yield Curves(title, lines, x_label, _("accuracy"), dots, log_x=True)
    yield check_true("30 beat the linear model", accuracies[30] > linear)
    more = accuracies[30] - accuracies[10]
    yield check_true("20 more than 10 gain less than 0.06", more < 0.06)

    first, _bias, last, _last_bias = nets[30].parameters()  # (30, 784), (30,), (1 or C, 30), …
    weight = last.detach().abs().sum(0)
    order = weight.argsort(descending=True).tolist()
    height, width = data.image_size
    images = {
        _("unit {n}").format(n=unit): first[unit].reshape(height, width) for unit in order[:12]
    }
    yield Images(_("Weights of the twelve units that count most"), images, signed=True)
    yield check("numbers in one unit", first.shape[1], height * width, source="one for each pixel")

    yield Say("""Now change this: `--digits all`, ten digits in place of two. How many units does it
        take now to beat the linear model?""")
