"""A device is never waited for: nothing between images and losses, or images and detections,
reads a tensor's values on the host. On the meta device, which has no values, a read raises."""
import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from model_helpers import build, samples

import mmdet_centernet
from mmdet_centernet.models.dense_heads import (
    CenterNetHead,
    CenterNetMono3DHead,
    CenterNetPoseHead,
)

HEADS = dict(detection=CenterNetHead, pose=CenterNetPoseHead, mono3d=CenterNetMono3DHead)
CLASSES, HEIGHT, WIDTH = 3, 12, 20


@pytest.fixture(autouse=True)
def mmdet_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def make_head(task, **options):
    with torch.device('meta'):
        return HEADS[task](
            num_classes=CLASSES, in_channels=8, feat_channels=8, **options).to('meta')


def outputs_of(head):
    features = torch.empty(2, 8, HEIGHT, WIDTH, device='meta', requires_grad=True)
    return head([features])[0]


@pytest.mark.parametrize('options', [
    dict(),
    dict(coder=dict(type='mmdet_centernet.CenterNetBoxCoder', radius='corrected',
                    min_overlap=0.3)),
    dict(loss_center_heatmap=dict(
        type='mmdet_centernet.GaussianFocalLoss', min_probability=1e-4)),
], ids=['default', 'corrected radius', 'cut probability'])
@pytest.mark.parametrize('counts', [(4, 1), (0, 3), (0, 0)])
def test_detection_losses(options, counts):
    head = make_head('detection', **options)
    instances = [
        InstanceData(bboxes=torch.empty(count, 4, device='meta'),
                     labels=torch.empty(count, dtype=torch.int64, device='meta'))
        for count in counts]
    shape = (4 * HEIGHT, 4 * WIDTH)
    metas = [dict(img_shape=shape, batch_input_shape=shape)] * 2
    losses = head.loss_by_feat(outputs_of(head), instances, metas)
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.is_meta for p in head.parameters())


def test_whole_detector_learns_without_a_read():
    """From a batch on the device to gradients, with deformable convolutions."""
    model = build('configs/centernet_r18_dcn_140e_coco.py',
                  bbox_head__num_classes=CLASSES).to('meta')
    data = [sample.to('meta') for sample in samples(2, (64, 96), 3, CLASSES)]
    losses = model(torch.empty(2, 3, 64, 96, device='meta'), data, mode='loss')
    sum(losses.values()).backward()
    assert all(p.grad.is_meta for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize('task', HEADS)
def test_predictions_are_read_once(task, monkeypatch):
    """How many detections exceed the threshold is all that the host asks for; that is the
    last step, so that a device works on until there."""
    head = make_head(task, test_cfg=dict(max_per_img=9))
    metas = [dict(
        homography_matrix=np.eye(3), img_shape=(4 * HEIGHT, 4 * WIDTH),
        cam2img=np.eye(3, 4))] * 2
    outputs = outputs_of(head)
    with pytest.raises((NotImplementedError, RuntimeError), match='meta'):
        head.predict_by_feat(outputs, metas)
    reads = []

    def counted(tensor):
        reads.append(tensor.shape)
        return [5, 0]

    monkeypatch.setattr(torch.Tensor, 'tolist', counted)
    found = head.predict_by_feat(outputs, metas)
    assert reads == [(2,)]
    assert [len(instances) for instances in found] == [5, 0]


@pytest.mark.parametrize('task', HEADS)
def test_mirror_images_are_merged_without_a_read(task):
    head = make_head(task, **dict(pose=dict(flip_pairs=[(1, 2)])).get(task, {}))
    features = torch.empty(4, 8, HEIGHT, WIDTH, device='meta')
    merged = head.merge_flipped(head.forward_last([features]))
    assert all(value.shape[0] == 2 and value.is_meta for value in merged.values())


# Methods that wait for a device; int(), float() and bool() of a tensor do as well.
READS = {'item', 'tolist', 'cpu', 'numpy', 'nonzero', 'unique', 'masked_select', 'argwhere',
         'synchronize', 'is_nonzero', 'equal', 'allclose'}
CONVERSIONS = {'int', 'float', 'bool'}
WATCHED = ('ops/heatmap.py', 'models/task_modules/*.py', 'models/dense_heads/*.py',
           'models/losses/*.py')
#: (file, function): what it calls, and why it may.
ALLOWED = {
    ('heatmap.py', '_same_windows'): (
        {'int', 'nonzero', 'tolist', 'unique'},
        'only where radii are on a CPU, which has nothing to wait for: no bound is given'),
    ('heatmap.py', 'draw_center_heatmap'): (
        {'int', 'item', 'nonzero', 'tolist'},
        'the checked, dense form for other uses; coders take the sparse one'),
    ('heatmap.py', 'find_peaks'): ({'float'}, 'a constant'),
    ('box_coder.py', 'radius_bound'): ({'float'}, 'of a shape, on the CPU'),
    ('pose_coder.py', '_nearest'): ({'float'}, 'a constant'),
    ('pose_coder.py', 'encode'): ({'nonzero'}, 'of metainfo, on the CPU'),
    ('base_center_head.py', 'predict_by_feat'): (
        {'tolist'}, 'the one read: how many detections each image has'),
    ('centernet_mono3d_head.py', '_encode'): ({'bool'}, 'of metainfo'),
    ('centernet_pose_head.py', '_encode'): ({'bool'}, 'of metainfo'),
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
    """What the meta device cannot show: branches that are not taken there."""
    package = Path(mmdet_centernet.__file__).parent
    found = {
        (path.name, function, what)
        for pattern in WATCHED for path in package.glob(pattern)
        for function, what in reads_in(path.read_text())}
    allowed = {(*place, what) for place, (calls, _) in ALLOWED.items() for what in calls}
    assert found - allowed == set(), 'each waits for the device, or says here why not'
    assert allowed - found == set(), 'no longer there'
