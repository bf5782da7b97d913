"""Flip and multi-scale testing against the original's procedure, written out slowly."""
import copy

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import MODELS, DefaultScope
from test_ops.test_soft_nms import soft_nms_by_loops

from mmdet_centernet.datasets.transforms import CenterPad
from mmdet_centernet.errors import UserError
from mmdet_centernet.inference.test_options import SCALES, apply_test_options
from mmdet_centernet.models.test_time_augs import CenterNetTTAModel

NUM_CLASSES, STRIDE, MAX_PER_IMG = 3, 4, 30
MEAN, STD = np.array([104., 114., 120.]), np.array([74., 70., 71.])

MODEL = dict(
    type='mmdet_centernet.CenterNet',
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor', mean=MEAN.tolist(), std=STD.tolist(),
        bgr_to_rgb=False, pad_size_divisor=32),
    backbone=dict(type='mmdet.ResNet', depth=18, base_channels=8, num_stages=2,
                  strides=(1, 2), dilations=(1, 1), out_indices=(1, ), norm_eval=False),
    neck=dict(type='mmdet_centernet.CTResNetNeck', in_channels=16, num_deconv_filters=(8, ),
              num_deconv_kernels=(4, ), use_dcn=False),
    bbox_head=dict(type='mmdet_centernet.CenterNetHead', num_classes=NUM_CLASSES,
                   in_channels=8, feat_channels=8),
    test_cfg=dict(max_per_img=MAX_PER_IMG))
META_KEYS = ('img_shape', 'homography_matrix')
PIPELINES = dict(
    keep=[dict(type='mmdet_centernet.CenterPad'),
          dict(type='mmdet.PackDetInputs', meta_keys=META_KEYS)],
    fix=[dict(type='mmdet_centernet.CenterResize', size=(96, 96)),
         dict(type='mmdet.PackDetInputs', meta_keys=META_KEYS)])


@pytest.fixture(autouse=True)
def scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


def build_detector(**changes):
    """A small random detector whose sizes and offsets differ from cell to cell."""
    model = MODELS.build(Config(dict(MODEL, **changes)).to_dict())
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            scale = (2 / parameter[0].numel())**0.5
            parameter.data = torch.randn(parameter.shape, generator=generator) * scale
    with torch.no_grad():
        for branches in model.bbox_head.stacks:
            branches['heatmap'][-1].bias -= 2
            branches['wh'][-1].bias += 10
    return model.eval()


DETECTOR = build_detector()


def test_config(resolution, tta, **tta_model):
    """A config of the detector with the options that tools/test.py sets."""
    config = Config(dict(
        model=copy.deepcopy(MODEL), tta_model=tta_model,
        test_dataloader=dict(dataset=dict(pipeline=copy.deepcopy(PIPELINES[resolution])))))
    apply_test_options(config, tta=tta)
    return config


test_config.__test__ = False


def build_tta(config, module=DETECTOR):
    return MODELS.build(dict(config.model, module=module)).eval()


def load(config, images):
    """A batch as the data loader hands it over."""
    pipeline = Compose(config.test_dataloader.dataset.pipeline)
    return pseudo_collate([pipeline(dict(img=image.copy())) for image in images])


@torch.no_grad()
def predict(config, images, module=DETECTOR):
    """Rows (label, score, x1, y1, x2, y2) of each image."""
    samples = build_tta(config, module).test_step(load(config, images))
    return [rows_of(sample.pred_instances) for sample in samples]


def rows_of(instances):
    return torch.cat((instances.labels[:, None], instances.scores[:, None], instances.bboxes),
                     dim=1).double().numpy()


def make_image(height, width, seed=0):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def original_inputs(image, scale, resolution):
    """The original's pre-processing: input [1, 3, H, W], and px of the input -> image's."""
    height, width = image.shape[:2]
    new_height, new_width = int(height * scale), int(width * scale)
    if resolution == 'fix':
        in_width = in_height = 96
        zoom, x, y = 96 / max(height, width), new_width / 2, new_height / 2
    else:
        in_width, in_height = (new_width | 31) + 1, (new_height | 31) + 1
        zoom, x, y = 1, new_width // 2, new_height // 2
    warp = np.array([[zoom, 0, in_width / 2 - zoom * x], [0, zoom, in_height / 2 - zoom * y]])
    resized = cv2.resize(image, (new_width, new_height))
    warped = cv2.warpAffine(resized, warp, (in_width, in_height), flags=cv2.INTER_LINEAR)
    inputs = torch.from_numpy(((warped - MEAN) / STD).astype(np.float32).transpose(2, 0, 1)[None])

    def back(points):
        return (points - warp[:, 2]) / zoom / scale

    return inputs, back


def original_detections(output, offsets, back):
    """Decode one scale: peaks of 3 x 3 cells, the best of all classes; boxes of the image."""
    heatmap, wh = output
    channels, height, width = heatmap.shape
    peaks = []
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                around = heatmap[c, max(y - 1, 0):y + 2, max(x - 1, 0):x + 2]
                if heatmap[c, y, x] == around.max():
                    peaks.append((heatmap[c, y, x], c, y, x))
    rows = []
    for score, c, y, x in sorted(peaks, reverse=True)[:MAX_PER_IMG]:
        center = np.array([x, y]) + offsets[:, y, x]
        corners = [back((center + sign * wh[:, y, x] / 2) * STRIDE) for sign in (-1, 1)]
        rows.append([c, score, *corners[0], *corners[1]])
    return np.array(rows)


