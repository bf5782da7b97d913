"""The head for 2D boxes: its losses in both recipes against loops, and inside MMDetection."""
import copy
import math

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
from helpers.heads import assert_all_get_gradients
from helpers.models import samples
from mmengine.config import ConfigDict
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS as ROOT_MODELS
from reference.detection import encode_slowly
from reference.heatmap import mean_focal_slowly

from mmdet_centernet.models.dense_heads import CenterNetHead
from mmdet_centernet.models.properties import Attribute, Box

pytestmark = pytest.mark.usefixtures('mmdet_scope')
SIZE = 18, 26
FOCAL = dict(type='mmdet_centernet.GaussianFocalLoss', min_probability=1e-4)
OFFICIAL = dict(
    coder=dict(type='mmdet_centernet.CenterCoder', stride=4, radius='official', min_overlap=0.7,
               shared_cells='all'),
    normalizer='objects', loss_center_heatmap=FOCAL)
COUNTS = pytest.mark.parametrize('counts', [(12, 0, 5), (1, 0), (0, 0)], ids=str)


def make_head(**options):
    torch.manual_seed(0)
    head = CenterNetHead(
        **dict(dict(num_classes=CLASSES, in_channels=6, feat_channels=5), **options))
    head.init_weights()
    return head


def official_head(**options):
    return make_head(**{**OFFICIAL, **options})


def official_outputs(batch, seed=1):
    """Some logits are beyond the original's clamp."""
    return make_outputs(batch, seed, spread=5, size=SIZE)


def losses_of(head, outputs, instances):
    return head.loss_by_feat([outputs], instances, [{}] * len(instances))


@pytest.mark.parametrize('shared_cells', ['last', 'all'])
@pytest.mark.parametrize('counts', [(5, 0), (0, 0), (1, 7)], ids=str)
def test_losses_of_mmdets_recipe_equal_loop(counts, shared_cells):
    """The default: every loss is averaged over the peaks, at least 1."""
    head = make_head(coder=dict(type='mmdet_centernet.CenterCoder', shared_cells=shared_cells))
    outputs, instances = make_outputs(), make_objects(*counts)
    expected = encode_slowly(images_of(instances), tuple(outputs['heatmap'].shape), 'corrected',
                             0.3, shared_cells)
    objects = expected.objects.values()
    ones = max(int((expected.heatmap == 1).sum()), 1)
    assert_losses(losses_of(head, outputs, instances), dict(
        center_heatmap=mean_focal_slowly(outputs['heatmap'], expected.heatmap, 0),
        wh=0.1 * regression_slowly(objects, outputs['wh'], 'wh', 2 * ones),
        offset=regression_slowly(objects, outputs['offset'], 'offset', 2 * ones)))


def test_losses_of_objects_in_one_cell_differ_by_choice():
    """So that the two settings above cannot both be the same thing."""
    outputs, instances = make_outputs(), make_objects(5, 4)
    values = [
        losses_of(
            make_head(coder=dict(type='mmdet_centernet.CenterCoder', shared_cells=choice)),
            outputs, instances)['loss_wh'].item()
        for choice in ('last', 'all')]
    assert values[1] > values[0] * 1.05


@COUNTS
def test_losses_of_the_original_recipe_equal_loop(counts):
    outputs, instances = official_outputs(len(counts)), make_objects(*counts, size=SIZE)
    expected = encode_slowly(images_of(instances), tuple(outputs['heatmap'].shape))
    objects = expected.objects.values()
    if counts[0] > 2:
        places = [(entry.image, entry.y, entry.x) for entry in objects]
        assert len(set(places)) < len(places)  # two share a cell, and both count
    divisor = 2 * len(objects) + 1e-4
    assert_losses(losses_of(official_head(), outputs, instances), dict(
        center_heatmap=mean_focal_slowly(outputs['heatmap'], expected.heatmap),
        wh=0.1 * regression_slowly(objects, outputs['wh'], 'wh', divisor),
        offset=regression_slowly(objects, outputs['offset'], 'offset', divisor)))


def test_losses_of_more_than_128_objects_in_an_image():
    """The original leaves out what comes after the 128th."""
    outputs, instances = official_outputs(1), make_objects(200, size=SIZE)
    expected = encode_slowly(images_of(instances), tuple(outputs['heatmap'].shape))
    objects = expected.objects.values()
    assert len(objects) > 190
    divisor = 2 * len(objects) + 1e-4
    assert_losses(losses_of(official_head(), outputs, instances), dict(
        center_heatmap=mean_focal_slowly(outputs['heatmap'], expected.heatmap),
        wh=0.1 * regression_slowly(objects, outputs['wh'], 'wh', divisor),
        offset=regression_slowly(objects, outputs['offset'], 'offset', divisor)))


def test_losses_of_halved_weights_of_two_stacks_are_their_mean():
    """As in configs/official/ctdet_coco_hg.py: the original averages over stacks."""
    instances = make_objects(6, 3, size=SIZE)
    outputs = [official_outputs(2, seed=seed) for seed in (3, 4)]
    plain = official_head()
    halved = official_head(
        num_stacks=2, loss_center_heatmap=dict(FOCAL, loss_weight=0.5),
        loss_wh=dict(type='mmdet.L1Loss', loss_weight=0.05),
        loss_offset=dict(type='mmdet.L1Loss', loss_weight=0.5))
    both = halved.loss_by_feat(outputs, instances, [{}] * 2)
    each = [losses_of(plain, output, instances) for output in outputs]
    for name, value in both.items():
        torch.testing.assert_close(value, (each[0][name] + each[1][name]) / 2)


