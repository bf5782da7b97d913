"""configs/centernet_lite0_attributes.py learns drawn fruit: if anything between the annotation
file and the metric is broken, its attributes are not learned."""
import json

import cv2
import numpy as np
import torch
from tiny_project import ROOT, load_tool

from mmdet_centernet import cli

CONFIG = ROOT / 'configs/centernet_lite0_attributes.py'
WIDTH, HEIGHT = 128, 96
TRAIN_IMAGES, VAL_IMAGES = 40, 16
FRUIT_PER_IMAGE = 4
STEPS, BATCH = 140, 8
CLASSES = ('apple', 'pear')
COLORS = dict(green=(70, 230, 60), ripe=(240, 60, 40), rotten=(120, 85, 190))  # RGB
LONG_SIDES = 22, 41  # px, the second one excluded
MISSING = 0.2  # of all values


def weight_of(long):
    """The weight of a fruit by its long side, 100 to 200."""
    return 100 + 100 * (long - LONG_SIDES[0]) / (LONG_SIDES[1] - LONG_SIDES[0] - 1)


def draw_fruit(image, box, ripeness, defects):
    """Draw a fruit in its box (xywh)."""
    x, y, w, h = box
    rows, columns = np.ogrid[:h, :w]
    rows, columns = (2 * rows + 1) / h - 1, (2 * columns + 1) / w - 1
    inside = rows ** 2 + columns ** 2 <= 1
    part = image[y:y + h, x:x + w]
    part[inside] = COLORS[ripeness]
    if 'bruise' in defects:
        part[inside & (rows > .35)] = (30, 20, 60)
    if 'hole' in defects:
        part[rows ** 2 + columns ** 2 < .16] = (245, 240, 230)


def place(rng, size, taken):
    """A place (x, y) for a box where it overlaps none of the others."""
    w, h = size
    while True:
        x, y = int(rng.integers(0, WIDTH - w)), int(rng.integers(0, HEIGHT - h))
        if all(x + w <= left or left + width <= x or y + h <= top or top + height <= y
               for left, top, width, height in taken):
            return x, y


def write_fruit(root, name, count, rng):
    """Write ``root/name/*.png`` and ``root/annotations/name.json``."""
    (root / name).mkdir(parents=True)
    (root / 'annotations').mkdir(exist_ok=True)
    images, annotations = [], []
    for number in range(count):
        image = rng.integers(90, 160, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        boxes = []
        for _ in range(FRUIT_PER_IMAGE):
            label = int(rng.integers(2))
            ripeness = str(rng.choice(list(COLORS)))
            defects = [defect for defect in ('bruise', 'hole') if rng.random() < .4]
            # Apples are wide, pears are high.
            long = int(rng.integers(*LONG_SIDES))
            size = (long * 3 // 4, long) if label else (long, long * 3 // 4)
            box = (*place(rng, size, boxes), *size)
            boxes.append(box)
            draw_fruit(image, box, ripeness, defects)
            attributes = dict(ripeness=ripeness, defects=','.join(defects), weight=weight_of(long))
            annotations.append(dict(
                id=len(annotations) + 1, image_id=number, category_id=label + 1, iscrowd=0,
                bbox=box, area=size[0] * size[1],
                # As in CVAT, with an attribute that nobody asks for.
                attributes=dict(occluded=False, **{
                    key: value for key, value in attributes.items() if rng.random() > MISSING})))
        cv2.imwrite(str(root / name / f'{number}.png'), image[..., ::-1])
        images.append(dict(id=number, file_name=f'{number}.png', width=WIDTH, height=HEIGHT))
    (root / 'annotations' / f'{name}.json').write_text(json.dumps(dict(
        images=images, annotations=annotations,
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)])))


def write_config(folder):
    """Write the example's config with other sizes."""
    path = folder / 'fruit.py'
    path.write_text(f"""
_base_ = '{CONFIG}'
train_dataloader = dict(num_workers=0, persistent_workers=False, batch_size={BATCH})
train_dataloader['dataset'] = dict(times=1, dataset=dict(pipeline=[
    dict(step, crop_size=(96, 96), border=32, scales=(0.75, ))
    if step['type'].endswith('CenterAffine') else step for step in _base_.train_pipeline
    if not step['type'].endswith('ColorJitterPCA')]))
train_dataloader['sampler'] = dict(_delete_=True, type='InfiniteSampler', shuffle=True)
val_dataloader = dict(num_workers=0, persistent_workers=False, batch_size=4)
test_dataloader = val_dataloader
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters={STEPS},
                 val_interval={STEPS})
optim_wrapper = dict(optimizer=dict(lr=5e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=15),
    dict(type='CosineAnnealingLR', by_epoch=False, T_max={STEPS}, end={STEPS})]
auto_scale_lr = dict(enable=False)
default_hooks = dict(checkpoint=dict(by_epoch=False, interval={STEPS}))
log_processor = dict(by_epoch=False)
""")
    return path


def learn(folder, seed, monkeypatch):
    """Train with tools/train.py and return its last figures."""
    rng = np.random.default_rng(seed)
    write_fruit(folder / 'data/fruit', 'train', TRAIN_IMAGES, rng)
    write_fruit(folder / 'data/fruit', 'val', VAL_IMAGES, rng)
    monkeypatch.chdir(folder)
    assert cli.run(load_tool('train.py').main, [
        str(write_config(folder)), '--work-dir', str(folder / 'work'), '--seed', str(seed)]) == 0
    scalars, = (folder / 'work').glob('*/vis_data/scalars.json')
    return json.loads(scalars.read_text().splitlines()[-1])


def test_attributes_of_unseen_fruit_are_learned(tmp_path, monkeypatch):
    figures = learn(tmp_path, 0, monkeypatch)
    assert figures['coco/bbox_mAP'] >= 0.5, figures
    assert figures['attribute/matched'] >= 0.9 * VAL_IMAGES * FRUIT_PER_IMAGE, figures
    assert figures['attribute/ripeness_accuracy'] >= 0.95, figures
    checkpoint = torch.load(tmp_path / f'work/iter_{STEPS}.pth', weights_only=True)
    attributes = checkpoint['meta']['dataset_meta']['attributes']
    assert attributes['ripeness'] == dict(kind='class', values=['green', 'ripe', 'rotten'])
