"""Drawing, finding and reading peaks against loops in float64."""
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmdet_centernet.ops.heatmap import (
    draw_center_heatmap,
    draw_sparse_heatmap,
    find_cell_owners,
    find_peaks,
    gather_cells,
    local_maximum,
)


def draw_slowly(centers, radii, labels, num_classes, feat_size):
    height, width = feat_size
    heatmap = torch.zeros(num_classes, height, width, dtype=torch.float64)
    for (cx, cy), radius, label in zip(centers.tolist(), radii.tolist(), labels.tolist()):
        sigma = (2 * radius + 1) / 6
        for y in range(height):
            for x in range(width):
                if abs(x - cx) <= radius and abs(y - cy) <= radius:
                    value = math.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * sigma**2))
                    heatmap[label, y, x] = max(float(heatmap[label, y, x]), value)
    return heatmap


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
def test_draw_equals_loop(scene):
    centers, radii, labels, feat_size = scene
    expected = draw_slowly(centers, radii, labels, 3, feat_size)
    drawn = draw_center_heatmap(centers, radii, labels, 3, feat_size)
    assert drawn.dtype == torch.float32
    torch.testing.assert_close(drawn.double(), expected, rtol=1e-5, atol=1e-7)
    for (x, y), label in zip(centers.tolist(), labels.tolist()):
        assert drawn[label, y, x] == 1


@settings(deadline=None, max_examples=40)
@given(scenes(), st.integers(9, 12))
def test_known_bound_draws_the_same(scene, bound):
    """The form for devices that must not be waited for equals the one for CPUs."""
    centers, radii, labels, (height, width) = scene
    shape = (1, 3, height, width)
    grouped = draw_sparse_heatmap(centers, radii, labels, shape)
    bounded = draw_sparse_heatmap(centers, radii, labels, shape, max_radius=bound)
    torch.testing.assert_close(grouped.to_dense(), bounded.to_dense(), rtol=0, atol=0)
    assert grouped.num_peaks() == bounded.num_peaks()


@settings(deadline=None, max_examples=40)
@given(scenes())
def test_sparse_entries_describe_the_dense_map(scene):
    centers, radii, labels, (height, width) = scene
    sparse = draw_sparse_heatmap(centers, radii, labels, (1, 3, height, width))
    dense = sparse.to_dense().view(-1)
    assert torch.equal(dense[sparse.positions], sparse.value)
    once = sparse.positions[sparse.unique]
    assert len(once) == len(once.unique()) == len(sparse.positions.unique())
    assert sparse.num_peaks() == (dense == 1).sum()


def test_objects_of_radius_minus_one_are_not_drawn():
    centers = torch.tensor([[2, 1], [4, 3]])
    radii = torch.tensor([-1, 1])
    for bound in (None, 3):
        dense = draw_sparse_heatmap(
            centers, radii, torch.zeros(2).long(), (1, 1, 5, 7), bound).to_dense()
        assert dense[0, 0, 1, 2] == 0
        assert dense[0, 0, 3, 4] == 1


def test_fractional_centers_and_radii_are_floored():
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
def test_draw_names_the_bad_item(centers, radii, labels, words):
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


def peaks_slowly(heatmap, kernel):
    """All (score, label, cell), best first."""
    classes, height, width = heatmap.shape
    half, found = kernel // 2, []
    for c in range(classes):
        for y in range(height):
            for x in range(width):
                window = heatmap[c, max(0, y - half):y + half + 1, max(0, x - half):x + half + 1]
                if heatmap[c, y, x] >= window.max():
                    found.append((float(heatmap[c, y, x]), c, y * width + x))
    return sorted(found, reverse=True)


@pytest.mark.parametrize('channels_last', [False, True])
@pytest.mark.parametrize(('size', 'topk'), [((5, 8), 4), ((9, 6), 20), ((1, 7), 3), ((4, 4), 1)])
def test_find_peaks_equals_loop(size, topk, channels_last):
    torch.manual_seed(1)
    heatmap = torch.randn(3, 4, *size)
    given_map = heatmap.to(memory_format=torch.channels_last) if channels_last else heatmap
    scores, cells, labels = find_peaks(given_map, topk)
    for image in range(3):
        expected = peaks_slowly(heatmap[image], 3)[:topk]
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
def test_cell_owners_equal_loop(count, bound):
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
    for n in range(count):
        (cx, cy), r = centers[n].tolist(), int(radii[n])
        for y in range(max(cy - r, 0), min(cy + r + 1, height)):
            for x in range(max(cx - r, 0), min(cx + r + 1, width)):
                value = math.exp(-((x - cx) ** 2 + (y - cy) ** 2) * 18 / (2 * r + 1) ** 2)
                place = (int(images[n]) * height + y) * width + x
                if value >= expected.get(place, (0, 0))[0] - 1e-9:
                    expected[place] = value, n
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
