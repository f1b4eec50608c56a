"""Learning by heart: a net of two layers and a hundred images.

What is overfitting, and what shows it? The questionnaire of fastbook ch. 1 and 4 asks it.
"""

from mnistlab import Curves, build_model
from mnistlab.language import N_, _
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check_true, images_of, part_of, trained

EPOCHS = 100


def lesson(seed: int = 0, digits: str = "two") -> Lesson:
    """`seed` draws the images and the first weights. digits: `two` (3 and 7) or `all`."""
    data = images_of(digits)
    few = part_of(data, 100, seed)
    setup = N_("""Setup: a net of two layers with 30 hidden units and only 100 training images, but
        all {n:,} validation images. How well does it do on each?""")
    yield Say(setup, n=len(data.valid_ds))
    yield Ask("Which loss falls to nearly 0, that of training or that of validation?")
    model = build_model("two-layer", data.image_size, data.classes, seed)
    rows = trained(model, data, 0.5, EPOCHS, 10, train_ds=few)
    epochs = list(range(EPOCHS))
    lines = {
        _("training loss"): (epochs, [row.train_loss for row in rows]),
        _("validation loss"): (epochs, [row.valid_loss for row in rows]),
    }
    yield Curves(_("The two losses part"), lines, _("epoch"), _("cross-entropy"))
    last, best = rows[-1], min(rows, key=lambda row: row.valid_loss)
    yield Show("training loss at the end", last.train_loss)
    yield Show("validation loss at the end", last.valid_loss)
    yield check_true("it knows its 100 images by heart: a loss below 0.01", last.train_loss < 0.01)
    yield check_true("new images cost it ten times as much", last.valid_loss > 10 * last.train_loss)

    yield Ask("Was it better on new images earlier? When should one have stopped?")
    yield Show("the epoch with the lowest validation loss", best.epoch)
    yield Show("the loss there", best.valid_loss)
    yield check_true("from there on it only got worse", best.valid_loss < last.valid_loss)
    yield Say("""The accuracy hides it: it hardly moves, while the net gets surer and surer of its
        wrong answers. That is what the loss sees.""")
    yield Show("accuracy then and at the end", [best.accuracy, last.accuracy])
    yield Say("""Now change this: 1,000 images instead of 100. At which epoch is the lowest
        validation loss, and how far do the curves part? (`train --patience` stops there.)""")
