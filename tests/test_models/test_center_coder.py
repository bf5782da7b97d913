"""Centers on the heatmap and its peaks, against loops."""
import math

import numpy as np
import pytest
import torch
from helpers.boxes_3d import CELLS, box_at, tensors
from helpers.heads import on_meta
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData
from reference.detection import STRIDE, encode_slowly
from reference.heatmap import peaks_slowly
from reference.mono3d import sample_slowly

from mmdet_centernet.models.dense_heads import CenterCoder
from mmdet_centernet.ops.heatmap import draw_gaussians
from mmdet_centernet.ops.radius import gaussian_radius

NAN = float('nan')
FORMULAS = dict(official=0.7, corrected=0.3)
#: The original implementation's settings for 3D boxes.
OFFICIAL_3D = dict(radius='official', min_overlap=0.7, shared_cells='all', round_up=False)


def instances_of(boxes, labels):
    return InstanceData(bboxes=torch.as_tensor(boxes, dtype=torch.float32).view(-1, 4),
                        labels=torch.as_tensor(labels, dtype=torch.int64))


def encode(coder, instances, shape, ignored=None, metas=None):
    return coder.encode(instances, metas or [{}] * len(instances), shape, ignored)


@st.composite
def batches(draw):
    height, width = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    images = []
    for _ in range(draw(st.integers(1, 3))):
        count = draw(st.integers(0, 4))
        # Quarter pixels are exact in float32, so that both sides truncate alike.
        corner = st.integers(-40, 4 * STRIDE * 14).map(lambda v: v / 4)
        boxes = [[draw(corner), draw(corner)] for _ in range(count)]
        size = st.integers(0, 4 * STRIDE * 14).map(lambda v: v / 4)
        boxes = [[x, y, x + draw(size), y + draw(size)] for x, y in boxes]
        images.append([(draw(st.integers(0, 1)), box) for box in boxes])
    return images, (len(images), 2, height, width)


@settings(deadline=None, max_examples=80)
@given(batches(), st.sampled_from([*FORMULAS.items()]), st.sampled_from(['last', 'all']),
       st.booleans())
def test_encode_equals_loop(batch, radius, shared_cells, round_up):
    images, shape = batch
    coder = CenterCoder(STRIDE, *radius, round_up=round_up, shared_cells=shared_cells)
    centers, target = encode(coder, [
        instances_of([box for _, box in image], [label for label, _ in image])
        for image in images], shape)
    expected = encode_slowly(images, shape, *radius, shared_cells, round_up)
    torch.testing.assert_close(
        target.heatmap.to_dense().double(), torch.from_numpy(expected.heatmap),
        rtol=1e-5, atol=1e-6)
    assert target.ignored is None
    count = sum(map(len, images))
    assert centers.weight.tolist() == [float(number in expected.objects) for number in range(
        count)]
    assert centers.shape == shape and centers.stride == STRIDE
    for number, entry in expected.objects.items():
        assert centers.images[number] == entry.image
        assert centers.labels[number] == entry.label
        assert centers.xy[number].tolist() == [entry.x, entry.y]
        assert centers.cells[number] == entry.y * shape[3] + entry.x
        assert centers.radius[number] == entry.radius
        assert centers.wh[number].tolist() == pytest.approx(entry.wh, abs=1e-5)
        assert centers.offset[number].tolist() == pytest.approx(entry.offset, abs=1e-5)


@pytest.mark.parametrize(
    'box', [[8, 8, 8, 20], [20, 8, 10, 16], [-30, 4, -2, 12], [200, 4, 220, 9],
            [NAN, 4, 12, 12], [4, 4, float('inf'), NAN], [62, 4, 66, 8]],
    ids=['no width', 'negative width', 'left of it', 'right of it', 'NaN', 'inf and NaN',
         'in the last pixels'])
