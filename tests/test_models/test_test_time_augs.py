"""Flip and multi-scale testing against the original's procedure."""
import copy

import numpy as np
import pytest
import torch
from helpers.tta import (
    MAX_PER_IMG,
    MEAN,
    META_KEYS,
    MODEL,
    NUM_CLASSES,
    STD,
    build_detector,
    build_tta,
    load,
    make_image,
    tta_config,
)
from mmdet.structures import DetDataSample
from mmengine.registry import MODELS, DefaultScope
from reference.boxes import soft_nms_slowly
from reference.detection import decode_slowly
from reference.preprocessing import original_inputs

from mmdet_centernet.datasets.transforms import CenterPad
from mmdet_centernet.errors import UserError
from mmdet_centernet.inference.tta import SCALES
from mmdet_centernet.models.test_time_augs import CenterNetTTAModel

pytestmark = pytest.mark.usefixtures('mmdet_scope')
with DefaultScope.overwrite_default_scope('mmdet'):
    DETECTOR = build_detector()


@torch.no_grad()
def predict(config, images, module=DETECTOR):
    """Return rows (label, score, x1, y1, x2, y2) of each image."""
    samples = build_tta(config, module).test_step(load(config, images))
    return [rows_of(sample.pred_instances) for sample in samples]


def rows_of(instances):
    return torch.cat((instances.labels[:, None], instances.scores[:, None], instances.bboxes),
                     dim=1).double().numpy()


@torch.no_grad()
def original(image, scales, resolution, flip=True, nms=True):
    """Return the original's detections of one image as rows (label, score, x1, y1, x2, y2)."""
    rows = []
    for scale in scales:
        inputs, back = original_inputs(image, scale, resolution, MEAN, STD)
        batch = torch.cat((inputs, inputs.flip(3))) if flip else inputs
        outputs = DETECTOR(batch, mode='tensor')[0][-1]
        outputs = {name: value.double().numpy() for name, value in outputs.items()}
        heatmap, wh = 1 / (1 + np.exp(-outputs['heatmap'])), outputs['wh']
        if flip:
            heatmap = (heatmap[0] + heatmap[1, :, :, ::-1]) / 2
            wh = (wh[0] + wh[1, :, :, ::-1]) / 2
        else:
            heatmap, wh = heatmap[0], wh[0]
        output = dict(heatmap=heatmap, wh=wh, offset=outputs['offset'][0])
        rows += [[label, score, *back(np.reshape(box, (2, 2))).flatten()]
                 for score, label, box in decode_slowly(output, MAX_PER_IMG)]
    rows = np.array(rows)
    if len(scales) > 1 and nms:
        merged = []
        for label in range(NUM_CLASSES):
            own = rows[rows[:, 0] == label]
            for index, score in soft_nms_slowly(
                    own[:, 2:].tolist(), own[:, 1].tolist(), 0.5, 0.5, 0.001, 'gaussian',
                    offset=1):
                merged.append([label, score, *own[index, 2:]])
        rows = np.array(merged)
    return rows[rows[:, 1].argsort()[::-1]][:MAX_PER_IMG]


def assert_same(found, expected, missing=0):
    """Check that each row has its own partner: class, score to 1e-3, box to 0.1 px."""
    assert len(found) == len(expected)
    left = list(range(len(found)))
    alone = []
    for row in expected:
        near = [index for index in left if found[index, 0] == row[0]
                and abs(found[index, 1] - row[1]) < 1e-3
                and np.abs(found[index, 2:] - row[2:]).max() < 0.1]
        if near:
            left.remove(near[0])
        else:
            alone.append(row)
    assert len(alone) <= missing, alone


