"""No device is waited for: nothing between images and losses, or images and detections, reads a
tensor's values on the host. On the meta device, which has no values, a read raises."""
import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.heads import on_meta
from helpers.models import build, samples
from mmengine.structures import InstanceData

import mmdet_centernet
from mmdet_centernet.models.dense_heads import (
    CenterHead,
    CenterNetHead,
    CenterNetMono3DHead,
    CenterNetPoseHead,
)
from mmdet_centernet.models.properties import LTRB, Attribute, Box, Keypoints, Quality
from mmdet_centernet.ops.heatmap import draw_sparse_heatmap

pytestmark = pytest.mark.usefixtures('mmdet_scope')
CLASSES, KEYPOINTS, HEIGHT, WIDTH = 3, 5, 12, 20
NAMES = ['tree', 'person', 'car']


def composed_head(*args, **options):
    """A head with attributes of all kinds, and keypoints of two classes."""
    head = CenterHead(*args, properties=[
        Box(CLASSES, per_class=True),
        Keypoints(KEYPOINTS, classes=['person'], flip_pairs=[(1, 2)]),
        Keypoints(3, name='wheel', classes=['car'], flip_pairs=[]),
        Attribute('color', num_classes=4), Attribute('tags', 'multi_label', num_classes=2),
        Attribute('age', 'number')], **options)
    head.use_dataset(dict(classes=NAMES))
    return head


def star_head(*args, **options):
    """A head as CenterNet*'s, with qualities."""
    return CenterHead(*args, properties=[LTRB(more_pos=0.2), Quality()], num_convs=2,
                      norm_cfg=dict(type='GN', num_groups=2),
                      **{'coder': dict(heatmap='area'), **options})


def ttfnet_head(*args, **options):
    """A head as TTFNet's."""
    return CenterHead(*args, properties=[
        LTRB(cells='gaussian', log_area=True, base='corner', factor=4.0)],
        coder=dict(heatmap='sides'), **options)


HEADS = dict(detection=CenterNetHead, pose=CenterNetPoseHead, mono3d=CenterNetMono3DHead,
             composed=composed_head, star=star_head, ttfnet=ttfnet_head)
OPTIONS = dict(pose=dict(flip_pairs=[(1, 2)], num_keypoints=KEYPOINTS))
METAS = [dict(homography_matrix=np.eye(3), img_shape=(4 * HEIGHT, 4 * WIDTH),
              batch_input_shape=(4 * HEIGHT, 4 * WIDTH), cam2img=np.eye(3, 4))] * 2


def make_head(task, **options):
    with torch.device('meta'):
        return HEADS[task](
            num_classes=CLASSES, in_channels=8, feat_channels=8,
            **{**OPTIONS.get(task, {}), **options}).to('meta')


def outputs_of(head):
    features = torch.empty(2, 8, HEIGHT, WIDTH, device='meta', requires_grad=True)
    return head([features] * len(head.stacks))[0]


def instances_of(*counts):
    """Return ground truth with every field that a property needs."""
    return on_meta([InstanceData(
        bboxes=torch.zeros(count, 4), labels=torch.zeros(count).long(),
        keypoints=torch.zeros(count, KEYPOINTS, 2),
        keypoints_visible=torch.zeros(count, KEYPOINTS), bboxes_3d=torch.zeros(count, 7),
        alpha=torch.zeros(count), attribute_color=torch.zeros(count),
        attribute_tags=torch.zeros(count, 2), attribute_age=torch.zeros(count))
        for count in counts])


@pytest.mark.parametrize('task, options', [
    ('detection', dict()),
    ('detection', dict(coder=dict(radius='corrected', min_overlap=0.3))),
    ('detection', dict(num_stacks=2)), ('detection', dict(wh_per_class=True, dense_wh=True)),
    ('detection', dict(loss_bbox=dict(type='mmdet.GIoULoss'))),
    ('detection', dict(loss_center_heatmap=dict(
        type='mmdet_centernet.GaussianFocalLoss', min_probability=1e-4))),
    ('pose', dict(dense_displacement=True)), ('mono3d', dict(with_location_offset=True)),
    ('mono3d', dict(
        with_location_offset=True, coder=dict(peak='center_3d', outside='border'),
        depth_uncertainty=True, depth_focal=50, orientation_bins=12, aux_corners=True,
        loss_dims=dict(type='mmdet_centernet.DimensionAwareL1Loss'))),
    ('composed', dict()), ('star', dict()),
    ('star', dict(coder=dict(heatmap='area', ignore='region'), num_stacks=2)),
    ('ttfnet', dict())], ids=[
        'default', 'corrected radius', 'two stacks', 'dense sizes per class', 'GIoU',
        'clamped probability', 'pose', 'mono3d', 'mono3d plus', 'composed', 'CenterNet*',
        'CenterNet* of two stacks', 'TTFNet'])
def test_losses_wait_for_nothing(task, options):
    head = make_head(task, **options)
    for counts in ((4, 1), (0, 3), (0, 0)):
        losses = head.loss_by_feat(outputs_of(head), instances_of(*counts), METAS)
        assert all(loss.is_meta and loss.shape == () for loss in losses.values())
        sum(losses.values()).backward()
        assert all(p.grad is not None and p.grad.is_meta for p in head.parameters()), counts
        head.zero_grad()