def test_encode_skips_useless_boxes(box):
    """Only the useful one of two is drawn; nothing becomes NaN."""
    centers, target = encode(
        CenterCoder(), [instances_of([box, [4.0, 4, 20, 16]], [0, 1])], (1, 2, 8, 16))
    dense = target.heatmap.to_dense()
    expected = 1.0 if box == [62, 4, 66, 8] else 0.0
    assert centers.weight.tolist() == centers.valid.tolist() == [expected, 1.0]
    assert (dense[0, 0].max() == 1) == bool(expected)
    assert dense[0, 1].max() == 1
    for tensor in (dense, centers.wh, centers.offset):
        assert torch.isfinite(tensor).all()


def test_encode_center_on_the_far_edge_is_outside_the_map():
    """A box of zero visible width at the right edge has no cell."""
    centers, target = encode(CenterCoder(), [instances_of([[64.0, 0, 80, 8]], [0])], (1, 1, 4, 16))
    assert centers.weight.tolist() == [0]
    assert target.heatmap.num_peaks() == 0


def test_encode_skips_labels_that_are_not_a_class():
    centers, target = encode(
        CenterCoder(), [instances_of([[4.0, 4, 20, 16]] * 2, [2, -1])], (1, 2, 8, 16))
    assert centers.weight.tolist() == [0, 0]
    assert target.heatmap.to_dense().max() == 0


def test_encode_batch_without_objects():
    centers, target = encode(CenterCoder(), [instances_of([], [])] * 2, (2, 3, 4, 5))
    assert len(centers.wh) == len(centers.weight) == 0
    assert target.heatmap.to_dense().shape == (2, 3, 4, 5)
    assert target.heatmap.num_peaks() == 0


def test_max_radius_bounds_every_box_in_the_map():
    """A CPU, where nothing has to be waited for, has no bound."""
    sizes = torch.cartesian_prod(torch.arange(1, 14.0), torch.arange(1, 10.0))
    for radius, overlap in FORMULAS.items():
        coder = CenterCoder(STRIDE, radius, overlap)
        nothing = [instances_of([], [])]
        assert encode(coder, nothing, (1, 1, 9, 13))[0].max_radius is None
        bound = encode(coder, on_meta(nothing), (1, 1, 9, 13))[0].max_radius
        assert gaussian_radius(sizes, radius, overlap).floor().max() <= bound


@pytest.mark.parametrize('shared_cells', ['last', 'all'])
@pytest.mark.parametrize('radius', [*FORMULAS.items()], ids=str)
def test_encode_waits_for_nothing(radius, shared_cells):
    """The meta device has no values to read."""
    instances = on_meta([instances_of(torch.rand(5, 4), [0] * 5), instances_of([], [])])
    coder = CenterCoder(4, *radius, shared_cells=shared_cells)
    centers, target = encode(coder, instances, (2, 4, 12, 20))
    assert target.heatmap.to_dense().shape == (2, 4, 12, 20)
    assert target.heatmap.num_peaks().is_meta and centers.weight.shape == (5,)


def test_encode_rounds_sizes_up_only_if_asked():
    """The original does so for 2D boxes and poses, but not for 3D boxes."""
    box = box_at(50, 24, 4 * 6.2, 4 * 8.05, 0)
    instances = [instances_of([box.bbox], [0])]
    drawn, rounded = (
        encode(CenterCoder(**{**OFFICIAL_3D, 'round_up': round_up}), instances, (1, 3, 12, 24))[
            1].heatmap.to_dense()[0, 0] for round_up in (False, True))
    expected = sample_slowly([box], (3, 12, 24), CELLS, np.eye(3, 4)).heatmap[0]
    np.testing.assert_allclose(drawn, expected, atol=1e-5)
    assert not torch.equal(rounded, drawn)


def test_encode_trains_the_last_of_objects_in_one_cell_if_asked():
    objects = [box_at(50, 30, 20, 16, 1), box_at(50.5, 30, 30, 16, 0)]
    instances = [instances_of([each.bbox for each in objects], [1, 0])]
    for choice, weights in (('all', [1, 1]), ('last', [0, 1])):
        centers, target = encode(
            CenterCoder(**{**OFFICIAL_3D, 'shared_cells': choice}), instances, (1, 3, 12, 24))
        assert centers.weight.tolist() == weights
        assert target.heatmap.num_peaks() == 2


