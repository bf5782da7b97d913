"""The tiny data set with the corners of its boxes as keypoints, and a pose model for it."""
import json

import tiny_project
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmdet_centernet.registry import MODELS

NAMES = ('left_top', 'right_top', 'left_bottom', 'right_bottom')
COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)]
LINK_COLOR = (255, 0, 255)
LINKS = [(0, 1), (0, 2)]
STRIDE = 4

CONFIG = """
num_keypoints = {num_keypoints}
model['bbox_head'] = dict(
    type='mmdet_centernet.CenterNetPoseHead', num_classes=2, num_keypoints=num_keypoints,
    in_channels=8, feat_channels=8)
for loader in (train_dataloader, test_dataloader):
    loader['dataset'].update(type='mmdet_centernet.CocoPoseDataset', metainfo={metainfo!r})
    steps = loader['dataset']['pipeline'] = list(loader['dataset']['pipeline'])
    load = [step['type'] for step in steps].index('mmdet.LoadAnnotations')
    steps.insert(load + 1, dict(type='mmdet_centernet.LoadKeypoints'))
    steps[-1] = dict(steps[-1], type='mmdet_centernet.PackPoseInputs')
val_evaluator['type'] = 'mmdet_centernet.CocoKeypointMetric'
val_evaluator['metric'] = 'keypoints'
visualizer = dict(type='mmdet_centernet.PoseLocalVisualizer', name='visualizer')
"""
METAINFO = dict(
    classes=tiny_project.CLASSES,
    keypoint_info={i: dict(name=name, id=i, color=list(color))
                   for i, (name, color) in enumerate(zip(NAMES, COLORS))},
    skeleton_info={i: dict(link=(NAMES[a], NAMES[b]), id=i, color=list(LINK_COLOR))
                   for i, (a, b) in enumerate(LINKS)})


def write_data(folder, num_images=2):
    """Write :func:`tiny_project.write_data` with keypoints.

    The last one is hidden, every fifth unknown.

    Returns:
        Path: The folder of the data.
    """
    data = tiny_project.write_data(folder, num_images)
    content = json.loads((data / 'train.json').read_text())
    for index, annotation in enumerate(content['annotations']):
        x, y, w, h = annotation['bbox']
        keypoints = [[x, y, 2], [x + w, y, 2], [x, y + h, 2], [x + w, y + h, 1]]
        keypoints[index % 4] = [0, 0, 0] if index % 5 == 0 else keypoints[index % 4]
        annotation['keypoints'] = sum(keypoints, [])
        annotation['num_keypoints'] = sum(keypoint[2] > 0 for keypoint in keypoints)
    for category in content['categories']:
        category.update(keypoints=list(NAMES), skeleton=[])
    (data / 'train.json').write_text(json.dumps(content))
    return data


def write_config(folder, data, name='tiny_pose.py', num_keypoints=4, metainfo=METAINFO,
                 extra=''):
    """Write a config of a pose model for :func:`write_data`.

    Returns:
        Path: The config file.
    """
    return tiny_project.write_config(folder, data, name, extra=CONFIG.format(
        num_keypoints=num_keypoints, metainfo=metainfo) + extra)


def weights_of(config, size=(40, 24), score=0.9, keypoint_score=0.01):
    """Weights that see in every cell the same figure, whose keypoints are its box's corners.

    Args:
        config (Path): Of :func:`write_config`.
        size (tuple[float, float]): Width and height of the box, px.
        score (float): Of the center, hence of the keypoints, as no keypoint peak is high.
        keypoint_score (float): Of the keypoint heatmaps; above 0.1 keypoints snap to their peaks.

    Returns:
        OrderedDict: A state dict.
    """
    settings = Config.fromfile(config)
    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(settings.model)
    half = torch.tensor(size) / STRIDE / 2
    corners = torch.tensor([[-1., -1], [1, -1], [-1, 1], [1, 1]]) * half
    count = settings.num_keypoints
    corners = corners.repeat(-(-count // len(corners)), 1)[:count]
    logit = torch.tensor([score, keypoint_score]).logit()
    values = dict(heatmap=torch.stack((logit[0], torch.tensor(-9.))), wh=2 * half,
                  offset=torch.zeros(2), keypoint_displacement=corners.flatten(),
                  keypoint_heatmap=logit[1].expand(count), keypoint_offset=torch.zeros(2))
    with torch.no_grad():
        for name, branch in model.bbox_head.stacks[0].items():
            branch[-1].weight.zero_()
            branch[-1].bias.copy_(values[name])
    return model.state_dict()
