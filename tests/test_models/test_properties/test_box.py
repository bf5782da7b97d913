"""2D boxes: every option of their targets, losses and decoding against loops."""
import math

import numpy as np
import pytest
import torch
from helpers.boxes import (
    CLASSES,
    assert_losses,
    images_of,
    make_objects,
    make_outputs,
    regression_slowly,
)
from helpers.heads import as_probabilities, encode, perfect_outputs
from mmengine.structures import InstanceData
from reference.boxes import giou_slowly
from reference.detection import STRIDE, decode_slowly, encode_slowly
from reference.heatmap import mean_focal_slowly

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterHead, CenterNetHead
from mmdet_centernet.models.properties import Box

pytestmark = pytest.mark.usefixtures('mmdet_scope')
SIZE = 18, 26
FOCAL = dict(type='mmdet_centernet.GaussianFocalLoss', min_probability=1e-4)
COUNTS = pytest.mark.parametrize('counts', [(12, 0, 5), (1, 0), (0, 0)], ids=str)
GIOU = dict(type='mmdet.GIoULoss', loss_weight=2.0)


def make_head(**options):
    """A head with the original's settings."""
    torch.manual_seed(0)
    head = CenterNetHead(**{**dict(
        num_classes=CLASSES, in_channels=6, feat_channels=5, normalizer='objects',
        coder=dict(type='mmdet_centernet.CenterCoder', radius='official', min_overlap=0.7,
                   shared_cells='all'),
        loss_center_heatmap=FOCAL), **options})
    head.init_weights()
    return head


def scene(*counts, wh_channels=2):
    """Return outputs, instances, and the reference's targets."""
    outputs = make_outputs(len(counts), 1, wh_channels, spread=5, size=SIZE)
    instances = make_objects(*counts, size=SIZE)
    return outputs, instances, encode_slowly(
        images_of(instances), tuple(outputs['heatmap'].shape))


def check_losses(head, outputs, instances, expected, **sizes):
    """Check the losses; those of heatmap and offset are always the same."""
    objects = expected.objects.values()
    losses = head.loss_by_feat([outputs], instances, [{}] * len(instances))
    assert_losses(losses, dict(
        dict(center_heatmap=mean_focal_slowly(outputs['heatmap'], expected.heatmap),
             offset=regression_slowly(
                 objects, outputs['offset'], 'offset', 2 * len(objects) + 1e-4)), **sizes))


def first_of_class(entry):
    return 2 * entry.label


@COUNTS
def test_losses_per_class_equal_loop(counts):
    outputs, instances, expected = scene(*counts, wh_channels=2 * CLASSES)
    objects = expected.objects.values()
    check_losses(
        make_head(wh_per_class=True), outputs, instances, expected,
        wh=0.1 * regression_slowly(objects, outputs['wh'], 'wh', 2 * len(objects) + 1e-4,
                                   first=first_of_class))


@COUNTS
def test_losses_relative_to_the_size_equal_loop(counts):
    outputs, instances, expected = scene(*counts)
    objects, total = expected.objects.values(), 0.0
    for entry in objects:
        for axis in range(2):
            pred = float(outputs['wh'][entry.image, axis, entry.y, entry.x])
            total += abs(pred / (entry.wh[axis] + 1e-4) - 1)
    check_losses(
        make_head(loss_wh=dict(type='mmdet_centernet.NormalizedL1Loss', loss_weight=0.1)),
        outputs, instances, expected, wh=0.1 * total / (2 * len(objects) + 1e-4))


def dense_loss_slowly(wh, owners, first=lambda entry: 0):
    """Return the mean error of sizes at all cells that Gaussians reach, weighted by them."""
    total, weights = 0.0, 0.0
    for image, cells in enumerate(owners):
        for (y, x), (value, entry) in cells.items():
            for axis in range(2):
                pred = float(wh[image, first(entry) + axis, y, x])
                total += value * abs(pred - entry.wh[axis])
                weights += value
    return total / (weights + 1e-4)


@COUNTS
def test_dense_losses_equal_loop(counts):
    """At each cell the size of the object with the largest Gaussian, weighted by it.

    The original compares Gaussians in two precisions, and forgets the size where the coarser
    one is larger; compared here in one.
    """
    outputs, instances, expected = scene(*counts)
    if counts[0] > 2:
        owners = {id(entry) for cells in expected.owners for _, entry in cells.values()}
        cells = sum(map(len, expected.owners))
        assert cells > 3 * len(expected.objects) and len(owners) > 10
    check_losses(make_head(dense_wh=True), outputs, instances, expected,
                 wh=0.1 * dense_loss_slowly(outputs['wh'], expected.owners))


