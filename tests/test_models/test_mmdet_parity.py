"""With equal weights, MMDetection's CenterNet and ours compute the same.

Where mmcv has no compiled operations, MMDetection's layer runs on our deformable
convolution, which has tests of its own; elsewhere it runs on mmcv's kernel.
"""
import sys
from pathlib import Path

import mmcv.ops.modulated_deform_conv as mmcv_dcn
import numpy as np
import pytest
import torch
from helpers.models import build, samples
from mmdet.models.detectors import CenterNet as TheirDetector
from mmdet.registry import TRANSFORMS as MMDET_TRANSFORMS
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint

from mmdet_centernet.checkpoints.convert import convert, write_checkpoint
from mmdet_centernet.checkpoints.parameter_names import mmdetection_table, official_branches
from mmdet_centernet.ops.deform_conv import modulated_deform_conv2d
from mmdet_centernet.registry import TRANSFORMS

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / 'configs' / 'centernet_r18_dcn_140e_coco.py'
CLASSES = 7
SIZE = 96, 160


@pytest.fixture(scope='module', params=[True, False], ids=['dcn', 'plain'])
def pair(request):
    """(ours, theirs) with the same random weights, in eval mode."""
    patch = pytest.MonkeyPatch()
    if sys.modules['mmcv._ext'].__spec__.origin == 'mmdet_centernet':
        patch.setattr(mmcv_dcn, 'modulated_deform_conv2d', modulated_deform_conv2d)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        theirs = TheirDetector(
            backbone=dict(type='ResNet', depth=18, norm_eval=False, norm_cfg=dict(type='BN')),
            neck=dict(
                type='CTResNetNeck', in_channels=512, num_deconv_filters=(256, 128, 64),
                num_deconv_kernels=(4, 4, 4), use_dcn=request.param),
            bbox_head=ConfigDict(
                type='CenterNetHead', num_classes=CLASSES, in_channels=64, feat_channels=64),
            test_cfg=ConfigDict(topk=100, local_maximum_kernel=3, max_per_img=100))
        theirs.init_weights()
    for name, parameter in theirs.named_parameters():
        # Offsets, masks and sizes start at zero, and heatmaps nearly flat: give them values.
        if 'conv_offset' in name or name.startswith('bbox_head'):
            torch.nn.init.normal_(parameter, std=0.2 if 'heatmap_head.2' in name else 0.05)
    ours = build(CONFIG, bbox_head__num_classes=CLASSES, neck__use_dcn=request.param)
    rename = mmdetection_table(official_branches(ours.bbox_head)).to_ours
    ours.load_state_dict({rename(k): v for k, v in theirs.state_dict().items()}, strict=True)
    yield ours.eval(), theirs.eval()
    patch.undo()


def forward(ours, theirs, x):
    """Raw outputs of both as dicts of probabilities, sizes and offsets."""
    mine = dict(ours(x, mode='tensor')[0][-1])
    mine['heatmap'] = mine['heatmap'].sigmoid()
    heatmap, wh, offset = theirs(x, mode='tensor')
    return mine, dict(heatmap=heatmap[0], wh=wh[0], offset=offset[0])


def test_raw_outputs_equal_mmdets(pair):
    torch.manual_seed(1)
    with torch.no_grad():
        mine, other = forward(*pair, torch.randn(2, 3, *SIZE))
    for name, value in other.items():
        scale = value.abs().max()
        assert (mine[name] - value).abs().max() < 1e-5 * scale, name


def test_targets_equal_mmdets(pair):
    ours, theirs = pair
    batch = samples(4, SIZE, 12, CLASSES)
    instances = [sample.gt_instances for sample in batch]
    shape = (4, CLASSES, SIZE[0] // 4, SIZE[1] // 4)
    mine = ours.bbox_head.encode(instances, [{}] * 4, shape)
    other, avg_factor = theirs.bbox_head.get_targets(
        [each.bboxes for each in instances], [each.labels for each in instances], shape, SIZE)
    torch.testing.assert_close(
        mine['heatmap'].heatmap.to_dense(), other['center_heatmap_target'], rtol=1e-5, atol=1e-7)
    assert mine['heatmap'].heatmap.num_peaks() == avg_factor
    for name in ('wh', 'offset'):
        target = mine[name]
        trained = target.weight.bool()
        y, x = target.cells[trained] // shape[3], target.cells[trained] % shape[3]
        torch.testing.assert_close(
            target.values[trained], other[f'{name}_target'][target.images[trained], :, y, x],
            rtol=1e-5, atol=1e-5)
        assert int(trained.sum()) == int(other['wh_offset_target_weight'][:, 0].sum())


def test_losses_and_gradients_equal_mmdets(pair):
    ours, theirs = pair
    torch.manual_seed(2)
    x = torch.randn(3, 3, *SIZE)
    batch = samples(3, SIZE, 12, CLASSES)
    mine, other = ours(x, batch, mode='loss'), theirs(x, batch, mode='loss')
    assert set(mine) == set(other)
    for name, value in other.items():
        assert mine[name].item() == pytest.approx(value.item(), rel=1e-5), name
    for model, losses in ((ours, mine), (theirs, other)):
        model.zero_grad()
        sum(losses.values()).backward()
    rename = mmdetection_table(official_branches(ours.bbox_head)).to_ours
    grads = {name: p.grad for name, p in ours.named_parameters()}
    for name, parameter in theirs.named_parameters():
        grad = grads[rename(name)]
        scale = parameter.grad.abs().max()
        assert (grad - parameter.grad).abs().max() <= 1e-4 * scale + 1e-9, name


def test_losses_of_centers_of_different_classes_in_one_cell_equal_mmdets(pair):
    """The last object of a cell trains size and offset, as in MMDetection."""
    ours, theirs = pair
    batch = samples(1, SIZE, 3, CLASSES)
    instances = batch[0].gt_instances
    instances.bboxes = torch.tensor([[20.0, 20, 60, 70], [24, 22, 56, 68], [80, 30, 120, 60]])
    instances.labels = torch.tensor([0, 1, 2])
    x = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        mine, other = ours(x, batch, mode='loss'), theirs(x, batch, mode='loss')
    for name, value in other.items():
        assert mine[name].item() == pytest.approx(value.item(), rel=1e-5), name


def packed(pipeline, registry, image):
    """Return what a test pipeline makes of an image."""
    results = dict(
        img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2], img_id=0,
        img_path='made.png')
    with DefaultScope.overwrite_default_scope('mmdet'):
        for step in pipeline:
            results = registry.build(step)(results)
    return results