def encode_ignored(objects, ignore, shape=(1, 3, 12, 24), **options):
    """Return centers, dense heatmap and mask of one image; objects of other types are ignored."""
    boxes, labels, _, _, ignored_boxes, ignored_labels = tensors(objects)
    centers, target = encode(
        CenterCoder(**{**OFFICIAL_3D, 'ignore': ignore, **options}),
        [instances_of(boxes, labels)], shape, [instances_of(ignored_boxes, ignored_labels)])
    return centers, target.heatmap.to_dense()[0], target.ignored[0]


@pytest.mark.parametrize('order', [1, -1], ids=['object first', 'object last'])
@pytest.mark.parametrize('ignore', ['center', 'region'])
def test_encode_trains_a_center_where_something_is_ignored(ignore, order):
    """In the original a later box to be ignored wipes it out. A center of another class is
    ignored like any cell."""
    objects = [box_at(50, 30, 20, 16, 1), box_at(50, 30, 40, 30, 'DontCare')][::order]
    centers, heatmap, ignored = encode_ignored(objects, ignore)
    assert (heatmap == 1).sum() == 1
    assert heatmap[1, 7, 12] == 1
    assert centers.weight.tolist() == [1]
    assert not ignored[1, 7, 12]
    assert ignored[0, 7, 12] and ignored[2, 7, 12]
    if ignore == 'region':
        assert ignored[1].sum() + 1 == ignored[0].sum() == 11 * 9
    else:
        assert ignored.sum() == 2
        assert heatmap[0, 7, 13] > 0  # around it a Gaussian, as around an object
    assert not heatmap[ignored].any()


@pytest.mark.parametrize('ignore', ['center', 'region'])
def test_encode_ignores_neighbors_for_their_own_class(ignore):
    kinds = dict(Van=[1], Truck=[1], Person_sitting=[0], DontCare=[0, 1, 2])
    for kind, classes in kinds.items():
        _, heatmap, ignored = encode_ignored([box_at(50, 30, 20, 16, kind)], ignore)
        assert ignored.any(dim=(1, 2)).nonzero().flatten().tolist() == classes
        assert not (heatmap == 1).any()
        if ignore == 'region':
            assert not heatmap.any()
        else:
            assert heatmap.amax(dim=(1, 2)).nonzero().flatten().tolist() == classes


def test_encode_ignores_regions_at_the_border():
    """The last cells of boxes that reach over the far edge of the map are ignored, too."""
    objects = [box_at(90, 40, 40, 30, 'DontCare'), box_at(0, 0, 10, 12, 'Van')]
    wanted = torch.zeros(3, 12, 24, dtype=torch.bool)
    wanted[:, 6:, 17:] = True
    wanted[1, :2, :2] = True
    for radius, overlap in FORMULAS.items():
        _, _, ignored = encode_ignored(objects, 'region', radius=radius, min_overlap=overlap)
        assert torch.equal(ignored, wanted)


@pytest.mark.parametrize('ignore', ['center', 'region'])
def test_encode_rows_to_be_ignored_for_no_class_change_nothing(ignore):
    """Labels that are not a class, and boxes that are not numbers or outside."""
    instances = [instances_of([box_at(50, 30, 20, 16, 1).bbox], [1])]
    rows = instances_of(
        [[40.0, 20, 60, 40], [40, 20, 60, 40], [NAN, 20, 60, 40], [40, 20, 40, 40],
         [-90, 10, -50, 40], [200, 10, 300, 40]], [3, -2, -1, -1, -1, 1])
    coder = CenterCoder(ignore=ignore, **OFFICIAL_3D)
    _, plain = encode(coder, instances, (1, 3, 12, 24))
    _, target = encode(coder, instances, (1, 3, 12, 24), [rows])
    assert torch.equal(target.heatmap.to_dense(), plain.heatmap.to_dense())
    assert plain.ignored is None
    assert not target.ignored.any()