def test_dense_losses_per_class_equal_loop():
    outputs, instances, expected = scene(9, 4, wh_channels=2 * CLASSES)
    check_losses(
        make_head(dense_wh=True, wh_per_class=True), outputs, instances, expected,
        wh=0.1 * dense_loss_slowly(outputs['wh'], expected.owners, first_of_class))


def smooth_l1(difference):
    return 0.5 * difference**2 if abs(difference) < 1 else abs(difference) - 0.5


def test_smooth_l1_losses_equal_loop():
    """The original divides this one by objects, not by channels: hence weights of 2."""
    outputs, instances, expected = scene(14, 9)
    outputs['wh'][:, :, ::2] += 0.3
    objects = expected.objects.values()
    divisor = len(objects) + 1e-4
    check_losses(
        make_head(
            loss_wh=dict(type='mmdet.SmoothL1Loss', beta=1.0, loss_weight=0.2),
            loss_offset=dict(type='mmdet.SmoothL1Loss', beta=1.0, loss_weight=2.0)),
        outputs, instances, expected,
        wh=0.1 * regression_slowly(objects, outputs['wh'], 'wh', divisor, smooth_l1),
        offset=regression_slowly(objects, outputs['offset'], 'offset', divisor, smooth_l1))


def giou_loss_slowly(outputs, expected, first=lambda entry: 0):
    total = 0.0
    for entry in expected.objects.values():
        at = entry.image, slice(None), entry.y, entry.x
        boxes = []
        for offset, wh in [
            (outputs['offset'][at].tolist(),
             outputs['wh'][at][first(entry):first(entry) + 2].tolist()),
            (entry.offset, entry.wh),
        ]:
            boxes.append([
                entry.x + offset[0] - wh[0] / 2, entry.y + offset[1] - wh[1] / 2,
                entry.x + offset[0] + wh[0] / 2, entry.y + offset[1] + wh[1] / 2])
        total += 1 - giou_slowly(*boxes)
    return total


@COUNTS
def test_giou_losses_equal_loop(counts):
    outputs, instances, expected = scene(*counts)
    check_losses(
        make_head(loss_bbox=GIOU), outputs, instances, expected,
        bbox=2 * giou_loss_slowly(outputs, expected) / (len(expected.objects) + 1e-4))


def test_giou_losses_per_class_equal_loop():
    """The joint loss reads offset and the size of the object's own class."""
    outputs, instances, expected = scene(9, 4, wh_channels=2 * CLASSES)
    check_losses(
        make_head(loss_bbox=GIOU, wh_per_class=True), outputs, instances, expected,
        bbox=2 * giou_loss_slowly(outputs, expected, first_of_class) / (
            len(expected.objects) + 1e-4))


def test_giou_loss_turns_boxes_the_right_way_out():
    """Sizes below zero, as at the start of a training, must grow."""
    outputs, instances, _ = scene(2)
    wh = torch.full_like(outputs['wh'], -3.0).requires_grad_()
    losses = make_head(loss_bbox=dict(type='mmdet.GIoULoss')).loss_by_feat(
        [dict(outputs, wh=wh)], instances, [{}])
    losses['loss_bbox'].backward()
    reached = wh.grad[wh.grad != 0]
    assert len(reached) == 4
    assert (reached < 0).all()


@pytest.mark.parametrize(('options', 'words'), [
    (dict(loss_wh=dict(type='mmdet.L1Loss'), loss_bbox=GIOU), 'loss_wh=None'),
    (dict(loss_bbox=GIOU, dense_wh=True), 'dense_wh'),
    (dict(loss_bbox=GIOU, with_wh=False), 'with_wh'),
    (dict(loss_bbox=GIOU, with_offset=False), 'with_offset')])
def test_init_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        Box(**options)


