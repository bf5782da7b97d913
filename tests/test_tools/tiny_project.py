"""A made-up data set and config, small enough to train in a second."""
import importlib.util
import json
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ('square', 'disc')
WIDTH, HEIGHT = 96, 64


def load_tool(name):
    """The module of a file in ``tools/``."""
    path = ROOT / 'tools' / name
    spec = importlib.util.spec_from_file_location(f'tool_{path.stem}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_data(folder, num_images=6, classes=CLASSES, seed=0):
    """Write ``folder/data/{img_*.png,train.json}``: light squares and discs on dark ground.

    Returns:
        Path: The folder of the data.
    """
    rng = np.random.default_rng(seed)
    data = Path(folder) / 'data'
    data.mkdir(parents=True)
    images, annotations = [], []
    for index in range(num_images):
        image = rng.integers(0, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        for _ in range(3):
            label = int(rng.integers(len(CLASSES)))
            side = int(rng.integers(14, 26))
            x, y = int(rng.integers(WIDTH - side)), int(rng.integers(HEIGHT - side))
            if label:
                cv2.circle(image, (x + side // 2, y + side // 2), side // 2, (90, 220, 90), -1)
            else:
                cv2.rectangle(image, (x, y), (x + side, y + side), (220, 120, 90), -1)
            annotations.append(dict(
                id=len(annotations) + 1, image_id=index, category_id=label + 1, iscrowd=0,
                bbox=[x, y, side, side], area=side * side))
        name = f'img_{index}.png'
        cv2.imwrite(str(data / name), image)
        images.append(dict(id=index, file_name=name, width=WIDTH, height=HEIGHT))
    categories = [dict(id=i + 1, name=name) for i, name in enumerate(classes)]
    (data / 'train.json').write_text(json.dumps(dict(
        images=images, annotations=annotations, categories=categories)))
    return data


CONFIG = """
default_scope = 'mmdet'
custom_imports = dict(imports=['mmdet_centernet'], allow_failed_imports=False)
classes = {classes!r}
num_classes = {num_classes}

model = dict(
    type='mmdet_centernet.CenterNet',
    data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor', mean=[0, 0, 0], std=[255, 255, 255],
        bgr_to_rgb=False, pad_size_divisor=32),
    backbone=dict(type='mmdet.ResNet', depth=18, base_channels=8, num_stages=2,
                  strides=(1, 2), dilations=(1, 1), out_indices=(1, ), norm_eval=False),
    neck=dict(type='mmdet_centernet.CTResNetNeck', in_channels=16, num_deconv_filters=(8, ),
              num_deconv_kernels=(4, ), use_dcn={use_dcn}),
    bbox_head=dict(type='mmdet_centernet.CenterNetHead', num_classes=num_classes,
                   in_channels=8, feat_channels=8),
    test_cfg=dict(topk=20, local_maximum_kernel=3, max_per_img=20))

train_pipeline = [
    dict(type='mmdet_centernet.LoadImage'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.CenterAffine', crop_size=(64, 64)),
    dict(type='mmdet_centernet.ColorJitterPCA'),
    dict(type='mmdet.PackDetInputs',
         meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape')),
]
test_pipeline = [
    dict(type='mmdet_centernet.LoadImage'),
    dict(type='mmdet_centernet.CenterPad', pad_mask=31),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet.PackDetInputs',
         meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'homography_matrix')),
]
dataset = dict(
    type='mmdet_centernet.CocoDataset', data_root={data!r}, ann_file='train.json',
    data_prefix=dict(img=''), metainfo=dict(classes=classes), pipeline=train_pipeline)
train_dataloader = dict(
    batch_size=2, num_workers={num_workers}, dataset=dataset,
    sampler=dict(type='DefaultSampler', shuffle=True))
test_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(dataset, test_mode=True, pipeline=test_pipeline))
val_dataloader = test_dataloader
val_evaluator = dict(type='mmdet.CocoMetric', ann_file={ann!r}, metric='bbox')
test_evaluator = [val_evaluator]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs={epochs}, val_interval={epochs})
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3))
auto_scale_lr = dict(base_batch_size=4)
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=-1))
env_cfg = dict(mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
"""


def write_config(folder, data, name='tiny.py', classes=CLASSES, num_classes=None, epochs=2,
                 num_workers=0, use_dcn=False, extra=''):
    """Write a config that trains on :func:`write_data`.

    Returns:
        Path: The config file.
    """
    path = Path(folder) / name
    path.write_text(CONFIG.format(
        data=f'{data}/', ann=str(data / 'train.json'), classes=tuple(classes),
        num_classes=len(classes) if num_classes is None else num_classes, epochs=epochs,
        num_workers=num_workers, use_dcn=use_dcn) + extra)
    return path
