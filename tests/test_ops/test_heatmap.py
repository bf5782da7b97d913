"""Drawing, finding and reading peaks, and counting boxes, against loops in float64."""
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.heatmap import draw_slowly, nearest_peaks_slowly, owners_slowly, peaks_slowly

from mmdet_centernet.ops.heatmap import (
    cell_positions,
    count_boxes,
    draw_center_heatmap,
    draw_sparse_heatmap,
    find_cell_owners,
    find_nearest_peaks,
    find_peaks,
    gather_cells,
    local_maximum,
)


@st.composite
def scenes(draw):
    height, width = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    count = draw(st.integers(0, 8))
    centers = [
        [draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))] for _ in range(count)]
    radii = [draw(st.integers(0, 9)) for _ in range(count)]
    labels = [draw(st.integers(0, 2)) for _ in range(count)]
    return (
        torch.tensor(centers, dtype=torch.int64).view(-1, 2), torch.tensor(radii).long(),
        torch.tensor(labels).long(), (height, width))


@settings(deadline=None, max_examples=60)
@given(scenes())
def test_draw_center_heatmap_equals_loop(scene):
    centers, radii, labels, feat_size = scene
    expected = torch.zeros(3, *feat_size, dtype=torch.float64)
    for (x, y), radius, label in zip(centers.tolist(), radii.tolist(), labels.tolist()):
        draw_slowly(expected[label], x, y, radius)
    drawn = draw_center_heatmap(centers, radii, labels, 3, feat_size)
    assert drawn.dtype == torch.float32
    torch.testing.assert_close(drawn.double(), expected, rtol=1e-5, atol=1e-7)
    for (x, y), label in zip(centers.tolist(), labels.tolist()):
        assert drawn[label, y, x] == 1


@settings(deadline=None, max_examples=40)
@given(scenes(), st.integers(9, 12))
def test_draw_sparse_heatmap_with_a_bound_is_the_same(scene, bound):
    """The form for devices that must not be waited for equals the one for CPUs."""
    centers, radii, labels, (height, width) = scene
    shape = (1, 3, height, width)
    grouped = draw_sparse_heatmap(centers, radii, labels, shape)
    bounded = draw_sparse_heatmap(centers, radii, labels, shape, max_radius=bound)
    torch.testing.assert_close(grouped.to_dense(), bounded.to_dense(), rtol=0, atol=0)
    assert grouped.num_peaks() == bounded.num_peaks()


@settings(deadline=None, max_examples=40)
@given(scenes())
def test_sparse_heatmap_describes_the_dense_map(scene):
    centers, radii, labels, (height, width) = scene
    sparse = draw_sparse_heatmap(centers, radii, labels, (1, 3, height, width))
    dense = sparse.to_dense().view(-1)
    assert torch.equal(dense[sparse.positions], sparse.value)
    once = sparse.positions[sparse.unique]
    assert len(once) == len(once.unique()) == len(sparse.positions.unique())
    assert sparse.num_peaks() == (dense == 1).sum()


def test_draw_sparse_heatmap_leaves_out_a_radius_of_minus_one():
    centers = torch.tensor([[2, 1], [4, 3]])
    radii = torch.tensor([-1, 1])
    for bound in (None, 3):
        dense = draw_sparse_heatmap(
            centers, radii, torch.zeros(2).long(), (1, 1, 5, 7), bound).to_dense()
        assert dense[0, 0, 1, 2] == 0
        assert dense[0, 0, 3, 4] == 1


def test_draw_center_heatmap_floors_centers_and_radii():
    one = draw_center_heatmap(
        torch.tensor([[3.7, 1.2]]), torch.tensor([1.9]), torch.tensor([0]), 1, (4, 6))
    two = draw_center_heatmap(
        torch.tensor([[3, 1]]), torch.tensor([1]), torch.tensor([0]), 1, (4, 6))
    assert torch.equal(one, two)


