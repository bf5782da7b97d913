"""Angles as overlapping bins against the original's rule, and there and back."""
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.camera import angle_between, angle_slowly, bins_slowly

from mmdet_centernet.ops.multi_bin import (
    CHANNELS,
    CHANNELS_PER_BIN,
    SINES,
    decode_angles,
    encode_angles,
    flip_angles,
    to_output,
)

# A busy machine is not a failure.
unhurried = settings(deadline=None)
#: Where an angle enters or leaves a bin.
BORDERS = math.pi / 6, 5 * math.pi / 6, -math.pi / 6, -5 * math.pi / 6


def everywhere(dtype=torch.float64):
    """Return angles all around, -pi among them, and on both sides of the bins' borders."""
    angles = torch.linspace(-math.pi, math.pi, 721, dtype=torch.float64)[:-1]
    near = [border + side * 1e-4 for border in (*BORDERS, -math.pi, 0, math.pi)
            for side in (-1, 1)]
    angles = torch.cat((angles, torch.tensor(near, dtype=torch.float64)))
    # On a border itself an angle's rounding decides.
    distance = (angles[:, None] - torch.tensor(BORDERS)).abs().amin(dim=1)
    return angles[distance > 1e-5].to(dtype)


def output_of(targets, preferred=None):
    """Return the outputs of a network that knows the targets; ``preferred`` bin if both hold."""
    inside = targets[..., 0]
    output = torch.zeros(len(targets), 2, CHANNELS_PER_BIN, dtype=targets.dtype)
    output[..., 1] = inside * 2.0 - 1
    output[..., 0] = -output[..., 1]
    if preferred is not None:
        output[:, preferred, 1] += inside[:, preferred]
    output[..., 2:] = targets[..., 1:]
    return output.flatten(1)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_bins_equal_the_originals_rule(dtype):
    angles = everywhere(dtype)
    targets = encode_angles(angles)
    assert targets.shape == (len(angles), 2, 3) and targets.dtype == dtype
    seen = set()
    for angle, bins in zip(angles.tolist(), targets.tolist()):
        expected = bins_slowly(angle)
        inside = [each == 1 for each, _, _ in bins]
        assert all(each in (0, 1) for each, _, _ in bins)
        assert inside == [each for each, _ in expected], angle
        for (_, *found), (_, residual) in zip(bins, expected):
            assert found == pytest.approx([math.sin(residual), math.cos(residual)], abs=1e-6)
        seen.add(tuple(inside))
    assert seen == {(True, False), (False, True), (True, True)}


def test_certain_outputs_have_the_layout_of_the_module():
    """Per bin "outside", "inside", sine, cosine."""
    targets = encode_angles(everywhere())
    torch.testing.assert_close(to_output(targets)[:, 2::4], targets[..., 1])
    torch.testing.assert_close(to_output(targets)[:, 3::4], targets[..., 2])
    torch.testing.assert_close(to_output(targets)[:, 1::4], targets[..., 0])
    assert ((to_output(targets)[:, 1::4] > to_output(targets)[:, ::4])
            == (targets[..., 0] > 0)).all()
    assert to_output(targets[:6].view(3, 2, 2, 3)).shape == (3, 2, CHANNELS)


@pytest.mark.parametrize('preferred', [None, 0, 1])
@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_decoding_gives_the_angle_back(dtype, tolerance, preferred):
    """From either bin where it is in both; pi is returned as -pi or next to it."""
    angles = everywhere(dtype)
    decoded = decode_angles(output_of(encode_angles(angles), preferred))
    for angle, found in zip(angles.tolist(), decoded.tolist()):
        assert -math.pi <= found < math.pi
        assert angle_between(found, angle) <= tolerance


@unhurried
@given(angle=st.floats(-math.pi, math.pi), scale=st.floats(0.01, 100))
def test_the_length_of_sine_and_cosine_does_not_matter(angle, scale):
    output = output_of(encode_angles(torch.tensor([angle], dtype=torch.float64)))
    output = output.view(2, CHANNELS_PER_BIN)
    output[:, 2:] *= scale
    found = decode_angles(output.flatten())
    assert angle_between(found.item(), angle) <= 1e-9


def test_decoding_equals_the_originals_rule():
    """The larger "inside" counts, the second if they are equal; "outside" is not used."""
    output = torch.randn(4, 50, CHANNELS, generator=torch.Generator().manual_seed(0),
                         dtype=torch.float64)
    output[0, :, 5] = output[0, :, 1]
    found = decode_angles(output)
    assert found.shape == (4, 50)
    for channels, angle in zip(output.view(-1, CHANNELS).tolist(), found.flatten().tolist()):
        assert angle_between(angle, angle_slowly(channels)) < 1e-12
        assert -math.pi <= angle < math.pi
    output[..., 0::4] = 1e3
    assert torch.equal(decode_angles(output), found)
    assert not torch.equal(decode_angles(output.flip(-1)), found)


@unhurried
@given(angle=st.floats(-math.pi, math.pi))
def test_flipped_object_has_the_opposite_sines(angle):
    """pi minus an angle is in the same bins, with the same cosines."""
    both = torch.tensor([angle, math.pi - angle], dtype=torch.float64)
    plain, flipped = (output_of(encode_angles(each[None]))[0] for each in both)
    sign = torch.ones(CHANNELS, dtype=torch.float64)
    sign[list(SINES)] = -1
    near_border = min(abs(angle - border) for border in BORDERS) < 1e-9
    residuals = [channel for channel in range(CHANNELS) if channel % CHANNELS_PER_BIN > 1]
    channels = residuals if near_border else list(range(CHANNELS))
    torch.testing.assert_close(
        flipped[channels], (plain * sign)[channels], rtol=0, atol=1e-12)
    assert torch.equal(
        flip_angles(plain[None, :, None, None]).flatten(), plain * sign)
    found = decode_angles(plain * sign).item()
    assert angle_between(found, math.pi - angle) < 1e-9


def test_the_sines_are_where_they_should_be():
    quarter = encode_angles(torch.tensor([math.pi / 4], dtype=torch.float64))
    output = output_of(quarter)[0]
    assert SINES == (2, 6)
    assert output[list(SINES)].tolist() == pytest.approx(
        [math.sin(3 * math.pi / 4), math.sin(-math.pi / 4)])


def test_no_angles():
    targets = encode_angles(torch.zeros(0))
    assert targets.shape == (0, 2, 3)
    assert decode_angles(torch.zeros(3, 0, CHANNELS)).shape == (3, 0)