@pytest.mark.parametrize('height, width', [(75, 101), (102, 47)])
@pytest.mark.parametrize('resolution', ['keep', 'fix'])
@pytest.mark.parametrize('tta', ['flip', 'ms'])
def test_detections_equal_the_originals(tta, resolution, height, width):
    image = make_image(height, width)
    scales = SCALES if tta == 'ms' else (1, )
    expected = original(image, scales, resolution)
    found, = predict(tta_config(resolution, tta), [image])
    # The warps differ by rounding, which may move a sample by 1/32 px: near-equal scores.
    assert_same(found, expected, missing=1 if resolution == 'fix' else 0)
    assert (np.diff(found[:, 1]) <= 0).all()
    # The comparison can fail: flipping, and suppression, change what is found.
    plain = original(image, scales, resolution, flip=False)
    with pytest.raises(AssertionError):
        assert_same(found, plain, missing=3)
    if tta == 'ms':
        with pytest.raises(AssertionError):
            assert_same(found, original(image, scales, resolution, nms=False), missing=3)


@pytest.mark.parametrize('scales, flip, nms', [
    ((1.0, ), False, True), ((0.75, 1.25), False, True), ((0.75, 1.25), True, False)])
def test_scales_flip_and_nms_are_options(scales, flip, nms):
    image = make_image(61, 90)
    options = {} if nms else dict(nms=None)
    found, = predict(tta_config('keep', 'config', scales, flip=flip, **options), [image])
    assert_same(found, original(image, scales, 'keep', flip, nms))
    if len(scales) == 1:
        sample = load(tta_config('keep', 'config', scales), [image])
        data = dict(inputs=sample['inputs'][0], data_samples=sample['data_samples'][0])
        with torch.no_grad():
            plain, = DETECTOR.test_step(data)
        np.testing.assert_array_equal(found, rows_of(plain.pred_instances))


def test_nms_may_be_another():
    image = make_image(61, 90)
    config = tta_config('keep', 'config', (0.75, 1.25), nms=dict(type='nms', iou_threshold=0.3))
    hard, = predict(config, [image])
    everything, = predict(tta_config('keep', 'config', (0.75, 1.25), nms=None), [image])
    # Scores stay what they are, and the best one of all does.
    np.testing.assert_array_equal(hard[0], everything[0])
    assert len(hard) <= MAX_PER_IMG and not np.array_equal(hard, everything)


@pytest.mark.parametrize('tta', ['flip', 'ms'])
def test_batch_of_two_equals_two_batches_of_one(tta):
    images = [make_image(75, 101, seed) for seed in (1, 2)]
    config = tta_config('keep', tta)
    together = predict(config, images)
    for found, image in zip(together, images, strict=True):
        alone, = predict(tta_config('keep', tta), [image])
        assert_same(found, alone)
    assert not np.array_equal(*together)


@pytest.mark.parametrize('tta', ['flip', 'ms'])
def test_images_of_different_sizes_are_as_if_alone(tta):
    images = [make_image(75, 120, 1), make_image(50, 60, 2), make_image(75, 120, 3)]
    found = predict(tta_config('keep', tta), images)
    for rows, image in zip(found, images, strict=True):
        assert_same(rows, *predict(tta_config('keep', tta), [image]))


def test_no_detections():
    detector = copy.deepcopy(DETECTOR)
    detector.bbox_head.test_cfg = dict(detector.bbox_head.test_cfg, score_thr=0.9999)
    found, = predict(tta_config('keep', 'ms'), [make_image(40, 50)], detector)
    assert found.shape == (0, 6)


def test_only_the_last_stack_is_computed():
    """With two stacks (Hourglass)."""
    head = dict(MODEL['bbox_head'], num_stacks=2)
    detector = build_detector(bbox_head=head)
    detector.extract_feat = lambda inputs: type(detector).extract_feat(detector, inputs) * 2
    detector.bbox_head.stacks[0].forward = None
    for branch in detector.bbox_head.stacks[0].values():
        branch.forward = None
    found, = predict(tta_config('keep', 'ms'), [make_image(40, 50)], detector)
    assert len(found) == MAX_PER_IMG


def test_module_may_be_a_config_or_a_model():
    built = MODELS.build(dict(type='mmdet_centernet.CenterNetTTAModel', module=MODEL))
    assert set(built.module.state_dict()) == set(DETECTOR.state_dict())
    assert CenterNetTTAModel(DETECTOR).module is DETECTOR


