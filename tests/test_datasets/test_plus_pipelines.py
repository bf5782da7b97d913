"""The pipelines of configs/_base_/datasets/plus*.py: images, boxes, labels and flags agree."""
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.configs import wrong_types
from mmcv.transforms import Compose
from mmdet.structures.bbox import HorizontalBoxes
from mmengine import Config
from mmengine.registry import DefaultScope
from reference.rectangles import assert_same_rectangles, draw_rectangles, find_rectangles

from mmdet_centernet.datasets.transforms import CenterAffine
from mmdet_centernet.errors import UserError

BASES = Path(__file__).parents[2] / 'configs/_base_/datasets'
COLORS = [(250, 10, 10), (10, 250, 10), (10, 10, 250), (250, 250, 10), (250, 10, 250)]
IGNORED = 4  # objects of this label are marked as to be ignored


def sample(rng, width=320, height=220, count=5, colors=COLORS):
    """Return a sample as it is after loading."""
    image, boxes, labels = draw_rectangles(rng, colors, count, width, height)
    return dict(
        img=image, img_shape=(height, width), ori_shape=(height, width), img_path='drawn.png',
        img_id=0, gt_bboxes=HorizontalBoxes(torch.from_numpy(boxes)), gt_bboxes_labels=labels,
        gt_ignore_flags=labels == IGNORED)


def steps_of(name, first, last, pipeline='train_pipeline'):
    """Return the transforms from one to another, both included, of a base's pipeline."""
    steps = Config.fromfile(BASES / f'{name}.py')[pipeline]
    types = [step.type.rpartition('.')[2] for step in steps]
    with DefaultScope.overwrite_default_scope('mmdet'):
        return Compose(steps[types.index(first):types.index(last) + 1])


@pytest.fixture(autouse=True)
def seeds():
    random.seed(0)
    np.random.seed(0)


def test_the_reference_finds_what_was_drawn():
    drawn = sample(np.random.default_rng(5))
    boxes, labels = drawn['gt_bboxes'].tensor.numpy(), drawn['gt_bboxes_labels']
    assert len(find_rectangles(drawn['img'], COLORS)) == 5
    assert_same_rectangles(drawn['img'], COLORS, boxes, labels)
    for wrong in ((boxes + 5, labels), (boxes, (labels + 1) % 5), (boxes[1:], labels[1:])):
        with pytest.raises(AssertionError):
            assert_same_rectangles(drawn['img'], COLORS, *wrong)


@pytest.mark.parametrize('name, pipeline, first', [
    ('plus_pipeline', 'train_pipeline', 'RandomResize'),
    ('plus_mosaic_pipeline', 'last_pipeline', 'RandomResize'),
    ('plus_mosaic_pipeline', 'train_pipeline', 'CachedMosaic')])
def test_boxes_labels_and_flags_stay_with_the_images(name, pipeline, first):
    rng = np.random.default_rng(1)
    transforms = steps_of(name, first, 'RandomFlip', pipeline)
    counts, sizes = [], []
    for number in range(40):
        out = transforms(sample(rng, *((320, 220) if number % 2 else (220, 300))))
        assert out['img'].shape[:2] == tuple(out['img_shape']) == (320, 320)
        boxes, labels = out['gt_bboxes'].tensor.numpy(), out['gt_bboxes_labels']
        assert_same_rectangles(out['img'], COLORS, boxes, labels)
        assert np.array_equal(out['gt_ignore_flags'], labels == IGNORED)
        assert ((boxes[:, 2:] - boxes[:, :2]) > 0).all()
        counts.append(len(boxes))
        sizes.extend(boxes[:, 2] - boxes[:, 0])
    assert max(counts) > (5 if first == 'CachedMosaic' else 4)
    assert max(sizes) > 3 * np.quantile(sizes, 0.2)  # the scale jitters