@pytest.mark.parametrize(
    ('centers', 'radii', 'labels', 'words'),
    [
        ([[1.0, 2.0], [13.0, 2.0]], [1, 1], [0, 0], ['centers[1]', '[13.0, 2.0]', 'width 13']),
        ([[1.0, -0.5]], [1], [0], ['centers[0]', 'height 9']),
        ([[float('nan'), 2.0]], [1], [0], ['centers[0]', 'nan']),
        ([[1.0, 2.0]], [-2], [0], ['radii[0]', '-2']),
        ([[1.0, 2.0]], [1], [2], ['labels[0]', '2 classes']),
    ],
)
def test_draw_center_heatmap_names_the_bad_item(centers, radii, labels, words):
    with pytest.raises(ValueError) as error:
        draw_center_heatmap(
            torch.tensor(centers), torch.tensor(radii), torch.tensor(labels), 2, (9, 13))
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize('kernel', [1, 3, 5, 7])
@pytest.mark.parametrize('size', [(1, 1), (1, 9), (7, 1), (2, 3), (6, 11)])
def test_local_maximum_equals_max_pool(kernel, size):
    heatmap = torch.randint(0, 9, (2, 3, *size)).float()
    pooled = torch.nn.functional.max_pool2d(heatmap, kernel, 1, kernel // 2)
    assert torch.equal(local_maximum(heatmap, kernel), pooled)


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize(('size', 'topk'), [((5, 8), 4), ((9, 6), 20), ((1, 7), 3), ((4, 4), 1)])
def test_find_peaks_equals_loop(size, topk, channels_last):
    torch.manual_seed(1)
    heatmap = torch.randn(3, 4, *size)
    given_map = heatmap.to(memory_format=torch.channels_last) if channels_last else heatmap
    scores, cells, labels = find_peaks(given_map, topk)
    for image in range(3):
        expected = [(score, label, y * size[1] + x)
                    for score, label, x, y in peaks_slowly(heatmap[image])[:topk]]
        got = list(zip(scores[image].tolist(), labels[image].tolist(), cells[image].tolist()))
        assert [g for g in got if g[0] > -math.inf] == expected


def test_find_peaks_with_fewer_cells_or_peaks_than_wanted():
    heatmap = torch.zeros(1, 1, 2, 3) - torch.arange(6.0).view(1, 1, 2, 3)
    scores, cells, labels = find_peaks(heatmap, 100)
    assert scores.shape == cells.shape == labels.shape == (1, 6)
    assert scores[0, 0] == 0 and cells[0, 0] == 0
    assert (scores[0, 1:] == -math.inf).all()


def test_find_peaks_keeps_all_of_a_plateau():
    heatmap = torch.full((1, 1, 4, 4), -5.0)
    heatmap[0, 0, 1, 1:3] = 2.0
    scores, cells, _ = find_peaks(heatmap, 2)
    assert scores.tolist() == [[2.0, 2.0]]
    assert sorted(cells[0].tolist()) == [5, 6]


def test_find_peaks_refuses_an_even_kernel():
    with pytest.raises(ValueError, match='kernel = 4'):
        find_peaks(torch.zeros(1, 1, 4, 4), 1, kernel=4)


def test_gather_cells_equals_loop():
    torch.manual_seed(0)
    features = torch.randn(2, 3, 4, 7)
    cells = torch.randint(0, 28, (2, 5))
    got = gather_cells(features, cells)
    for b in range(2):
        for k in range(5):
            y, x = divmod(int(cells[b, k]), 7)
            assert torch.equal(got[b, k], features[b, :, y, x])


@pytest.mark.parametrize('bound', [None, 9])
@pytest.mark.parametrize('count', [0, 1, 25])
def test_find_cell_owners_equals_loop(count, bound):
    """Of equal Gaussians the last object's; objects of radius -1 own nothing."""
    torch.manual_seed(count)
    batch, height, width = 2, 11, 17
    centers = torch.stack(
        (torch.randint(0, width, (count,)), torch.randint(0, height, (count,))), dim=1)
    radii = torch.randint(-1, 6, (count,))
    images = torch.randint(0, batch, (count,))
    if count > 2:
        centers[2], radii[2], images[2] = centers[1], radii[1].clamp(min=2), images[1]
        radii[1] = radii[2]
    expected = {}
    for image in range(batch):
        mine = (images == image).nonzero().flatten()
        cells = owners_slowly(centers[mine].tolist(), radii[mine].tolist(), (height, width))
        for (y, x), (value, index) in cells.items():
            expected[(image * height + y) * width + x] = value, int(mine[index])
    owners = find_cell_owners(centers, radii, images, (height, width), bound)
    counted = owners.value > 0
    found = {
        place: (value, owner) for place, owner, value in zip(
            owners.positions[counted].tolist(), owners.owner[counted].tolist(),
            owners.value[counted].tolist(), strict=True)}
    assert len(found) == counted.sum()  # each cell once
    assert found.keys() == expected.keys()
    for place, (value, owner) in expected.items():
        assert found[place][0] == pytest.approx(value, rel=1e-5)
        assert found[place][1] == owner


def test_cell_positions_equals_loop():
    cells = torch.randint(0, 7 * 13, (2, 3, 4), generator=torch.Generator().manual_seed(0))
    positions = cell_positions(cells, 13)
    assert positions.shape == (2, 3, 4, 2) and positions.dtype == torch.int64
    for cell, (x, y) in zip(cells.flatten().tolist(), positions.view(-1, 2).tolist()):
        assert (y, x) == divmod(cell, 13)


@st.composite
def box_scenes(draw):
    """Boxes inside a map, some up to its far edge, some of them not valid."""
    batch, classes = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    height, width = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    boxes = []
    for _ in range(draw(st.integers(0, 6))):
        xs = sorted(draw(st.integers(0, 4 * width)) / 4 for _ in range(2))
        ys = sorted(draw(st.integers(0, 4 * height)) / 4 for _ in range(2))
        boxes.append((xs[0], ys[0], xs[1], ys[1], draw(st.integers(0, batch * classes - 1)),
                      draw(st.booleans())))
    return boxes, (batch, classes, height, width)


@settings(deadline=None, max_examples=60)
@given(box_scenes())
def test_count_boxes_equals_loop(scene):
    boxes, shape = scene
    expected = torch.zeros(shape, dtype=torch.int32).view(-1, *shape[2:])
    for x1, y1, x2, y2, plane, valid in boxes:
        for y in range(int(y1), min(int(y2), shape[2] - 1) + 1):
            for x in range(int(x1), min(int(x2), shape[3] - 1) + 1):
                expected[plane, y, x] += valid
    counts = count_boxes(
        torch.tensor([each[:4] for each in boxes]).view(-1, 4),
        torch.tensor([each[4] for each in boxes], dtype=torch.int64),
        torch.tensor([each[5] for each in boxes], dtype=torch.bool), shape)
    assert counts.dtype == torch.int32
    assert torch.equal(counts, expected.flatten())


@pytest.mark.parametrize('min_score', [-1.0, 0.5, 2.0])
def test_find_nearest_peaks_equals_loop(min_score):
    """Where no peak scores enough the distance is infinite."""
    torch.manual_seed(0)
    points, peaks = torch.rand(2, 6, 3, 2) * 20, torch.rand(2, 3, 5, 2) * 20
    scores = torch.rand(2, 3, 5)
    nearest, found_scores, distances = find_nearest_peaks(points, peaks, scores, min_score)
    assert nearest.shape == (2, 6, 3, 2) and found_scores.shape == distances.shape == (2, 6, 3)
    for b in range(2):
        for n in range(6):
            for k in range(3):
                candidates = [(*xy, score) for xy, score in zip(
                    peaks[b, k].tolist(), scores[b, k].tolist())]
                best = nearest_peaks_slowly(points[b, n, k].tolist(), candidates, min_score)
                if best is None:
                    assert distances[b, n, k] == math.inf
                    continue
                distance, index = best
                assert float(distances[b, n, k]) == pytest.approx(distance, rel=1e-5)
                assert torch.equal(nearest[b, n, k], peaks[b, k, index])
                assert found_scores[b, n, k] == scores[b, k, index]
    assert (min_score == 2) == bool(distances.isinf().all())


def test_find_nearest_peaks_of_no_points():
    nearest, scores, distances = find_nearest_peaks(
        torch.zeros(2, 0, 3, 2), torch.rand(2, 3, 5, 2), torch.rand(2, 3, 5), 0.1)
    assert nearest.shape == (2, 0, 3, 2) and scores.shape == distances.shape == (2, 0, 3)