# As MMDetection's pipelines write them: either first, and `flip` packed or not.
FLIPS = [dict(type='mmdet.RandomFlip', prob=prob) for prob in (1.0, 0.0)]


@pytest.mark.parametrize('flips', [FLIPS, FLIPS[::-1]], ids=['flipped first', 'plain first'])
@pytest.mark.parametrize('scales', [(1.0, ), (0.75, 1.0, 1.25)], ids=str)
@pytest.mark.parametrize('flip', [True, False])
def test_flipped_views_are_what_the_model_makes_itself(flip, scales, flips):
    image = make_image(61, 91)
    config = tta_config('keep', 'config', scales, flips, flip=flip)
    batch = load(config, [image])
    assert len(batch['inputs']) == 2 * len(scales)
    found, = predict(config, [image])
    itself, = predict(tta_config('keep', 'config', scales), [image])
    np.testing.assert_array_equal(found, itself)
    assert_same(found, original(image, scales, 'keep'))


def test_flipped_views_are_known_without_a_homography():
    """By MMDetection's ``flip``, which its pipelines pack beside a border."""
    image = make_image(64, 96)
    expected, = predict(tta_config('keep', 'flip'), [image])
    batch = load(tta_config('keep', 'config', (1.0, ), FLIPS), [image])
    plain = batch['data_samples'][1][0].homography_matrix
    border = (plain[1, 2], 0, plain[0, 2], 0)
    batch['data_samples'] = [[DetDataSample(metainfo=dict(
        img_shape=(96, 128), border=border, flip=flip, flip_direction=direction))]
        for flip, direction in ((True, 'horizontal'), (False, None))]
    with torch.no_grad():
        sample, = build_tta(tta_config('keep', 'flip'), DETECTOR).test_step(batch)
    np.testing.assert_array_equal(rows_of(sample.pred_instances), expected)


@pytest.mark.parametrize('flips', [
    FLIPS[:1], [*FLIPS, FLIPS[1]],
    [FLIPS[1], dict(type='mmdet.RandomFlip', prob=1.0, direction='vertical')]],
    ids=['only flipped', 'more plain ones', 'from top to bottom'])
def test_flips_that_do_not_go_with_the_plain_views_are_refused(flips):
    config = tta_config('keep', 'config', (0.75, 1.0), flips)
    with pytest.raises(UserError, match='plain and|from top to bottom'):
        predict(config, [make_image(61, 90)])


def test_other_detectors_are_refused():
    retina = dict(
        type='mmdet.RetinaNet', backbone=dict(MODEL['backbone'], out_indices=(0, 1)),
        neck=dict(type='mmdet.FPN', in_channels=[8, 16], out_channels=8, num_outs=2),
        bbox_head=dict(
            type='mmdet.RetinaHead', num_classes=2, in_channels=8, stacked_convs=1,
            anchor_generator=dict(type='mmdet.AnchorGenerator', ratios=[1.0], scales=[4],
                                  strides=[4, 8]),
            bbox_coder=dict(type='mmdet.DeltaXYWHBBoxCoder'),
            loss_bbox=dict(type='mmdet.L1Loss')))
    with pytest.raises(UserError, match='RetinaNet has RetinaHead: test it without'):
        CenterNetTTAModel(retina)


def test_pipeline_without_scales_is_refused():
    model = CenterNetTTAModel(DETECTOR)
    sample = CenterPad()(dict(img=make_image(40, 50)))
    image = torch.from_numpy(sample['img']).permute(2, 0, 1)
    data = dict(inputs=[image], data_samples=[DetDataSample(metainfo={
        key: sample[key] for key in META_KEYS})])
    with pytest.raises(UserError, match='TestTimeAug'):
        model.test_step(data)
    twice = {key: [value, value] for key, value in data.items()}
    with torch.no_grad():
        assert len(model.test_step(twice)) == 1
