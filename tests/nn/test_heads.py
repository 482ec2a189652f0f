"""The linear head that is trained anew."""

import torch

from regraft.nn.heads import PooledHead


def test_an_untrained_head_gives_every_class_the_same_probability() -> None:
    probabilities = PooledHead(6, 4)(torch.randn(3, 6)).softmax(1)
    torch.testing.assert_close(probabilities, torch.full((3, 4), 0.25), rtol=0, atol=0)


def test_a_head_is_a_dense_layer() -> None:
    dense, head = torch.nn.Linear(6, 4), PooledHead(6, 4)
    head.load_state_dict(dense.state_dict(), strict=True)
    x = torch.randn(3, 6)
    torch.testing.assert_close(head(x), dense(x), rtol=0, atol=0)


def test_a_head_at_zero_has_a_gradient() -> None:
    head = PooledHead(6, 4)
    torch.nn.functional.cross_entropy(head(torch.randn(3, 6)), torch.tensor([0, 1, 2])).backward()
    assert head.weight.grad is not None
    assert head.weight.grad.abs().sum() > 0


def test_dropout_acts_in_training_only() -> None:
    head = PooledHead(50, 1, dropout=0.5)
    torch.nn.init.ones_(head.weight)
    x = torch.ones(1, 50)
    assert head.eval()(x).item() == 50
    torch.manual_seed(0)
    assert len({head.train()(x).item() for _ in range(5)}) > 1
