"""Angles as overlapping bins against the original's rule, and there and back."""
import math

import pytest
import torch
from camera_reference import angle_between, angle_slowly, bins_slowly
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_centernet.ops.multi_bin import (
    CHANNELS,
    CHANNELS_PER_BIN,
    SINES,
    decode_angles,
    encode_angles,
)

# A busy machine is no failure.
unhurried = settings(deadline=None)
#: Where an angle enters or leaves a bin.
BORDERS = math.pi / 6, 5 * math.pi / 6, -math.pi / 6, -5 * math.pi / 6


def everywhere(dtype=torch.float64):
    """Angles all around, -pi among them, and on both sides of the bins' borders."""
    angles = torch.linspace(-math.pi, math.pi, 721, dtype=torch.float64)[:-1]
    near = [border + side * 1e-4 for border in (*BORDERS, -math.pi, 0, math.pi)
            for side in (-1, 1)]
    angles = torch.cat((angles, torch.tensor(near, dtype=torch.float64)))
    # On a border itself an angle's rounding decides.
    distance = (angles[:, None] - torch.tensor(BORDERS)).abs().amin(dim=1)
    return angles[distance > 1e-5].to(dtype)


def output_of(targets, preferred=None):
    """What a network puts out that knows the targets; ``preferred`` bin where both hold."""
    count = len(targets.inside)
    output = torch.zeros(count, 2, CHANNELS_PER_BIN, dtype=targets.sin_cos.dtype)
    output[..., 1] = targets.inside * 2.0 - 1
    output[..., 0] = -output[..., 1]
    if preferred is not None:
        output[:, preferred, 1] += targets.inside[:, preferred]
    output[..., 2:] = targets.sin_cos
    return output.flatten(1)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_bins_equal_the_originals_rule(dtype):
    angles = everywhere(dtype)
    targets = encode_angles(angles)
    assert targets.inside.shape == (len(angles), 2)
    assert targets.sin_cos.shape == (len(angles), 2, 2)
    seen = set()
    for angle, inside, sin_cos in zip(angles.tolist(), targets.inside.tolist(),
                                      targets.sin_cos.tolist()):
        expected = bins_slowly(angle)
        assert inside == [each for each, _ in expected], angle
        for found, (_, residual) in zip(sin_cos, expected):
            assert found == pytest.approx([math.sin(residual), math.cos(residual)], abs=1e-6)
        seen.add(tuple(inside))
    assert seen == {(True, False), (False, True), (True, True)}


@pytest.mark.parametrize('preferred', [None, 0, 1])
@pytest.mark.parametrize('dtype, tolerance', [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_decoding_gives_the_angle_back(dtype, tolerance, preferred):
    """From either bin where it is in both; pi comes back as -pi or next to it."""
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
    """The larger "inside" counts, the second if they are equal; "outside" is not looked at."""
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
def test_a_mirrored_object_has_the_other_sines(angle):
    """pi less an angle is in the same bins, with the same cosines."""
    both = torch.tensor([angle, math.pi - angle], dtype=torch.float64)
    plain, mirrored = (output_of(encode_angles(each[None]))[0] for each in both)
    sign = torch.ones(CHANNELS, dtype=torch.float64)
    sign[list(SINES)] = -1
    near_border = min(abs(angle - border) for border in BORDERS) < 1e-9
    residuals = [channel for channel in range(CHANNELS) if channel % CHANNELS_PER_BIN > 1]
    channels = residuals if near_border else list(range(CHANNELS))
    torch.testing.assert_close(
        mirrored[channels], (plain * sign)[channels], rtol=0, atol=1e-12)
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
    assert targets.inside.shape == (0, 2) and targets.sin_cos.shape == (0, 2, 2)
    assert decode_angles(torch.zeros(3, 0, CHANNELS)).shape == (3, 0)
