"""What NumPy and PyTorch do with shapes: broadcasting, views and copies, and the usual errors.

fastbook ch. 4, "NumPy Arrays and PyTorch Tensors" and "Computing Metrics Using Broadcasting".
"""

import numpy as np
import torch

from mnistlab.lessons.kit import Ask, Lesson, Say, Show, check, check_true, refusal


def lesson() -> Lesson:
    yield Say("""Setup: small arrays and tensors, no images, no net. Which shapes fit together, what
        is copied, and what do the usual error messages mean?""")

    yield Ask("What is the shape of (3, 1) plus (4,)?")
    column, row = torch.tensor([[0.0], [10.0], [20.0]]), torch.tensor([1.0, 2.0, 3.0, 4.0])
    yield Say("""Broadcasting compares shapes from the right. Two lengths fit if they are equal or
        one of them is 1; an axis that is missing counts as 1. What has length 1 is repeated.""")
    yield check("(3, 1) + (4,): the shape", (column + row).shape, [3, 4], source="by hand")
    table = [[1, 2, 3, 4], [11, 12, 13, 14], [21, 22, 23, 24]]
    yield check("and the numbers", column + row, table, source="by hand")
    same = np.array_equal((column.numpy() + row.numpy()), (column + row).numpy())
    yield check_true("NumPy follows the same rule", same)
    message = refusal(lambda: torch.zeros(3) + torch.zeros(4))
    yield Show("(3,) + (4,) is refused", message)
    yield check_true("the message names the two lengths", "(3)" in message and "(4)" in message)

    yield Say("""The silent trap: (b, 1) minus (b,) is no error, it is (b, b): every prediction
        against every target. It has cost many a learner an evening.""")
    predictions, targets = torch.zeros(256, 1), torch.zeros(256)
    yield check("its shape", (predictions - targets).shape, [256, 256], source="the rule")
    right = predictions - targets.unsqueeze(1)
    yield check("with targets.unsqueeze(1)", right.shape, [256, 1], source="the rule")

    yield Ask("You change the first row of a slice. Does the tensor it was cut from change?")
    numbers = torch.arange(6.0)
    view, copy = numbers[:3], numbers[[0, 1, 2]]
    view[0] = 100.0
    yield Say("A slice is a view, the same memory; a list of indices makes a copy.")
    yield check("the tensor after its slice was changed", numbers[0], 100, source="a view")
    yield check("the copy stays as it was", copy[0], 0, source="a copy")
    array = np.zeros(3, np.float32)
    torch.from_numpy(array)[0] = 7.0
    yield check("from_numpy shares memory with the array", array[0], 7, source="a view")
    yield check("torch.tensor(array) does not", torch.tensor(array).add_(1)[0], 8, source="a copy")
    yield check("the array is still", array[0], 7, source="a copy was changed")
    transposed = torch.arange(6).reshape(2, 3).T
    yield Show("a transposed tensor cannot be viewed", refusal(lambda: transposed.view(6)))
    copied, columns = transposed.reshape(6), [0, 3, 1, 4, 2, 5]
    yield check("reshape copies where it must", copied, columns, source="column by column")

    yield Say("Three more errors of the notes, each with its remedy.")
    levels = torch.tensor([[0, 255]], dtype=torch.uint8)
    yield Show("the mean of bytes is refused", refusal(levels.mean))
    yield check("divide by 255 first", (levels / 255).mean(), 0.5, source="by hand")
    byte = int(torch.tensor(200, dtype=torch.uint8) + 100)
    yield check("bytes overflow: 200 + 100", byte, 44, source="300 - 256")
    weights = torch.ones(2, requires_grad=True)
    yield Show("a tensor with a gradient is no array", refusal(weights.numpy))
    detached = weights.detach().numpy().tolist()
    yield check("detach it first", detached, [1, 1], source="by hand")
    a, b = torch.ones(2, 3), torch.ones(3, 2)
    yield Show("(2, 3) @ (2, 3) is refused", refusal(lambda: a @ a))
    yield check("the inner lengths must agree", (a @ b).shape, [2, 2], source="by hand")
    yield Say("""Now change this: give `column` the shape (3, 4) and then (4, 3); which of the two
        fits `row`, and how does a `.T` or an `unsqueeze` help the other?""")