def test_large_scale_jitter_notes_the_homography():
    rng = np.random.default_rng(2)
    transforms = steps_of('plus_pipeline', 'RandomResize', 'PackDetInputs')
    inside = 0
    for _ in range(10):
        before = sample(rng, colors=COLORS[:4])
        boxes = before['gt_bboxes'].tensor.clone()
        packed = transforms(before)['data_samples']
        matrix = torch.from_numpy(packed.homography_matrix)
        corners = torch.cat((boxes.view(-1, 2), torch.ones(10, 1)), 1) @ matrix.T
        moved = corners[:, :2].reshape(-1, 4)
        moved = torch.cat((torch.minimum(moved[:, :2], moved[:, 2:]),
                           torch.maximum(moved[:, :2], moved[:, 2:])), 1)
        for box in packed.gt_instances.bboxes.tensor:
            if box.min() > 0 and box.max() < 320:
                inside += 1
                assert (moved - box).abs().amax(1).min() < 1
    assert inside > 5


def test_packed_mosaic_has_ignored_instances():
    rng = np.random.default_rng(3)
    transforms = steps_of('plus_mosaic_pipeline', 'CachedMosaic', 'PackDetInputs')
    packed = [transforms(sample(rng))['data_samples'] for _ in range(12)]
    ignored = torch.cat([each.ignored_instances.labels for each in packed])
    assert len(ignored) and (ignored == IGNORED).all()
    assert all((each.gt_instances.labels != IGNORED).all() for each in packed)


def test_mixup_is_the_mean_of_two_images():
    """Each image has a channel and a label of its own, so that both can be told apart."""
    rng = np.random.default_rng(4)
    channels = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    mixup = steps_of('plus_mosaic_pipeline', 'CachedMixUp', 'CachedMixUp')
    mixed = 0
    for number in range(30):
        label = number % 3
        image, boxes, _ = draw_rectangles(rng, [channels[label]], 3, 320, 320)
        labels = np.full(3, label)
        out = mixup(dict(
            img=image, img_shape=(320, 320), gt_bboxes=HorizontalBoxes(torch.from_numpy(boxes)),
            gt_bboxes_labels=labels, gt_ignore_flags=labels == 1))
        labels = out['gt_bboxes_labels']
        assert np.array_equal(out['gt_ignore_flags'], labels == 1)
        own = labels == label
        if own.all():  # not mixed, or with an image of its own label
            continue
        mixed += 1
        assert own.sum() == 3 and len(labels) == 6
        for channel in range(3):
            plane = np.where(np.arange(3) == channel, out['img'], 0)
            color = [100 if each == channel else 0 for each in range(3)]
            boxes = out['gt_bboxes'].tensor[labels == channel]
            assert_same_rectangles(plane, [color], boxes, np.zeros(len(boxes), int))
    assert mixed > 5


def test_mosaic_of_more_than_boxes_is_an_error():
    rng = np.random.default_rng(6)
    mosaic = steps_of('plus_mosaic_pipeline', 'CachedMosaic', 'CachedMosaic')
    crop = CenterAffine(crop_size=(64, 64))
    with pytest.raises(UserError, match='rows of gt_attributes: a transform before this one'):
        for _ in range(8):
            crop(mosaic(dict(sample(rng), gt_attributes=np.zeros((5, 1)))))


def test_the_example_of_the_docs_loads(tmp_path):
    page = (BASES.parents[2] / 'docs/training.md').read_text()
    block, = (each for each in re.findall(r'```python\n(.*?)```', page, re.S)
              if 'last_pipeline' in each)
    path = tmp_path / 'example.py'
    path.write_text(block.replace("'./_base_", f"'{BASES.parent}"))
    config = Config.fromfile(path)
    ema, switch = config.custom_hooks
    assert ema.type == 'mmengine.EMAHook'
    assert switch.switch_pipeline == config.last_pipeline
    assert switch.switch_epoch < config.train_cfg.max_epochs
    assert config.train_dataloader.dataset.pipeline == config.train_pipeline
    assert list(wrong_types(config.to_dict())) == []


def test_both_pipelines_test_alike_and_end_alike():
    plain, mosaic = (Config.fromfile(BASES / f'plus{name}_pipeline.py')
                     for name in ('', '_mosaic'))
    assert plain.test_pipeline == mosaic.test_pipeline
    assert plain.train_pipeline == mosaic.last_pipeline
    assert mosaic.train_dataloader.dataset.pipeline == mosaic.train_pipeline
