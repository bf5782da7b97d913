"""Matching against a loop."""
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from reference.matching import match_slowly

from mmdet_centernet.ops.boxes_numpy import box_overlaps
from mmdet_centernet.ops.matching import match, match_by_class

labeled_box = st.tuples(
    *[st.integers(0, 12)] * 2, *[st.integers(0, 8)] * 2, st.integers(0, 1)).map(
        lambda b: ((b[0], b[1], b[0] + b[2], b[1] + b[3]), b[4]))
labeled_boxes = st.lists(labeled_box, max_size=6)


@given(labeled_boxes, labeled_boxes, st.sampled_from([0.3, 0.5, 0.75]))
def test_matching_equals_a_loop(pred, truth, threshold):
    boxes, labels = zip(*(
        (np.array([box for box, _ in each], float).reshape(-1, 4),
         np.array([label for _, label in each], int)) for each in (pred, truth)))
    ious = box_overlaps(*boxes)
    assert ious.shape == (len(pred), len(truth))
    assert match(ious, threshold).tolist() == match_slowly(*boxes, threshold)
    assert match_by_class(ious, *labels, threshold).tolist() == match_slowly(
        *boxes, threshold, *labels)
