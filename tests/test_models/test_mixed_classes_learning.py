"""One model learns figures with keypoints and discs as plain boxes, from annotations of which some
have no keypoints."""
import json
from pathlib import Path

import cv2
import numpy as np
from mmengine.config import Config
from mmengine.runner import Runner

MODEL = Path(__file__).parents[2] / 'configs/_base_/models/centernet_lite0_dlaup.py'
CATEGORIES = [
    dict(id=1, name='disc'),
    dict(id=2, name='figure', keypoints=['head', 'left_hand', 'right_hand', 'foot'],
         skeleton=[[1, 4], [1, 2], [1, 3]])]
CLASSES = tuple(category['name'] for category in CATEGORIES)
WIDTH, HEIGHT = 96, 96
PLACES = [(x, y) for x in (24, 72) for y in (24, 72)]  # of the objects, more or less
TRAIN_IMAGES, VAL_IMAGES = 48, 24
WITHOUT_KEYPOINTS = 0.3  # of the training annotations
EPOCHS, REPEATS, BATCH = 6, 4, 8


def draw_object(image, name, center, color, rng):
    """Draw an object; return its keypoints [K, 2] (x, y) and its box (x, y, width, height)."""
    size = rng.uniform(10, 17)
    if name == 'disc':
        cv2.circle(image, tuple(map(round, center)), round(size), color, -1)
        return np.empty((0, 2)), np.array([*center - size, 2 * size, 2 * size])
    points = center + size * np.array([
        [0, -1], [-0.8, rng.uniform(-0.6, 0.4)], [0.8, rng.uniform(-0.6, 0.4)],
        [rng.uniform(-0.3, 0.3), 1]])
    for end in points[1:]:
        cv2.line(image, tuple(map(round, points[0])), tuple(map(round, end)), color, 3)
    cv2.circle(image, tuple(map(round, points[0])), 5, color, -1)
    low, high = points.min(axis=0) - 4, points.max(axis=0) + 4
    return points, np.array([*low, *(high - low)])


def write_scenes(folder, name, count, rng, without_keypoints=0.0):
    """Write ``folder/name/*.png`` and ``folder/name.json``."""
    (folder / name).mkdir()
    images, annotations = [], []
    for number in range(count):
        ground = rng.integers(40, 216, 3)
        image = np.clip(ground + rng.normal(0, 15, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
        for place in PLACES:
            color = rng.integers(0, 256, 3)
            while np.abs(color - ground).sum() < 150:
                color = rng.integers(0, 256, 3)
            category = CATEGORIES[rng.integers(len(CATEGORIES))]
            points, box = draw_object(
                image, category['name'], place + rng.uniform(-4, 4, 2), color.tolist(), rng)
            annotation = dict(
                id=len(annotations) + 1, image_id=number, category_id=category['id'], iscrowd=0,
                bbox=box.tolist(), area=float(0.5 * box[2] * box[3]))
            if len(points) and rng.random() >= without_keypoints:
                annotation.update(
                    num_keypoints=len(points),
                    keypoints=np.column_stack([points, np.full(len(points), 2)]).ravel().tolist())
            annotations.append(annotation)
        cv2.imwrite(str(folder / name / f'{number}.png'), image)
        images.append(dict(id=number, file_name=f'{number}.png', width=WIDTH, height=HEIGHT))
    (folder / f'{name}.json').write_text(json.dumps(dict(
        images=images, annotations=annotations, categories=CATEGORIES)))


def make_config(folder, seed):
    """Return a whole config: the package's own model, data sets, transforms and metrics."""
    def dataset(name, pipeline, **options):
        return dict(
            type='mmdet_centernet.CocoPoseDataset', data_root=f'{folder}/',
            ann_file=f'{name}.json', data_prefix=dict(img=f'{name}/'),
            metainfo=dict(classes=CLASSES), pipeline=pipeline, **options)

    load = [dict(type='mmdet_centernet.LoadImage'),
            dict(type='mmdet.LoadAnnotations', with_bbox=True),
            dict(type='mmdet_centernet.LoadKeypoints')]
    pack = dict(type='mmdet_centernet.PackPoseInputs')
    train_pipeline = [
        *load,
        dict(type='mmdet_centernet.CenterAffine', crop_size=(WIDTH, HEIGHT), random_crop=False,
             scale_jitter=0.2),
        dict(type='mmdet_centernet.ColorJitterPCA'), pack]
    test_pipeline = [*load, dict(type='mmdet_centernet.CenterResize', size=(WIDTH, HEIGHT)), pack]
    steps = EPOCHS * REPEATS * TRAIN_IMAGES // BATCH
    config = Config.fromfile(MODEL)  # with weights from ImageNet, from a package of the demo
    config.merge_from_dict(dict(
        default_scope='mmdet',
        custom_imports=dict(imports=['mmdet_centernet'], allow_failed_imports=False),
        work_dir=str(folder / 'work_dir'),
        model=dict(
            backbone=dict(frozen_stages=2),
            bbox_head=dict(
                _delete_=True, type='mmdet_centernet.CenterHead', num_classes=len(CLASSES),
                in_channels=32, feat_channels=32,
                properties=[
                    dict(type='mmdet_centernet.Box',
                         loss_wh=dict(type='mmdet.L1Loss', loss_weight=0.2)),
                    dict(type='mmdet_centernet.Keypoints', classes=['figure'], num_keypoints=4,
                         dense_displacement=True)])),
        train_dataloader=dict(
            batch_size=BATCH, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
            dataset=dict(
                type='RepeatDataset', times=REPEATS, dataset=dataset('train', train_pipeline))),
        val_dataloader=dict(
            batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=dataset('val', test_pipeline, test_mode=True)),
        val_evaluator=[
            dict(type='mmdet_centernet.CocoKeypointMetric', ann_file=str(folder / 'val.json'),
                 classwise=True),
            dict(type='mmdet.CocoMetric', ann_file=str(folder / 'val.json'), metric='bbox',
                 classwise=True)],
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=EPOCHS, val_interval=EPOCHS),
        val_cfg=dict(type='ValLoop'),
        optim_wrapper=dict(
            type='OptimWrapper', optimizer=dict(type='AdamW', lr=5e-3, weight_decay=0.01),
            clip_grad=dict(max_norm=35)),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=20),
            dict(type='CosineAnnealingLR', by_epoch=False, T_max=steps, end=steps)],
        default_hooks=dict(checkpoint=None, logger=dict(type='LoggerHook', interval=10)),
        custom_hooks=[dict(type='mmdet_centernet.SkeletonHook')],
        randomness=dict(seed=seed)))
    return config


def learn(folder, seed):
    """Train and return the metrics on unseen images."""
    rng = np.random.default_rng(seed)
    write_scenes(folder, 'train', TRAIN_IMAGES, rng, WITHOUT_KEYPOINTS)
    write_scenes(folder, 'val', VAL_IMAGES, rng)
    runner = Runner.from_cfg(make_config(folder, seed))
    runner.train()
    return {
        name.rpartition('/')[2]: runner.message_hub.get_scalar(name).current()
        for name in runner.message_hub.log_scalars if name.startswith('val/coco/')}


def test_poses_of_one_class_and_boxes_of_another_are_learned(tmp_path):
    metrics = learn(tmp_path, seed=0)
    assert metrics['AP'] >= 0.5, metrics
    assert metrics['disc_precision'] >= 0.5, metrics
