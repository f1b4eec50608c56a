"""What a model's logits mean. Decided here and nowhere else.

Two classes: one logit, (b, 1). Above 0 means the first class, whose target is 1; so with the
classes (3, 7) a 3 has target 1 and a 7 target 0, as in fastbook ch. 4 ("is it a 3?").
More classes: one logit per class, (b, C); the largest wins, and the target is the class itself.
"""

import torch


def n_logits(n_classes: int) -> int:
    """How many logits a model for `n_classes` ≥ 2 classes gives for one image."""
    return 1 if n_classes == 2 else n_classes


def targets_for(labels: torch.Tensor, n_classes: int) -> torch.Tensor:
    """Labels int64 (n,) → targets: float (n, 1) of 1 and 0 for two classes, else int64 (n,)."""
    return (labels == 0).float().unsqueeze(1) if n_classes == 2 else labels


def predictions(logits: torch.Tensor) -> torch.Tensor:
    """Logits (n, 1) or (n, C) → the predicted label of each image, int64 (n,)."""
    if logits.shape[1] == 1:
        # A logit of exactly 0 is not above 0: the second class, as in the chapter.
        return (logits.squeeze(1) <= 0).long()
    return logits.argmax(dim=1)


def probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Logits (n, 1) or (n, C) → the probability of each class, (n, 2) or (n, C); rows sum to 1."""
    if logits.shape[1] == 1:
        first = logits.sigmoid()
        # 1 - sigmoid(x) loses all digits for large x; sigmoid(-x) is the same number, exact
        return torch.cat((first, (-logits).sigmoid()), dim=1)
    return logits.softmax(dim=1)