@pytest.mark.parametrize(('radius', 'overlap'), [('official', 0.7), ('corrected', 0.3)])
@pytest.mark.parametrize('per_class', [False, True])
def test_decode_returns_what_was_encoded(radius, overlap, per_class):
    """Within a hundredth of a cell, for boxes inside the map that do not share cells."""
    torch.manual_seed(0)
    shape = (3, 5, 40, 56)
    instances = []
    for image in range(3):
        spots = torch.randperm(35)[:8 * image]  # the first image is empty
        center = torch.stack((spots % 7 * 30 + 20, spots // 7 * 28 + 20), dim=1).float()
        center += torch.rand(len(spots), 2) * 7
        size = 4 + torch.rand(len(spots), 2) * 20
        instances.append(InstanceData(
            bboxes=torch.cat((center - size / 2, center + size / 2), dim=1),
            labels=torch.randint(0, 5, (len(spots),))))
    head = CenterNetHead(
        5, 1, 1, wh_per_class=per_class, coder=dict(radius=radius, min_overlap=overlap),
        test_cfg=dict(topk=50))
    decoded = head.decode(perfect_outputs(head, encode(head, instances, shape)))
    for image, each in enumerate(instances):
        found = decoded['scores'][image] > 0.999
        boxes, labels = decoded['bboxes'][image][found], decoded['labels'][image][found]
        assert int(found.sum()) == len(each)
        distance = torch.cdist(each.bboxes, boxes, p=math.inf)
        best, which = distance.min(dim=1) if len(distance) else (distance.sum(1), [])
        assert (best < 0.01 * STRIDE).all()
        assert torch.equal(labels[which], each.labels)


def test_decode_per_class_reads_the_size_of_its_own_class():
    outputs = make_outputs(wh_channels=2 * CLASSES)
    head = make_head(wh_per_class=True, test_cfg=dict(max_per_img=40))
    found = head.predict_by_feat([outputs], [dict(homography_matrix=np.eye(3))] * 2)
    for image in range(2):
        expected = decode_slowly(as_probabilities(outputs, image), 40, per_class=True)
        assert {label for _, label, _ in expected} == set(range(CLASSES))
        assert found[image].labels.tolist() == [label for _, label, _ in expected]
        assert found[image].scores.tolist() == pytest.approx([score for score, _, _ in expected])
        for box, (_, _, wanted) in zip(found[image].bboxes.tolist(), expected, strict=True):
            assert box == pytest.approx(wanted, abs=1e-3)


def test_decode_without_branches():
    """Without an offset centers are in mid-cell; without a size there are no boxes."""
    outputs = make_outputs(spread=5)
    for options in (dict(with_offset=False), dict(with_wh=False)):
        head = CenterHead(CLASSES, 6, 5, [Box(**options)])
        left = {name: value for name, value in outputs.items() if name in head.branches}
        assert len(left) == 2
        decoded = head.decode(left)
        if 'with_wh' in options:
            assert set(decoded) == {'scores', 'labels'}
            continue
        for image in range(2):
            expected = decode_slowly(as_probabilities(left, image), 20)
            for n, (_, _, box) in enumerate(expected):
                assert decoded['bboxes'][image, n].tolist() == pytest.approx(box, abs=1e-3)


def test_encode_trains_only_objects_with_keypoints_if_asked():
    instances = InstanceData(
        bboxes=torch.tensor([[4.0, 4, 20, 16], [24, 4, 40, 16], [44, 4, 60, 16]]),
        labels=torch.tensor([0, 1, 0]),
        keypoints_visible=torch.tensor([[0.0, 0, 0], [0, 2, 0], [1, 1, 1]]))
    for asked, weights in ((True, [0, 1, 1]), (False, [1, 1, 1])):
        head = CenterHead(2, 1, 1, [Box(only_with_keypoints=asked)])
        targets = encode(head, [instances], (1, 2, 8, 16))
        assert targets.wh.weight.tolist() == targets.offset.weight.tolist() == weights
        assert targets.wh.count == targets.offset.count == sum(weights)
        assert targets.heatmap.heatmap.num_peaks() == 3


def test_to_image_shifts_sizes_if_asked():
    """As the original does for 3D: a size is mapped like a point, with the shift, too."""
    matrices = torch.tensor([[[2.0, 0, 7], [0, 3, -11], [0, 0, 1]]])
    fields = dict(bboxes=torch.tensor([[[10.0, 20, 30, 50]]]))
    assert Box().to_image(fields, matrices) == {}
    assert Box(shift_sizes=True).to_image({}, matrices) == {}
    moved = Box(shift_sizes=True).to_image(fields, matrices)['bboxes'][0, 0].tolist()
    center, size = (2 * 20 + 7, 3 * 35 - 11), (2 * 20 + 7, 3 * 30 - 11)
    assert moved == [center[0] - size[0] / 2, center[1] - size[1] / 2,
                     center[0] + size[0] / 2, center[1] + size[1] / 2]


def test_use_dataset_refuses_classes_whose_sizes_would_not_be_trained():
    box, mixed = Box(only_with_keypoints=True), dict(
        classes=['person', 'tree'], skeletons=dict(person=dict(num_keypoints=3)))
    with pytest.raises(UserError, match=r"objects with keypoints only, but \['tree'\] have none"):
        box.use_dataset(mixed)
    Box().use_dataset(mixed)
    for fits in ({}, dict(classes=['person']), dict(mixed, classes=['person'])):
        box.use_dataset(fits)


def test_describe_tells_shifted_sizes():
    assert Box(shift_sizes=True).describe() == dict(shift_sizes=True)
    assert Box().describe() == {}


def test_sizes_per_class_need_the_heads_number_of_classes():
    head = CenterHead(3, 4, 4, [Box(per_class=True)])
    instances = InstanceData(
        bboxes=torch.tensor([[4.0, 4, 20, 20]]), labels=torch.tensor([2]))
    with pytest.raises(UserError, match='needs num_classes=3'):
        head.encode([instances], [{}], (1, 3, 8, 8))