@torch.no_grad()
def original(image, scales, resolution, flip=True, nms=True):
    """The original's detections of one image; rows (label, score, x1, y1, x2, y2)."""
    rows = []
    for scale in scales:
        inputs, back = original_inputs(image, scale, resolution)
        batch = torch.cat((inputs, inputs.flip(3))) if flip else inputs
        outputs = DETECTOR(batch, mode='tensor')[0][-1]
        outputs = {name: value.double().numpy() for name, value in outputs.items()}
        heatmap, wh = 1 / (1 + np.exp(-outputs['heatmap'])), outputs['wh']
        if flip:
            heatmap = (heatmap[0] + heatmap[1, :, :, ::-1]) / 2
            wh = (wh[0] + wh[1, :, :, ::-1]) / 2
        else:
            heatmap, wh = heatmap[0], wh[0]
        rows.append(original_detections((heatmap, wh), outputs['offset'][0], back))
    rows = np.concatenate(rows)
    if len(scales) > 1 and nms:
        merged = []
        for label in range(NUM_CLASSES):
            own = rows[rows[:, 0] == label]
            for index, score in soft_nms_by_loops(
                    torch.from_numpy(own[:, 2:]), torch.from_numpy(own[:, 1]), 0.5, 0.5, 0.001,
                    'gaussian', offset=1):
                merged.append([label, score, *own[index, 2:]])
        rows = np.array(merged)
    return rows[rows[:, 1].argsort()[::-1]][:MAX_PER_IMG]


def assert_same(found, expected, missing=0):
    """Each row has its own partner: class, score to 1e-3, box to 0.1 px."""
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
def test_equals_the_original(tta, resolution, height, width):
    image = make_image(height, width)
    scales = SCALES if tta == 'ms' else (1, )
    expected = original(image, scales, resolution)
    found, = predict(test_config(resolution, tta), [image])
    # The warps differ by rounding, which may move a sample by 1/32 px: near-equal scores.
    assert_same(found, expected, missing=1 if resolution == 'fix' else 0)
    assert (np.diff(found[:, 1]) <= 0).all()
    # It tells: mirroring, and suppression, change what is found.
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
    found, = predict(test_config('keep', 'ms', scales=scales, flip=flip, **options), [image])
    assert_same(found, original(image, scales, 'keep', flip, nms))
    if len(scales) == 1:
        sample = load(test_config('keep', 'ms', scales=scales), [image])
        data = dict(inputs=sample['inputs'][0], data_samples=sample['data_samples'][0])
        with torch.no_grad():
            plain, = DETECTOR.test_step(data)
        np.testing.assert_array_equal(found, rows_of(plain.pred_instances))


def test_another_nms():
    image = make_image(61, 90)
    config = test_config('keep', 'ms', scales=(0.75, 1.25),
                         nms=dict(type='nms', iou_threshold=0.3))
    hard, = predict(config, [image])
    everything, = predict(test_config('keep', 'ms', scales=(0.75, 1.25), nms=None), [image])
    # Scores stay what they are, and the best one of all does.
    np.testing.assert_array_equal(hard[0], everything[0])
    assert len(hard) <= MAX_PER_IMG and not np.array_equal(hard, everything)


@pytest.mark.parametrize('tta', ['flip', 'ms'])
def test_batch_of_two_equals_two_batches_of_one(tta):
    images = [make_image(75, 101, seed) for seed in (1, 2)]
    config = test_config('keep', tta)
    together = predict(config, images)
    for found, image in zip(together, images, strict=True):
        alone, = predict(test_config('keep', tta), [image])
        assert_same(found, alone)
    assert not np.array_equal(*together)


@pytest.mark.parametrize('tta', ['flip', 'ms'])
def test_images_of_different_sizes_are_as_if_alone(tta):
    images = [make_image(75, 120, 1), make_image(50, 60, 2), make_image(75, 120, 3)]
    found = predict(test_config('keep', tta), images)
    for rows, image in zip(found, images, strict=True):
        assert_same(rows, *predict(test_config('keep', tta), [image]))


def test_nothing_found():
    detector = copy.deepcopy(DETECTOR)
    detector.bbox_head.test_cfg = dict(detector.bbox_head.test_cfg, score_thr=0.9999)
    found, = predict(test_config('keep', 'ms'), [make_image(40, 50)], detector)
    assert found.shape == (0, 6)


def test_only_the_last_stack_counts():
    """With two stacks (Hourglass) the first one's branches are not even computed."""
    head = dict(MODEL['bbox_head'], num_stacks=2)
    detector = build_detector(bbox_head=head)
    detector.extract_feat = lambda inputs: type(detector).extract_feat(detector, inputs) * 2
    detector.bbox_head.stacks[0].forward = None
    for branch in detector.bbox_head.stacks[0].values():
        branch.forward = None
    found, = predict(test_config('keep', 'ms'), [make_image(40, 50)], detector)
    assert len(found) == MAX_PER_IMG


def test_module_may_be_a_config_or_a_model():
    built = MODELS.build(dict(type='mmdet_centernet.CenterNetTTAModel', module=MODEL))
    assert set(built.module.state_dict()) == set(DETECTOR.state_dict())
    assert CenterNetTTAModel(DETECTOR).module is DETECTOR


@pytest.mark.parametrize('scales', [(), 1.0, '1', (0.5, 0), (1, -1), (float('nan'), ), ('1', )])
def test_scales_out_of_range(scales):
    with pytest.raises(UserError, match='positive numbers'):
        CenterNetTTAModel(DETECTOR, scales=scales)


def test_model_that_cannot():
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


def test_pipeline_without_scales():
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
    with pytest.raises(UserError, match='TestTimeAug'):
        CenterNetTTAModel(DETECTOR, scales=(0.5, 1, 1.5)).test_step(twice)
