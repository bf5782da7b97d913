"""Orientation: its outputs for flipped images, and what certain outputs decode to."""
import math

import torch
from reference.camera import angle_between

from mmdet_centernet.models.properties import Centers, Orientation, Peaks
from mmdet_centernet.ops.heatmap import Gaussians
from mmdet_centernet.ops.multi_bin import encode_angles


def test_flip_negates_the_sines_alone():
    """Which are channels 2 and 6: a flipped object is observed at pi minus its angle."""
    torch.manual_seed(0)
    branch = Orientation().branches['orientation']
    outputs = torch.randn(2, 8, 3, 5)
    flipped = branch.flip(outputs)
    for channel in range(8):
        sign = -1 if channel in (2, 6) else 1
        for x in range(5):
            assert torch.equal(flipped[:, channel, :, x], sign * outputs[:, channel, :, 4 - x])
    angles = torch.linspace(-3, 3, 30)
    plain, other = (branch.to_output(encode_angles(each)).T[None, :, None]
                    for each in (angles, math.pi - angles))
    torch.testing.assert_close(branch.flip(plain).flip(-1), other, rtol=0, atol=1e-5)


def test_to_output_decodes_to_the_same_angles():
    """Of the network that is certain of the targets, as the oracle uses it."""
    angles = torch.linspace(-math.pi, math.pi - 1e-3, 25)
    prop = Orientation()
    outputs = prop.branches['orientation'].to_output(encode_angles(angles)).T[None, :, None]
    cells = torch.arange(25)[None]
    peaks = Peaks(torch.ones(1, 25), torch.zeros(1, 25), cells, torch.stack(
        (cells, torch.zeros_like(cells)), dim=-1), 4, 3, {})
    found = prop.decode(dict(orientation=outputs), peaks, {})['alpha']
    assert found.shape == (1, 25)
    for angle, other in zip(angles.tolist(), found[0].tolist()):
        assert angle_between(angle, other) < 1e-5


def test_encode_counts_the_objects_in_each_bin():
    """The cross-entropy is averaged over all objects, the residuals over those in the bin."""
    alpha = torch.tensor([0.0, 1.5, -1.5, 3.1, float('nan')])
    count = len(alpha)
    centers = Centers(
        torch.zeros(count).long(), torch.zeros(count).long(), torch.ones(count, 2),
        torch.zeros(count, 2).long(), torch.arange(count), torch.zeros(count, 2),
        torch.zeros(count).long(), Gaussians.of_radius(
            torch.zeros(count, 2).long(), torch.zeros(count).long()),
        alpha == alpha, alpha == alpha,
        torch.tensor([1.0, 1, 1, 0, 0]), (1, 1, 4, 5), 4, None, eps=1e-4)
    target = Orientation().encode(centers, [dict(alpha=alpha)], [{}])['orientation']
    assert target.values.shape == (5, 2, 3) and torch.isfinite(target.values).all()
    # 0 is in both bins, 1.5 in the second, -1.5 in the first; 3.1 is not trained.
    assert target.weight.tolist() == [
        [1, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert target.count.tolist() == [3, 2, 2]
    torch.testing.assert_close(target.eps, torch.tensor([1e-4, 0, 0]))