@pytest.mark.parametrize('size', [(333, 517), (64, 31), (129, 96)])
def test_predictions_on_odd_sizes_equal_mmdets(pair, size):
    """Each with its own test pipeline, through the data preprocessor, in original pixels."""
    ours, theirs = pair
    image = np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.float32)
    my_input = packed(
        [dict(type='mmdet_centernet.CenterPad'),
         dict(type='mmdet.PackDetInputs', meta_keys=('img_shape', 'homography_matrix'))],
        TRANSFORMS, image)
    their_input = packed(
        [dict(type='RandomCenterCropPad', ratios=None, border=None, mean=[0, 0, 0],
              std=[1, 1, 1], to_rgb=True, test_mode=True, test_pad_mode=['logical_or', 31],
              test_pad_add_pix=1),
         dict(type='PackDetInputs', meta_keys=('img_shape', 'border'))],
        MMDET_TRANSFORMS, image)
    predictions = []
    for model, given in ((ours, my_input), (theirs, their_input)):
        model.data_preprocessor = ours.data_preprocessor
        with torch.no_grad():
            predictions.append(model.test_step(
                dict(inputs=[given['inputs']], data_samples=[given['data_samples']]))[0])
    assert_same_detections(*predictions)
    # MMDetection's pipeline does not pack a homography, but border.
    with torch.no_grad():
        crossed = ours.test_step(dict(
            inputs=[their_input['inputs']], data_samples=[their_input['data_samples']]))[0]
    assert_same_detections(crossed, predictions[1])


def test_converted_checkpoint_gives_their_detections(pair, tmp_path):
    """A file as MMDetection writes it, converted, and loaded as users do."""
    _, theirs = pair
    use_dcn = any('conv_offset' in name for name, _ in theirs.named_parameters())
    classes = [f'class {number}' for number in range(CLASSES)]
    torch.save(
        dict(meta=dict(dataset_meta=dict(classes=classes)), state_dict=theirs.state_dict()),
        tmp_path / 'theirs.pth')
    config = Config.fromfile(CONFIG)
    config.model.neck.use_dcn = use_dcn
    config.model.bbox_head.num_classes = CLASSES
    converted, source = convert(config, str(tmp_path / 'theirs.pth'))
    assert 'MMDetection' in source.title
    write_checkpoint(converted, tmp_path / 'ours.pth')
    ours = build(CONFIG, bbox_head__num_classes=CLASSES, neck__use_dcn=use_dcn).eval()
    checkpoint = load_checkpoint(ours, str(tmp_path / 'ours.pth'), strict=True)
    assert list(checkpoint['meta']['dataset_meta']['classes']) == classes

    torch.manual_seed(5)
    inputs = torch.randn(2, 3, *SIZE)
    meta = dict(batch_input_shape=SIZE, border=[3, 90, 5, 150], scale_factor=(0.5, 0.8))
    predictions = []
    for model in (ours, theirs):
        with torch.no_grad():
            predictions.append(model(
                inputs, [DetDataSample(metainfo=meta) for _ in range(2)], mode='predict'))
    for mine, other in zip(*predictions):
        assert_same_detections(mine, other)


def assert_same_detections(mine: DetDataSample, other: DetDataSample):
    """Check that counts are equal and each detection has its partner within 0.01 px and 1e-5.

    MMDetection fills up with detections of score 0 where an image has too few peaks.
    """
    mine, other = mine.pred_instances, other.pred_instances
    other = other[other.scores > 0]
    assert len(mine) == len(other) > 10
    worst = torch.cdist(mine.bboxes, other.bboxes, p=float('inf'))
    score = (mine.scores[:, None] - other.scores).abs()
    same = (worst < 0.01) & (score < 1e-5) & (mine.labels[:, None] == other.labels)
    assert (same.sum(dim=1) >= 1).all() and (same.sum(dim=0) >= 1).all()