def test_whole_detector_trains_without_a_read():
    """From a batch on the device to gradients, with deformable convolutions."""
    model = build('configs/centernet_r18_dcn_140e_coco.py',
                  bbox_head__num_classes=CLASSES).to('meta')
    data = [sample.to('meta') for sample in samples(2, (64, 96), 3, CLASSES)]
    losses = model(torch.empty(2, 3, 64, 96, device='meta'), data, mode='loss')
    sum(losses.values()).backward()
    assert all(p.grad.is_meta for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize('task', HEADS)
def test_decode_waits_for_nothing(task):
    head = make_head(task, test_cfg=dict(topk=30))
    decoded = head.decode(
        outputs_of(head)[-1], dict(cam2img=torch.empty(2, 3, 4, device='meta')))
    assert all(value.is_meta for value in decoded.values())
    assert decoded['bboxes'].shape == (2, 30, 4)
    assert decoded['scores'].shape == decoded['labels'].shape == (2, 30)


def test_a_value_read_back_raises():
    """The tests above can fail: drawing without a known radius groups by radius."""
    empty = torch.empty(3, dtype=torch.int64, device='meta')
    arguments = torch.empty(3, 2, dtype=torch.int64, device='meta'), empty, empty, (1, 1, 8, 9)
    draw_sparse_heatmap(*arguments, max_radius=2)
    with pytest.raises((RuntimeError, NotImplementedError), match='meta'):
        draw_sparse_heatmap(*arguments)


@pytest.mark.parametrize('task', HEADS)
def test_predictions_are_read_once(task, monkeypatch):
    """The host only asks how many detections exceed the threshold; that is the last step, so
    that a device works on until there."""
    head = make_head(task, test_cfg=dict(max_per_img=9))
    outputs = outputs_of(head)
    with pytest.raises((NotImplementedError, RuntimeError), match='meta'):
        head.predict_by_feat(outputs, METAS)
    reads = []

    def counted(tensor):
        reads.append(tensor.shape)
        return [5, 0]

    monkeypatch.setattr(torch.Tensor, 'tolist', counted)
    found = head.predict_by_feat(outputs, METAS)
    assert reads == [(2,)]
    assert [len(instances) for instances in found] == [5, 0]


@pytest.mark.parametrize('task', HEADS)
def test_flipped_images_are_merged_without_a_read(task):
    head = make_head(task)
    features = torch.empty(4, 8, HEIGHT, WIDTH, device='meta')
    merged = head.merge_flipped(head.forward_last([features]))
    assert all(value.shape[0] == 2 and value.is_meta for value in merged.values())


# Methods that wait for a device; int(), float() and bool() of a tensor do as well.
READS = {'item', 'tolist', 'cpu', 'numpy', 'nonzero', 'unique', 'masked_select', 'argwhere',
         'synchronize', 'is_nonzero', 'equal', 'allclose'}
CONVERSIONS = {'int', 'float', 'bool'}
WATCHED = ('ops/heatmap.py', 'ops/multi_bin.py', 'ops/radius.py', 'ops/transforms.py',
           'models/dense_heads/*.py', 'models/losses/*.py', 'models/properties/*.py')
#: (file, function): what it calls, and why it may.
ALLOWED = {
    ('heatmap.py', '_same_windows'): (
        {'int', 'nonzero', 'tolist', 'unique'},
        'only where radii are on a CPU, which has nothing to wait for: no bound is given'),
    ('heatmap.py', 'draw_center_heatmap'): (
        {'int', 'item', 'nonzero', 'tolist'},
        'the checked, dense form for other uses; coders take the sparse one'),
    ('heatmap.py', 'find_peaks'): ({'float'}, 'a constant'),
    ('center_coder.py', 'locate'): ({'float', 'int'}, 'of a shape, on the CPU'),
    ('center_head.py', 'predict_by_feat'): (
        {'tolist'}, 'the one read: how many detections each image has'),
    ('boxes_3d.py', 'measured_boxes'): ({'bool'}, 'of metainfo'),
}


def reads_in(source):
    """(function, what) of each call in a source text that may wait for a device."""
    found = []

    def visit(node, function):
        for child in ast.iter_child_nodes(node):
            inner = child.name if isinstance(child, ast.FunctionDef) else function
            if isinstance(child, ast.Call):
                called = child.func
                if isinstance(called, ast.Attribute) and called.attr in READS:
                    found.append((function, called.attr))
                elif isinstance(called, ast.Name) and called.id in CONVERSIONS:
                    found.append((function, called.id))
            visit(child, inner)

    visit(ast.parse(source), '')
    return found


def test_lint_finds_reads():
    source = 'def f(x):\n    if x.any().item():\n        return int(x), x.shape\n'
    assert reads_in(source) == [('f', 'item'), ('f', 'int')]


def test_hot_paths_read_only_where_allowed():
    """Lint branches that are not taken on the meta device."""
    package = Path(mmdet_centernet.__file__).parent
    found = {
        (path.name, function, what)
        for pattern in WATCHED for path in package.glob(pattern)
        for function, what in reads_in(path.read_text())}
    allowed = {(*place, what) for place, (calls, _) in ALLOWED.items() for what in calls}
    assert found - allowed == set(), 'each waits for the device, or says here why not'
    assert allowed - found == set(), 'no longer there'
