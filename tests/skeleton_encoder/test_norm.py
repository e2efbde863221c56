import pytest
import torch

from emotion_llm.skeleton_encoder.norm import MaskedBatchNorm, _MaskedNormalisation


def normalised(norm, x, real):
    return norm(x, real, real.sum())


@pytest.mark.parametrize("training", [True, False])
def test_without_padding_it_is_the_ordinary_batch_norm(training):
    ours, theirs = MaskedBatchNorm(5).train(training), torch.nn.BatchNorm2d(5).train(training)
    for name in ("weight", "bias"):
        values = torch.randn(5)
        getattr(ours, name).data.copy_(values)
        getattr(theirs, name).data.copy_(values)
    x = (3 * torch.randn(5, 6, 7) + 1).requires_grad_()
    y, expected = normalised(ours, x, torch.ones(6, 7)), theirs(x[None])[0]
    assert torch.allclose(y, expected, atol=1e-5)
    weights = torch.randn_like(y)
    ours_gradients = torch.autograd.grad((y * weights).sum(), [x, ours.weight, ours.bias])
    theirs_gradients = torch.autograd.grad((expected * weights).sum(), [x, theirs.weight, theirs.bias])
    for one, other in zip(ours_gradients, theirs_gradients, strict=True):
        assert torch.allclose(one, other, atol=1e-5)
    assert torch.allclose(ours.running_mean, theirs.running_mean, atol=1e-6)
    assert torch.allclose(ours.running_variance, theirs.running_var, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_padding_changes_neither_output_nor_statistics_nor_gradient(training):
    x, real = torch.randn(4, 3, 9), torch.ones(3, 9)
    padded, padded_real = torch.nn.functional.pad(x, (0, 5)), torch.nn.functional.pad(real, (0, 5))
    results = []
    for values, mask in ((x, real), (padded, padded_real)):
        norm = MaskedBatchNorm(4).train(training)
        torch.nn.init.normal_(norm.bias)
        norm.bias.data.fill_(0.3)
        values = values.clone().requires_grad_()
        y = normalised(norm, values, mask)
        y.square().sum().backward()
        results.append((y[..., :9], values.grad[..., :9], norm.weight.grad, norm.running_mean, norm.running_variance))
        assert (y[..., 9:] == 0).all() and (values.grad[..., 9:] == 0).all()
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_the_gradient_is_that_of_finite_differences():
    real = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0.0]], dtype=torch.float64)
    x = torch.randn(3, 2, 4, dtype=torch.float64).mul_(real).requires_grad_()
    weight, bias = (torch.randn(3, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def of(x, weight, bias):
        return _MaskedNormalisation.apply(x * real, weight, bias, real, real.sum())[0]

    assert torch.autograd.gradcheck(of, (x, weight, bias))
