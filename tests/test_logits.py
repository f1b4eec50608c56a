"""What logits mean: the chapter's convention for two classes, the usual one for more."""

import torch

from mnistlab.losses import n_logits, predictions, probabilities, targets_for


def test_the_first_class_has_target_one_and_a_positive_logit() -> None:
    labels = torch.tensor([0, 1, 0])  # a 3, a 7, a 3
    assert targets_for(labels, 2).tolist() == [[1.0], [0.0], [1.0]]
    assert predictions(torch.tensor([[2.0], [-0.5], [1e-30]])).tolist() == [0, 1, 0]


def test_a_logit_of_exactly_zero_is_not_the_first_class() -> None:
    assert predictions(torch.tensor([[0.0]])).tolist() == [1]


def test_above_zero_as_a_logit_is_above_half_as_a_probability() -> None:
    logits = torch.linspace(-6, 6, 101).unsqueeze(1)
    probs = probabilities(logits)
    assert torch.equal(predictions(logits) == 0, probs[:, 0] > 0.5)
    torch.testing.assert_close(probs.sum(1), torch.ones(101))


def test_a_very_sure_model_keeps_the_digits_of_the_small_probability() -> None:
    probs = probabilities(torch.tensor([[40.0]]))
    assert probs[0, 1].item() > 0


def test_more_classes_have_a_logit_each() -> None:
    labels = torch.tensor([2, 0])
    assert n_logits(2) == 1
    assert n_logits(5) == 5
    assert targets_for(labels, 5) is labels
    logits = torch.tensor([[0.1, 0.2, 3.0], [5.0, 0.0, -1.0]])
    assert predictions(logits).tolist() == [2, 0]
    torch.testing.assert_close(probabilities(logits), logits.softmax(1))
