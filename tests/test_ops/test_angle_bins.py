"""Angles as one of many bins, against a loop, and there and back."""
import math

import pytest
import torch
from reference.camera import angle_between
from reference.mono3d_plus import bin_slowly

from mmdet_centernet.ops.angle_bins import bins_to_output, decode_bins, encode_bins, flip_bins

ANGLES = torch.linspace(-math.pi, math.pi, 722, dtype=torch.float64)[:-1]


@pytest.mark.parametrize('num_bins', [2, 4, 12])
def test_bins_equal_loop(num_bins):
    for angle, (index, residual) in zip(ANGLES.tolist(), encode_bins(ANGLES, num_bins).tolist()):
        best, expected = bin_slowly(angle, num_bins)
        if math.pi / num_bins - abs(expected) > 1e-9:  # between two bins both are right
            assert index == best
            assert residual == pytest.approx(expected, abs=1e-9)
        assert index in range(num_bins) and abs(residual) <= math.pi / num_bins + 1e-9


@pytest.mark.parametrize('num_bins', [2, 12])
@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_decoding_gives_the_angle_back(num_bins, dtype, tolerance):
    found = decode_bins(bins_to_output(encode_bins(ANGLES.to(dtype), num_bins), num_bins))
    for angle, other in zip(ANGLES.tolist(), found.tolist()):
        assert -math.pi <= other < math.pi
        assert angle_between(angle, other) < tolerance


def test_decoding_reads_the_residual_of_the_best_bin():
    torch.manual_seed(0)
    output = torch.randn(2, 7, 24, dtype=torch.float64)
    found = decode_bins(output)
    assert found.shape == (2, 7)
    for channels, angle in zip(output.view(-1, 24).tolist(), found.flatten().tolist()):
        best = max(range(12), key=lambda index: channels[index])
        assert angle_between(angle, 2 * math.pi * best / 12 + channels[12 + best]) < 1e-9


@pytest.mark.parametrize('num_bins', [2, 6, 12])
def test_a_flipped_object_is_seen_at_pi_minus_its_angle(num_bins):
    angles = torch.linspace(-3, 3, 40, dtype=torch.float64)

    def outputs(values):
        return bins_to_output(encode_bins(values, num_bins), num_bins).T[None, :, None]

    flipped = flip_bins(outputs(math.pi - angles)).flip(-1)
    found, expected = (decode_bins(each[0, :, 0].T) for each in (flipped, outputs(angles)))
    for angle, other in zip(expected.tolist(), found.tolist()):
        assert angle_between(angle, other) < 1e-9
    torch.manual_seed(0)
    output = torch.randn(1, 2 * num_bins, 3, 5)
    assert torch.equal(flip_bins(flip_bins(output)), output)


def test_no_angles():
    assert encode_bins(torch.zeros(0), 12).shape == (0, 2)
    assert decode_bins(torch.zeros(3, 0, 24)).shape == (3, 0)
