"""Radius formulas against the geometry they stand for."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.heatmap import radius_slowly

from mmdet_centernet.ops.radius import gaussian_radius

SIDES = st.floats(0.5, 300)
OVERLAPS = st.floats(0.05, 0.95)


def ious_of_shift(width, height, r):
    """Return the IoUs with the box after each of the three ways of moving its corners by r."""
    area = width * height
    shifted = max(width - r, 0) * max(height - r, 0)
    inside = max(width - 2 * r, 0) * max(height - 2 * r, 0)
    outside = (width + 2 * r) * (height + 2 * r)
    return shifted / (2 * area - shifted), inside / area, area / outside


@settings(deadline=None)
@given(SIDES, SIDES, OVERLAPS)
def test_corrected_is_the_largest_shift_that_keeps_the_overlap(width, height, overlap):
    size = torch.tensor([[width, height]], dtype=torch.float64)
    radius = float(gaussian_radius(size, 'corrected', overlap))
    assert radius >= 0
    assert min(ious_of_shift(width, height, radius)) == pytest.approx(overlap, abs=1e-6)


@settings(deadline=None)
@given(SIDES, SIDES, OVERLAPS, st.sampled_from(['official', 'corrected']))
def test_both_formulas_equal_scalar_arithmetic(width, height, overlap, formula):
    size = torch.tensor([[width, height]], dtype=torch.float64)
    got = float(gaussian_radius(size, formula, overlap))
    assert got == pytest.approx(
        radius_slowly(height, width, formula, overlap), rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(SIDES, SIDES, OVERLAPS, st.sampled_from(['official', 'corrected']))
def test_order_of_width_and_height_does_not_matter(width, height, overlap, formula):
    sizes = torch.tensor([[width, height], [height, width]])
    one, two = gaussian_radius(sizes, formula, overlap)
    assert one == pytest.approx(float(two), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    ('formula', 'overlap', 'expected'),
    [('official', 0.7, 5.47), ('corrected', 0.3, 4.52), ('corrected', 0.7, 1.63)])
def test_known_values(formula, overlap, expected):
    got = gaussian_radius(torch.tensor([[20.0, 20.0]]), formula, overlap)
    assert float(got) == pytest.approx(expected, abs=0.005)


def test_no_boxes_and_empty_boxes():
    assert gaussian_radius(torch.zeros(0, 2), 'corrected', 0.3).shape == (0,)
    assert gaussian_radius(torch.zeros(1, 2), 'official', 0.7).tolist() == [0.0]


@pytest.mark.parametrize(('formula', 'overlap'), [('mmdet', 0.3), ('official', 0.0),
                                                  ('corrected', 1.0)])
def test_unknown_choices_are_refused(formula, overlap):
    with pytest.raises(ValueError, match='radius|min_overlap'):
        gaussian_radius(torch.ones(1, 2), formula, overlap)
