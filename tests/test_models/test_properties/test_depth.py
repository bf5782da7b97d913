"""Depth: what a raw output means."""
import torch

from mmdet_centernet.models.properties import Depth
from mmdet_centernet.models.properties.depth import depth_of


def test_depth_is_the_papers():
    output = torch.linspace(-4.5, 4, 50, dtype=torch.float64)
    expected = 1 / torch.sigmoid(output) - 1
    torch.testing.assert_close(depth_of(output).double(), expected, rtol=1e-6, atol=1e-6)
    branch = Depth().branches['depth']
    assert branch.to_value is depth_of
    torch.testing.assert_close(branch.to_output(depth_of(output)), output.float())


def test_depth_of_any_output_is_finite():
    """Also in half precision, and with a finite gradient."""
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        for value in (-1e4, -100.0, 100.0, 1e4):
            output = torch.tensor([value], dtype=dtype, requires_grad=True)
            depth = depth_of(output)
            depth.sum().backward()
            assert depth.dtype == torch.float32, (dtype, value)
            assert 0 <= depth.item() <= 1e6 * (1 + 1e-6), (dtype, value)
            assert torch.isfinite(output.grad).all(), (dtype, value)
