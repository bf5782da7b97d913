"""Comparison of detections by hand."""
import numpy as np
import pytest

from mmdet_centernet.export.verify import compare_detections, find_fault

COUNT = 40


def detections(seed=0, **changes):
    """Outputs for two images, of which the last detections score least."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 200, (2, COUNT, 2))
    fields = dict(
        bboxes=np.concatenate((corner, corner + 20), axis=2),
        scores=np.tile(np.linspace(1, 0.1, COUNT), (2, 1)),
        labels=rng.integers(0, 3, (2, COUNT)),
        alpha=rng.uniform(-np.pi, np.pi, (2, COUNT)),
        weight=rng.normal(70, 10, (2, COUNT)))  # in the unit of a user's own property
    return {**fields, **changes}


def shifted(name, by, rows=slice(0, 4)):
    """The detections with one field changed in some rows of the first image."""
    changed = detections()[name].copy()
    changed[0, rows] += by
    return detections(**{name: changed})


def test_compare_detections_in_any_order():
    expected = detections()
    order = np.random.default_rng(1).permutation(COUNT)
    found = {name: values[:, order] for name, values in expected.items()}
    largest, missing, total = compare_detections(expected, found)
    assert missing == 0 and total == 2 * (COUNT - 1)  # the last one may be cut off
    assert set(largest) == {'bboxes', 'scores', 'alpha', 'weight'}
    assert all(value == 0 for value in largest.values())


@pytest.mark.parametrize('name, by, missing', [
    ('bboxes', 0.04, 0), ('bboxes', 0.5, 4), ('alpha', 2 * np.pi, 0), ('alpha', 0.1, 4),
    ('labels', 1, 4), ('weight', 5e-3, 0), ('weight', 0.5, 4)])
def test_compare_detections_with_tolerances(name, by, missing):
    largest, found, _ = compare_detections(detections(), shifted(name, by))
    assert found == missing
    if name == 'bboxes' and not missing:
        assert largest['bboxes'] == pytest.approx(by)


def test_compare_detections_without_boxes():
    fields = {name: values for name, values in detections().items() if name != 'bboxes'}
    assert compare_detections(fields, fields)[1] == 0


def test_find_fault():
    fault, seen = find_fault(detections(), detections(), raw=False)
    assert fault is None and seen.startswith('78 of 78 detections the same, largest differences:')
    assert find_fault(detections(), shifted('bboxes', 1), raw=False)[0] == (
        '4 of 78 detections differ')
    # A few may differ.
    assert find_fault(detections(), shifted('bboxes', 1, slice(0, 2)), raw=False)[0] is None
    assert 'scores differ by 0.01' in find_fault(
        detections(), shifted('scores', 0.01), raw=False)[0]
    assert 'weight has values that are not finite' in find_fault(
        detections(), shifted('weight', np.nan), raw=False)[0]
    short = {name: values[:, 1:] for name, values in detections().items()}
    assert 'another shape' in find_fault(detections(), short, raw=False)[0]


def test_find_fault_in_branches():
    outputs = dict(wh=np.random.default_rng(0).normal(0, 10, (1, 2, 8, 8)))
    close, far = (dict(wh=outputs['wh'] + by) for by in (1e-3, 1))
    assert find_fault(outputs, close, raw=True)[0] is None
    assert find_fault(outputs, far, raw=True)[0].startswith('wh differs by 0.')
