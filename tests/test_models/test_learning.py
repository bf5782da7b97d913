"""The light detector learns ellipses and rectangles: if anything between the image file and the
evaluation is broken, it does not."""
import json
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner

MODEL = Path(__file__).parents[2] / 'configs/_base_/models/centernet_lite0_dlaup.py'
CLASSES = ('ellipse', 'rectangle')
WIDTH, HEIGHT = 128, 96
TRAIN_IMAGES, VAL_IMAGES = 48, 24
OBJECTS_PER_IMAGE = 4
LONG_SIDES = 18, 43  # px, the second one excluded; the short side is two thirds
EPOCHS, REPEATS, BATCH = 6, 4, 8
META_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'homography_matrix')


def place(rng, label, taken):
    """A box (x, y, width, height), wide or tall by the class, that covers at most a tenth of
    each box before it."""
    while True:
        long = int(rng.integers(*LONG_SIDES))
        w, h = (long, long * 2 // 3) if label else (long * 2 // 3, long)
        x, y = int(rng.integers(0, WIDTH - w)), int(rng.integers(0, HEIGHT - h))
        covered = [
            max(min(x + w, left + width) - max(x, left), 0)
            * max(min(y + h, top + height) - max(y, top), 0) / (width * height)
            for left, top, width, height in taken]
        if max(covered, default=0) <= 0.1:
            return x, y, w, h


def write_shapes(folder, name, count, rng):
    """Write ``folder/name/*.png`` and ``folder/name.json``: filled shapes of random colors that
    stand out from a noisy ground."""
    (folder / name).mkdir()
    images, annotations = [], []
    for number in range(count):
        ground = rng.integers(40, 216, 3)
        image = np.clip(ground + rng.normal(0, 25, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
        boxes = []
        for _ in range(OBJECTS_PER_IMAGE):
            label = int(rng.integers(len(CLASSES)))
            x, y, w, h = place(rng, label, boxes)
            boxes.append((x, y, w, h))
            color = rng.integers(0, 256, 3)
            while np.abs(color - ground).sum() < 150:
                color = rng.integers(0, 256, 3)
            inside = np.ones((h, w), bool)
            if CLASSES[label] == 'ellipse':
                rows, columns = np.ogrid[:h, :w]
                inside = (
                    ((2 * rows + 1) / h - 1) ** 2 + ((2 * columns + 1) / w - 1) ** 2 <= 1)
            image[y:y + h, x:x + w][inside] = color
            annotations.append(dict(
                id=len(annotations) + 1, image_id=number, category_id=label + 1, iscrowd=0,
                bbox=[x, y, w, h], area=w * h))
        file = f'{number}.png'
        cv2.imwrite(str(folder / name / file), image)
        images.append(dict(id=number, file_name=file, width=WIDTH, height=HEIGHT))
    (folder / f'{name}.json').write_text(json.dumps(dict(
        images=images, annotations=annotations,
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)])))


def make_config(folder, seed):
    """A whole config: the package's own model, data sets and transforms."""
    def dataset(name, pipeline, **options):
        return dict(
            type='mmdet_centernet.CocoDataset', data_root=f'{folder}/', ann_file=f'{name}.json',
            data_prefix=dict(img=f'{name}/'), metainfo=dict(classes=CLASSES), pipeline=pipeline,
            **options)

    train_pipeline = [
        dict(type='mmdet_centernet.LoadImage'),
        dict(type='mmdet.LoadAnnotations', with_bbox=True),
        dict(type='mmdet_centernet.CenterAffine', crop_size=(96, 96), border=32,
             scales=(0.6, 0.75, 0.9)),
        dict(type='mmdet_centernet.ColorJitterPCA'),
        dict(type='mmdet.PackDetInputs', meta_keys=META_KEYS)]
    test_pipeline = [
        dict(type='mmdet_centernet.LoadImage'),
        dict(type='mmdet_centernet.CenterPad'),
        dict(type='mmdet.LoadAnnotations', with_bbox=True),
        dict(type='mmdet.PackDetInputs', meta_keys=META_KEYS)]
    steps = EPOCHS * REPEATS * TRAIN_IMAGES // BATCH
    cfg = Config.fromfile(MODEL)  # with weights from ImageNet, from a package of the demo
    cfg.merge_from_dict(dict(
        default_scope='mmdet',
        custom_imports=dict(imports=['mmdet_centernet'], allow_failed_imports=False),
        work_dir=str(folder / 'work_dir'),
        model=dict(
            backbone=dict(frozen_stages=2),
            bbox_head=dict(num_classes=len(CLASSES), loss_wh=dict(loss_weight=0.2))),
        train_dataloader=dict(
            batch_size=BATCH, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(
                type='RepeatDataset', times=REPEATS, dataset=dataset('train', train_pipeline))),
        val_dataloader=dict(
            batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dataset('val', test_pipeline, test_mode=True)),
        val_evaluator=dict(
            type='mmdet.CocoMetric', ann_file=str(folder / 'val.json'), metric='bbox'),
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=EPOCHS, val_interval=EPOCHS),
        val_cfg=dict(type='ValLoop'),
        optim_wrapper=dict(
            type='OptimWrapper', optimizer=dict(type='AdamW', lr=5e-3, weight_decay=0.01),
            clip_grad=dict(max_norm=35)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20),
            dict(type='CosineAnnealingLR', by_epoch=False, T_max=steps, end=steps)],
        default_hooks=dict(checkpoint=None, logger=dict(type='LoggerHook', interval=10)),
        randomness=dict(seed=seed)))
    return cfg


def learn(folder, seed):
    """Train and return the COCO metrics of images never seen."""
    rng = np.random.default_rng(seed)
    write_shapes(folder, 'train', TRAIN_IMAGES, rng)
    write_shapes(folder, 'val', VAL_IMAGES, rng)
    runner = Runner.from_cfg(make_config(folder, seed))
    runner.train()
    return {
        name.rpartition('/')[2]: runner.message_hub.get_scalar(name).current()
        for name in runner.message_hub.log_scalars if name.startswith('val/coco/')}


def test_shapes_are_learned(tmp_path):
    """Seeds 0, 1 and 2 reach an AP of 0.72, 0.74 and 0.75; offsets with x and y swapped in
    decoding reach 0.54."""
    metrics = learn(tmp_path, seed=0)
    assert metrics['bbox_mAP'] >= 0.6, metrics
