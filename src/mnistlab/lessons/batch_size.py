"""How large should a batch be? One image, 16, 256, or all of them: steps, time, accuracy.

fastbook ch. 4, "SGD and Mini-Batches".
"""

import time

from mnistlab import Curves, build_model
from mnistlab.language import N_, _
from mnistlab.lessons import kit
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check, check_true

IMAGES = 4096


def lesson(seed: int = 0, digits: str = "two") -> Lesson:
    """`seed` draws images and weights. digits: `two` (3 and 7) or `all`."""
    data = kit.images_of(digits)
    setup = N_("""Setup: the linear model, {n:,} training images, one epoch at rate 0.1, in batches
        of four sizes. Every image is looked at once; what differs is the number of steps.""")
    yield Say(setup, n=IMAGES)
    train_ds = kit.part_of(data, IMAGES, seed)
    steps, seconds, rows = {}, {}, {}
    yield Ask("Which size takes the longest, and which is the best after one epoch?")
    for size in (1, 16, 256, IMAGES):
        model = build_model("linear", data.image_size, data.classes, seed)
        started = time.perf_counter()
        (rows[size],) = kit.trained(model, data, 0.1, 1, size, train_ds=train_ds)
        seconds[size] = time.perf_counter() - started
        steps[size] = len(rows[size].batch_losses)
    yield check("steps", list(steps.values()), [4096, 256, 16, 1], source="images / batch size")
    yield Show("seconds", {size: round(value, 2) for size, value in seconds.items()})
    accuracies = {size: row.accuracy for size, row in rows.items()}
    yield Show("accuracy", accuracies)
    yield check_true("one step a batch: more batches go further", accuracies[16] > accuracies[256])
    yield check_true("and 256 go further than one of all", accuracies[256] > accuracies[IMAGES])

    yield Say("""A small batch makes many noisy steps; a large one few good ones. A larger rate
        helps the large batch: its gradient can be trusted further.""")
    yield Ask("What does 256 gain from a rate five times as high, and what does 16?")
    fast = {}
    for size in (16, 256, IMAGES):
        model = build_model("linear", data.image_size, data.classes, seed)
        fast[size] = kit.trained(model, data, 0.5, 1, size, train_ds=train_ds)[0].accuracy
    yield Show("accuracy at rate 0.5", fast)
    rates = {0.1: accuracies, 0.5: fast}
    lines = {
        _("rate {lr}").format(lr=lr): (list(one), list(one.values())) for lr, one in rates.items()
    }
    title, x_label = _("Accuracy after one epoch"), _("batch size")
    yield Curves(title, lines, x_label, _("accuracy"), log_x=True)
    yield check_true("256 gains", fast[256] > accuracies[256])
    yield Say("""Now change this: 64 and 1,024. Where is the best accuracy for the least time on
        your machine?""")