def test_encode_without_ignored_instances_has_no_mask():
    """Those of another pipeline are None; without ``ignore`` they are background."""
    instances = [instances_of([box_at(50, 30, 20, 16, 1).bbox], [1])] * 2
    row = instances_of([[40.0, 20, 60, 40]], [-1])
    for ignore in ('center', 'region'):
        coder = CenterCoder(ignore=ignore, **OFFICIAL_3D)
        for ignored in (None, [None, None], [row[:0], None]):
            assert encode(coder, instances, (2, 3, 12, 24), ignored)[1].ignored is None
        _, target = encode(coder, instances, (2, 3, 12, 24), [None, row])
        assert target.ignored.any(dim=(1, 2, 3)).tolist() == [False, True]
    assert encode(CenterCoder(), instances, (2, 3, 12, 24), [row, row])[1].ignored is None


@pytest.mark.parametrize('trusted', [True, False])
def test_encode_masks_rotated_images_unless_boxes_are_trusted(trusted):
    """The boxes around rotated boxes are too large: nothing is drawn there or trained at
    centers, but the objects are present, also those that the crop cuts off."""
    boxes = instances_of([[4.0, 4, 20, 16], [-40.0, 4, -20, 16]], [0, 1])
    upright, rotated = np.eye(3), np.array([[0.8, 0.6, 3], [-0.6, 0.8, 5], [0, 0, 1.0]])
    centers, target = encode(
        CenterCoder(trust_rotated_boxes=trusted), [boxes] * 3, (3, 2, 8, 16),
        metas=[dict(homography_matrix=upright), dict(homography_matrix=rotated), {}])
    dense = target.heatmap.to_dense()
    if trusted:
        assert target.ignored is None
        assert torch.equal(dense[0], dense[1])
        assert centers.weight.tolist() == centers.present.tolist() == [1, 0] * 3
        return
    assert target.ignored.expand(3, 2, 8, 16).flatten(1).all(dim=1).tolist() == [
        False, True, False]
    assert target.ignored.expand(3, 2, 8, 16).flatten(1).any(dim=1).tolist() == [
        False, True, False]
    assert (dense == 1).sum(dim=(1, 2, 3)).tolist() == [1, 0, 1] and not dense[1].any()
    assert centers.valid.tolist() == [True, False, False, False, True, False]
    assert centers.weight.tolist() == [1, 0, 0, 0, 1, 0]
    assert centers.present.tolist() == [True, False, True, True, True, False]


def test_encode_masks_rotated_images_and_ignored_instances_together():
    boxes, row = instances_of([[4.0, 4, 20, 16]], [0]), instances_of([[8.0, 8, 24, 24]], [1])
    metas = [{}, dict(homography_matrix=np.array([[0.8, 0.6, 3], [-0.6, 0.8, 5], [0, 0, 1]]))]
    _, target = encode(CenterCoder(ignore='region', trust_rotated_boxes=False), [boxes] * 2,
                       (2, 2, 8, 16), [row, None], metas)
    assert target.ignored[1].all()
    assert not target.ignored[0, 0].any()
    assert target.ignored[0, 1].nonzero().amin(dim=0).tolist() == [2, 2]


def test_encode_area_is_1_in_the_cell_of_the_center_wherever_it_lies():
    """And exp(-(d / r)^2) elsewhere; small boxes have the least radius."""
    coder = CenterCoder(heatmap='area')
    for x, y, side in ((18.0, 22.0, 32.0), (16.1, 20.1, 32.0), (19.9, 23.9, 8.0)):
        box = [x - side / 2, y - side / 2, x + side / 2, y + side / 2]
        heatmap = encode(coder, [instances_of([box], [0])], (1, 1, 12, 15))[1].heatmap.to_dense()
        radius = max(math.sqrt(2) / 9 * side, 4)
        for row in range(12):
            for column in range(15):
                square = (4 * column + 2 - x) ** 2 + (4 * row + 2 - y) ** 2
                value = 1 if (column, row) == (4, 5) else math.exp(-square / radius**2)
                assert float(heatmap[0, 0, row, column]) == pytest.approx(
                    value if value >= 1e-4 else 0, abs=1e-6)