def test_mse_loss_of_the_heatmap_equals_loop():
    """Of probabilities, over the centers. (The original's option stops with an error.)"""
    outputs, instances = official_outputs(2), make_objects(6, 0, size=SIZE)
    expected = encode_slowly(images_of(instances), tuple(outputs['heatmap'].shape))
    heatmap, objects = torch.from_numpy(expected.heatmap), expected.objects.values()
    p = 1 / (1 + torch.exp(-outputs['heatmap'].double()))
    divisor = 2 * len(objects) + 1e-4
    head = official_head(loss_center_heatmap=dict(type='mmdet.MSELoss', loss_weight=1.0))
    assert_losses(losses_of(head, outputs, instances), dict(
        center_heatmap=float(((p - heatmap) ** 2).sum()) / int((heatmap == 1).sum()),
        wh=0.1 * regression_slowly(objects, outputs['wh'], 'wh', divisor),
        offset=regression_slowly(objects, outputs['offset'], 'offset', divisor)))


def test_heatmap_has_no_gradient_beyond_the_clamp():
    outputs, instances = official_outputs(1), make_objects(4, size=SIZE)
    logits = outputs['heatmap'].requires_grad_()
    losses_of(official_head(), outputs, instances)['loss_center_heatmap'].backward()
    limit = math.log(1 / 1e-4 - 1)
    beyond = logits.detach().abs() > limit
    assert beyond.sum() > 10
    assert (logits.grad[beyond] == 0).all()
    assert (logits.grad[~beyond] != 0).float().mean() > 0.99


def test_every_parameter_gets_a_gradient():
    """With each option, with and without objects."""
    for options in (
        dict(), dict(wh_per_class=True), dict(dense_wh=True),
        dict(loss_wh=dict(type='mmdet_centernet.NormalizedL1Loss')),
        dict(loss_bbox=dict(type='mmdet.GIoULoss')),
        dict(loss_bbox=dict(type='mmdet.GIoULoss'), wh_per_class=True),
        dict(loss_center_heatmap=dict(type='mmdet.MSELoss')),
        dict(norm_cfg=dict(type='BN')), dict(normalizer='peaks', dense_wh=True),
    ):
        head = official_head(**options)
        for counts in ((0, 0), (3, 0)):
            outputs, = head([torch.randn(2, 6, *SIZE)])
            assert_all_get_gradients(
                head, losses_of(head, outputs[0], make_objects(*counts, size=SIZE)),
                (options, counts))


def test_init_adds_further_properties_after_the_box():
    head = make_head(properties=[Attribute('age', kind='number')])
    assert [type(each) for each in head.properties] == [Box, Attribute]
    assert list(head.stacks[0]) == ['heatmap', 'wh', 'offset', 'attribute_age']


@pytest.mark.parametrize(('options', 'words'), [
    (dict(normalizer='boxes'), "normalizer = 'boxes'.*peaks"),
    (dict(loss_wh=dict(type='mmdet.L1Loss'), loss_bbox=dict(type='mmdet.GIoULoss')),
     'loss_wh=None'),
    (dict(loss_bbox=dict(type='mmdet.GIoULoss'), dense_wh=True), 'dense_wh'),
    (dict(loss_center_heatmap=dict(FOCAL, min_probability=0.5)), 'min_probability = 0.5'),
])
def test_init_refuses(options, words):
    with pytest.raises(ValueError, match=words):
        official_head(**options)


def test_head_works_in_a_config_of_mmdet():
    """Only the head's type differs from MMDetection's configs; one step, one prediction."""
    torch.manual_seed(0)
    model = ROOT_MODELS.build(ConfigDict(
        type='CenterNet',
        data_preprocessor=dict(
            type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53],
            std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
        backbone=dict(
            type='ResNet', depth=18, norm_eval=False, norm_cfg=dict(type='BN'), base_channels=8),
        neck=dict(
            type='CTResNetNeck', in_channels=64, num_deconv_filters=(32, 16, 8),
            num_deconv_kernels=(4, 4, 4), use_dcn=False),
        bbox_head=dict(
            type='mmdet_centernet.CenterNetHead', num_classes=CLASSES, in_channels=8,
            feat_channels=8,
            loss_center_heatmap=dict(type='GaussianFocalLoss', loss_weight=1.0),
            loss_wh=dict(type='L1Loss', loss_weight=0.1),
            loss_offset=dict(type='L1Loss', loss_weight=1.0)),
        train_cfg=None,
        test_cfg=dict(topk=100, local_maximum_kernel=3, max_per_img=100)))
    assert type(model).__module__.startswith('mmdet.')
    assert type(model.neck).__module__.startswith('mmdet.')
    assert isinstance(model.bbox_head, CenterNetHead)
    model.init_weights()
    batch = dict(
        inputs=[torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8) for _ in range(2)],
        data_samples=samples(2, (64, 96), 3, CLASSES))
    before = copy.deepcopy(model.state_dict())
    log = model.train_step(
        copy.deepcopy(batch), OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.01)))
    assert set(log) == {'loss', 'loss_center_heatmap', 'loss_wh', 'loss_offset'}
    assert all(torch.isfinite(value) for value in log.values())
    assert any(
        not torch.equal(value, before[name]) for name, value in model.bbox_head.state_dict(
            prefix='bbox_head.').items())
    for sample in model.eval().test_step(batch):
        found = sample.pred_instances
        assert 0 < len(found) <= 100
        assert found.bboxes.shape == (len(found), 4) and torch.isfinite(found.bboxes).all()
        assert ((found.scores > 0) & (found.scores < 1)).all()
