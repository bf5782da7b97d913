"""A made-up data set in KITTI's format, and a 3D model for it."""
from pathlib import Path

import cv2
import numpy as np
import tiny_project
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_centernet.ops.camera import depth_of
from mmdet_centernet.ops.multi_bin import encode_angles
from mmdet_centernet.registry import MODELS

WIDTH, HEIGHT = 240, 80
STRIDE = 4
CLASSES = ('Pedestrian', 'Car', 'Cyclist')
COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
# What weights_of sees: an object in the middle of its bin.
CAR = dict(label=1, depth=12., dims=(1.5, 1.6, 3.9), alpha=1.2)

CONFIG = """
num_classes = 3
model['bbox_head'] = dict(
    type='mmdet_centernet.CenterNetMono3DHead', num_classes=num_classes, in_channels=8,
    feat_channels=8)
load = [
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(type='mmdet_centernet.LoadBoxes3D')]
pack = dict(type='mmdet_centernet.PackMono3DInputs')
kitti = dict(
    type='mmdet_centernet.KittiMono3DDataset', data_root={data!r}, ann_file='train.txt',
    metainfo=dict(classes={classes!r}, palette={palette!r}))
train_dataloader['dataset'] = dict(kitti, pipeline=[
    dict(type='mmdet_centernet.LoadImage'), *load,
    dict(type='mmdet_centernet.CenterAffine3D', size=(192, 64), fit='width'), pack])
test_dataloader['dataset'] = dict(kitti, test_mode=True, pipeline=[
    dict(type='mmdet_centernet.LoadImage'),
    dict(type='mmdet_centernet.CenterResize', size=(192, 64), fit='width'), *load, pack])
val_evaluator = dict(
    type='mmdet_centernet.KittiMetric', label_dir={data!r} + 'training/label_2',
    recall_points=[40])
test_evaluator = [val_evaluator]
visualizer = dict(type='mmdet_centernet.Mono3DLocalVisualizer', name='visualizer')
"""


def camera(index=0):
    """The projection [3, 4] of an image, each another one."""
    focal = 150. + 20 * index
    return np.array([[focal, 0, WIDTH / 2 + index, 9. - index], [0, focal, HEIGHT / 2, 0.4],
                     [0, 0, 1, 0.003]])


def write_data(folder, num_images=3):
    """Write ``folder/data/{training/{image_2,label_2,calib},train.txt}``: a car in each image.

    Returns:
        Path: The folder of the data.
    """
    data = Path(folder) / 'data'
    rng = np.random.default_rng(0)
    for name in ('image_2', 'label_2', 'calib'):
        (data / 'training' / name).mkdir(parents=True)
    for index in range(num_images):
        image = rng.integers(40, 60, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        cv2.rectangle(image, (90, 30), (150, 60), (200, 120, 90), -1)
        cv2.imwrite(str(data / 'training/image_2' / f'{index:06d}.png'), image)
        (data / 'training/label_2' / f'{index:06d}.txt').write_text(
            'Car 0.00 0 0.50 90.00 30.00 150.00 60.00 1.50 1.60 3.90 0.10 1.60 11.00 0.51\n'
            'DontCare -1 -1 -10 10.00 30.00 30.00 40.00 -1 -1 -1 -1000 -1000 -1000 -10\n')
        numbers = ' '.join(f'{value:.9e}' for value in camera(index).flatten())
        (data / 'training/calib' / f'{index:06d}.txt').write_text(f'P2: {numbers}\n')
    (data / 'train.txt').write_text(''.join(f'{index:06d}\n' for index in range(num_images)))
    return data


def write_config(folder, data, name='tiny_mono3d.py', extra=''):
    """Write a config of a 3D model for :func:`write_data`.

    Returns:
        Path: The config file.
    """
    return tiny_project.write_config(folder, data, name, extra=CONFIG.format(
        data=f'{data}/', classes=CLASSES, palette=COLORS) + extra)


def weights_of(config, size=(48, 24), score=0.9, **changes):
    """Weights that see in every cell the same object.

    Args:
        config (Path): Of :func:`write_config`.
        size (tuple[float, float]): Width and height of its 2D box, input px.
        score (float): Of the centre.
        **changes: Of :data:`CAR`.

    Returns:
        OrderedDict: A state dict.
    """
    settings = Config.fromfile(config)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(settings.model)
    seen = {**CAR, **changes}
    heat = torch.full((len(CLASSES), ), -9.)
    heat[seen['label']] = torch.tensor(score).logit()
    angles = encode_angles(torch.tensor([seen['alpha']]))
    orientation = torch.cat((torch.zeros(1, 2, 1), angles), dim=-1).flatten()
    depth = -torch.tensor([seen['depth']]).log()
    assert torch.allclose(depth_of(depth), torch.tensor([seen['depth']]))
    values = dict(heatmap=heat, depth=depth, dims=torch.tensor(seen['dims']),
                  orientation=orientation, wh=torch.tensor(size) / STRIDE,
                  offset=torch.full((2, ), 0.5))
    with torch.no_grad():
        for name, branch in model.bbox_head.stacks[0].items():
            branch[-1].weight.zero_()
            branch[-1].bias.copy_(values[name])
    return model.state_dict()