@pytest.mark.parametrize('heatmap', ['area', 'sides'])
@pytest.mark.parametrize('ignore', ['center', 'region'])
def test_encode_with_a_bound_is_the_same(heatmap, ignore):
    """With all kinds of heatmaps, and instances to be ignored."""
    torch.manual_seed(0)
    corner = torch.rand(12, 2) * 40
    boxes = torch.cat((corner, corner + torch.rand(12, 2) * 30), dim=1).tolist()
    labels = [index % 3 for index in range(12)]
    given = [instances_of(boxes[:8], labels[:8])]
    ignored = [instances_of(boxes[8:], labels[8:])]
    shape = (1, 3, 14, 17)
    coder = CenterCoder(heatmap=heatmap, ignore=ignore)
    centers, target = encode(coder, given, shape, ignored)
    assert centers.gaussians.max_half is None
    largest = int(centers.gaussians.half.max())
    bounded = draw_gaussians(centers.gaussians._replace(max_half=largest + 2),
                             centers.images * 3 + centers.labels, shape)
    free = coder.encode(given, [{}], shape)[1].heatmap
    torch.testing.assert_close(bounded.to_dense(), free.to_dense())
    mask = target.ignored.expand(shape)
    assert mask.any() and not target.heatmap.to_dense()[mask].any()


def test_encode_lists_must_fit_the_batch():
    with pytest.raises(ValueError, match='batch of 2 images'):
        encode(CenterCoder(), [instances_of([], [])], (2, 1, 4, 4))


@pytest.mark.parametrize('options, words', [
    (dict(radius='mmdet'), "radius = 'mmdet'"), (dict(shared_cells='first'), 'shared_cells'),
    (dict(stride=0), 'stride = 0'), (dict(ignore='box'), "ignore = 'box'"),
    (dict(heatmap='disk'), "heatmap = 'disk'"),
    (dict(alpha=0.5), "alpha belongs to heatmap='sides'"),
    (dict(heatmap='sides', min_radius=4), "min_radius belongs to heatmap='area'"),
    (dict(heatmap='sides', min_overlap=0.5), 'min_overlap has no effect'),
    (dict(heatmap='sides', alpha=1.5), 'alpha = 1.5')])
def test_init_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        CenterCoder(**options)


@pytest.mark.parametrize('count, kernel', [(5, 3), (40, 5), (1000, 3)])
def test_decode_equals_loop(count, kernel):
    """Where an image has fewer peaks than wanted scores are exactly 0."""
    torch.manual_seed(0)
    logits = torch.randn(3, 2, 7, 11) * 3
    cameras = dict(cam2img=torch.rand(3, 3, 4))
    peaks = CenterCoder(stride=8).decode(logits, count, kernel, cameras)
    assert (peaks.stride, peaks.kernel) == (8, kernel) and peaks.inputs is cameras
    assert peaks.scores.shape == (3, min(count, 2 * 7 * 11))
    for image in range(3):
        expected = peaks_slowly(logits[image].double(), kernel)[:count]
        found = int((peaks.scores[image] > 0).sum())
        assert found == len(expected)
        assert not peaks.scores[image, found:].any()
        for n, (logit, label, x, y) in enumerate(expected):
            assert float(peaks.scores[image, n]) == pytest.approx(1 / (1 + math.exp(-logit)))
            assert peaks.labels[image, n] == label
            assert peaks.xy[image, n].tolist() == [x, y]
            assert peaks.cells[image, n] == y * 11 + x
