"""Points and boxes through affine matrices, against loops."""
import numpy as np
import pytest
import torch

from mmdet_centernet.ops.transforms import (
    boxes_around,
    clip_boxes,
    input_to_original,
    transform_boxes,
    transform_points,
)

#: Scaled and shifted; flipped; rotated by 90 degrees; rotated and sheared.
MATRICES = np.array([
    [[0.5, 0, 7], [0, 0.7, -11], [0, 0, 1]], [[-1.5, 0, 79], [0, 1.25, 3], [0, 0, 1]],
    [[0, 2, -5], [-1, 0, 60], [0, 0, 1]], [[0.8, 0.6, 3], [-0.3, 0.9, 5], [0, 0, 1]]])


def matrices():
    return torch.from_numpy(MATRICES)


def boxes(count=6):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(len(MATRICES), count, 2, generator=generator, dtype=torch.float64) * 50
    size = torch.rand(len(MATRICES), count, 2, generator=generator, dtype=torch.float64) * 30
    return torch.cat((corner, corner + size), dim=-1)


def test_transform_points_equals_loop():
    points = boxes()[..., :2]
    found = transform_points(points, matrices())
    for image, matrix in enumerate(MATRICES):
        for point, other in zip(points[image].tolist(), found[image].tolist()):
            assert other == pytest.approx((matrix @ [*point, 1])[:2])
    assert transform_points(points[:, :0], matrices()).shape == (len(MATRICES), 0, 2)


def test_transform_boxes_equals_the_box_around_four_corners():
    given = boxes()
    found = transform_boxes(given, matrices())
    for image, matrix in enumerate(MATRICES):
        for (x1, y1, x2, y2), other in zip(given[image].tolist(), found[image].tolist()):
            corners = matrix @ np.array([[x1, x2, x2, x1], [y1, y1, y2, y2], [1] * 4])
            assert other == pytest.approx([*corners[:2].min(axis=1), *corners[:2].max(axis=1)])
    assert transform_boxes(given[:, :0], matrices()).shape == (len(MATRICES), 0, 4)


def test_transform_boxes_keeps_negative_sizes():
    """As a network may predict early in training."""
    given = boxes()[..., [2, 3, 0, 1]]
    found = transform_boxes(given, matrices())
    assert (found[..., 2:] < found[..., :2]).all()
    torch.testing.assert_close(found[..., [2, 3, 0, 1]], transform_boxes(boxes(), matrices()))


def test_boxes_around_equals_loop():
    points = boxes().view(2, -1, 3, 2)
    found = boxes_around(points)
    assert found.shape == (*points.shape[:2], 4)
    for several, box in zip(points.flatten(0, 1).tolist(), found.view(-1, 4).tolist()):
        xs, ys = zip(*several)
        assert box == [min(xs), min(ys), max(xs), max(ys)]


def test_clip_boxes_equals_loop():
    given = boxes() - 20
    sizes = [(10, 30), (25, 15), (40, 40), (1, 2)]  # height, width
    found = clip_boxes(given, sizes)
    for image, (height, width) in enumerate(sizes):
        for box, other in zip(given[image].tolist(), found[image].tolist()):
            limits = width, height, width, height
            assert other == [min(max(v, 0), limit) for v, limit in zip(box, limits)]


def test_input_to_original_inverts_what_pipelines_pack():
    """Our homography goes before MMDetection's border (top, bottom, left, right) and scale."""
    metas = [dict(homography_matrix=MATRICES[0].astype(np.float32), scale_factor=(5, 6)),
             dict(border=(6, 40, 10, 70), scale_factor=(0.5, 0.8)), dict(border=(6, 40, 10, 70)),
             dict(scale_factor=(0.5, 0.8)), {}]
    found = input_to_original(metas, torch.zeros(1, dtype=torch.float64))
    assert found.shape == (5, 3, 3) and found.dtype == torch.float64
    forward = [lambda x, y: (0.5 * x + 7, 0.7 * y - 11), lambda x, y: (0.5 * x + 10, 0.8 * y + 6),
               lambda x, y: (x + 10, y + 6), lambda x, y: (0.5 * x, 0.8 * y),
               lambda x, y: (x, y)]
    for matrix, move in zip(found.numpy(), forward):
        for point in ((0.0, 0.0), (13.0, 4.0)):
            assert (matrix @ [*move(*point), 1])[:2] == pytest.approx(point, abs=1e-5)
    assert input_to_original(metas, torch.zeros(1)).dtype == torch.float32
