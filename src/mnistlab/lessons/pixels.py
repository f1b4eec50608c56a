"""An image is a grid of numbers, and a folder of images is one tensor more.

fastbook ch. 4, "Pixels: The Foundations of Computer Vision".
"""

import torch

from mnistlab import Images, load_data
from mnistlab.language import N_, _
from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check, check_true
from mnistlab.losses import targets_for

CORNER = [
    [0, 0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0, 29],
    [0, 0, 0, 48, 166, 224],
    [0, 93, 244, 249, 253, 187],
    [0, 107, 253, 253, 230, 48],
    [0, 3, 20, 20, 15, 0],
]


def lesson() -> Lesson:
    data = load_data()
    images, labels = data.train_ds.tensors  # uint8 (12396, 28, 28), int64 (12396,)

    yield Say("""Setup: the bundled 3s and 7s, no net. What is an image to a computer? The training
        images lie in one tensor, the 3s first. The chapter's second 3 is the file
        train/3/10000.png; the list of files says which image that is.""")
    second = images[data.train.files.index("3/10000.png")]
    yield Images(_("The second 3"), {"train/3/10000.png": second}, limits=(0, 255))
    yield Show("its shape: rows, columns", second.shape)
    yield Show("its type: whole numbers, 0 is black and 255 is white", second.dtype)
    yield Say("A slice first:last leaves out the last. Rows 4 to 9, columns 4 to 9:")
    corner = second[4:10, 4:10]
    yield Show("second[4:10, 4:10]", corner)
    yield check("the top left of the digit", corner, CORNER)
    yield Say("A slice is a window, not a copy: both look at the same memory.")
    same = corner.data_ptr() == second[4, 4].data_ptr()
    yield check_true("the slice begins where row 4, column 4 of the image is stored", same)

    yield Say("""All 3s together. Models compute with fractions, so the numbers become floats, and
        the division by 255 brings them between 0 and 1.""")
    threes, sevens = (images[labels == data.classes.index(name)].float() / 255 for name in "37")
    yield check("shape of the stacked 3s", threes.shape, (6131, 28, 28))
    yield check("rank: the number of axes, the length of the shape", threes.ndim, 3)
    yield check("how many 7s there are", len(sevens), 6265)
    yield Show("type", threes.dtype)
    yield check("the darkest and the brightest pixel", [threes.min(), threes.max()], [0.0, 1.0])

    yield Say("""A linear model wants one row per image: the 28 rows of 28 pixels are laid end to
        end. The targets are a column: 1 for a 3, 0 for a 7.""")
    train_x = torch.cat([threes, sevens]).view(-1, 28 * 28)  # -1: as many rows as there are images
    train_y = targets_for(labels, len(data.classes))
    valid_x = data.valid_ds.tensors[0].float().view(-1, 28 * 28) / 255
    yield check("shape of the training matrix", train_x.shape, (12396, 784))
    yield check("shape of the targets", train_y.shape, (12396, 1))
    yield check("shape of the validation matrix", valid_x.shape, (2038, 784))
    yield check("targets that are 1", int(train_y.sum()), 6131)
    same = torch.equal(train_x[:6131, 7 * 28 + 5], threes[:, 7, 5])
    yield check_true("pixel (row 7, column 5) of an image is column 7 * 28 + 5 of its row", same)

    yield Ask("What does the average of all 3s look like, and where is it brightest?")
    yield Say("""The mean over axis 0, the axis that counts images, leaves 28 x 28: the average 3.
        It is bright where 3s agree that there is ink and smeared where they differ.""")
    mean3, mean7 = threes.mean(0), sevens.mean(0)
    yield check("shape of the mean 3", mean3.shape, (28, 28), source="the axis that is gone")
    means = {_("mean 3"): mean3, _("mean 7"): mean7}
    yield Images(_("The mean digits"), means, limits=(0, 1))
    yield Show("the mean 3 in row 14, column 14", mean3[14, 14])
    one_by_one = sum(float(image[14, 14]) for image in threes) / len(threes)
    title = N_("the same pixel, added up image by image")
    yield check(title, mean3[14, 14], one_by_one, within=1e-5, source="a loop")
    title = N_("share of pixels at full brightness, in single 3s and in the mean 3")
    yield Show(title, [(threes == 1).float().mean(), (mean3 == 1).float().mean()])
    yield check_true("no pixel of the mean 3 is at full brightness", bool(mean3.max() < 1))
    yield Say("""Now change this: `median(0).values` in place of `mean(0)`. Which of the two average
        3s is the sharper one, and why?""")
