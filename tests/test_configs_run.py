"""Every config trains a step and predicts: its own model, pipelines, hooks and metric.

What is made smaller: two images, crops of 128 px, one process, no published weights.
"""
import json

import cv2
import numpy as np
import pytest
import torch
from helpers.configs import CONFIGS, FINAL, block_with, config_id, write_block
from mmdet.datasets import CocoDataset, VOCDataset
from mmengine import Config
from mmengine.hooks import EMAHook, Hook
from mmengine.runner import Runner

from mmdet_centernet.datasets import CocoPoseDataset
from mmdet_centernet.models.properties import Keypoints

SIDE = 128
WIDTH, HEIGHT = 100, 70
BOX = (20, 10, 70, 50)  # xyxy
FROZEN_BACKBONE = {
    'bubbliiiing/resnet50_voc', 'centernet_r50_dcn_100e_voc0712'}  # in the first epochs
# Large, or a second of the same parts: `pytest -m every_config` runs these too.
SLOW = {
    'centernet_dla34_230e_coco', 'centernet_hg104_50e_coco', 'centernet_r101_dcn_140e_coco',
    'centernet_r18_dcn_tree_crowns', 'bubbliiiing/hourglass_coco', 'official/ctdet_coco_dla_2x',
    'official/ctdet_coco_hg', 'official/ctdet_coco_resdcn101', 'official/ctdet_pascal_dla_384',
    'official/ctdet_pascal_resdcn18_384', 'official/ctdet_pascal_resdcn101_384',
    'official/ctdet_pascal_resdcn101_512', 'centernet_pose_dla34_140e_coco',
    'centernet_pose_r50_dlaup_140e_coco', 'centernet_pose_lite0_figures',
    'official/multi_pose_dla_1x',
    'official/multi_pose_dla_3x', 'official/multi_pose_hg_1x', 'official/multi_pose_hg_3x',
    'centernet_mono3d_dla34_70e_kitti', 'centernet_mono3d_lite0_70e_kitti', 'official/ddd_sub',
    'plus/centernet_mono3d_plus_dla34_kitti', 'plus/centernet_mono3d_plus_lite0_kitti',
    'plus/centernet_plus_dla34_coco', 'plus/centernet_plus_r50_coco'}


def write_images(folder, names):
    folder.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(0).integers(0, 99, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    image[BOX[1]:BOX[3], BOX[0]:BOX[2]] += 120
    for name in names:
        cv2.imwrite(str(folder / name), image)


def write_coco(root, classes, splits, *skeletons, **annotation):
    """Write two images with an object of the first class each.

    ``skeletons``: names of the keypoints of the first classes; ``annotation``: what an object
    has besides its box.
    """
    x1, y1, x2, y2 = BOX
    names = ['000000000001.jpg', '000000000002.jpg']
    (root / 'annotations').mkdir(parents=True, exist_ok=True)
    categories = [dict(id=i, name=name) for i, name in enumerate(classes)]
    for category, keypoints in zip(categories, skeletons):
        category.update(keypoints=list(keypoints), skeleton=[[1, 2]])
    if skeletons:
        count = len(skeletons[0])
        annotation.update(num_keypoints=count, keypoints=[
            value for i in range(count) for value in (x1 + 2 * i, y1 + 2 * i, 2)])
    for ann_file, folder in splits:
        write_images(root / folder, names)
        (root / 'annotations' / ann_file).write_text(json.dumps(dict(
            images=[dict(id=i, file_name=name, width=WIDTH, height=HEIGHT)
                    for i, name in enumerate(names)],
            categories=categories,
            annotations=[
                dict(annotation, id=i + 1, image_id=i, category_id=0, iscrowd=0,
                     bbox=[x1, y1, x2 - x1, y2 - y1], area=(x2 - x1) * (y2 - y1))
                for i in range(len(names))])))


def write_voc(root):
    x1, y1, x2, y2 = BOX
    for year, split in (('VOC2007', 'trainval'), ('VOC2012', 'trainval'), ('VOC2007', 'test')):
        lists = root / year / 'ImageSets/Main'
        lists.mkdir(parents=True, exist_ok=True)
        (lists / f'{split}.txt').write_text(f'{split}_1\n')
        write_images(root / year / 'JPEGImages', [f'{split}_1.jpg'])
        (root / year / 'Annotations').mkdir(exist_ok=True)
        (root / year / f'Annotations/{split}_1.xml').write_text(
            f'<annotation><size><width>{WIDTH}</width><height>{HEIGHT}</height></size><object>'
            f'<name>{VOCDataset.METAINFO["classes"][0]}</name><difficult>0</difficult><bndbox>'
            f'<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox>'
            '</object></annotation>')


def write_kitti(root, folders):
    """Two images with a car 10 m away, whose 2D box is BOX."""
    names = ['000000', '000001']
    write_images(root / 'training/image_2', [f'{name}.png' for name in names])
    for folder in ('training/label_2', 'training/calib', *folders):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / f'training/label_2/{name}.txt').write_text(
            f'Car 0.00 0 1.57 {" ".join(map(str, BOX))} 1.5 1.6 4.0 -0.2 1.5 10.0 1.55\n')
        (root / f'training/calib/{name}.txt').write_text(
            f'P2: 100 0 {WIDTH / 2} 4.5 0 100 {HEIGHT / 2} -0.1 0 0 1 0.003\n')
    for folder in folders:
        for split in ('train', 'val'):
            (root / f'{folder}/{split}.txt').write_text('\n'.join(names) + '\n')


@pytest.fixture(scope='module')
def project_data(tmp_path_factory):
    """A folder with `data/` as the configs expect it."""
    root = tmp_path_factory.mktemp('project')
    write_coco(root / 'data/coco', CocoDataset.METAINFO['classes'], (
        ('instances_train2017.json', 'train2017'), ('instances_val2017.json', 'val2017')))
    write_coco(root / 'data/coco', ['person'], (
        ('person_keypoints_train2017.json', 'train2017'),
        ('person_keypoints_val2017.json', 'val2017')),
        CocoPoseDataset.METAINFO['keypoint_name2id'])
    write_coco(root / 'data/tree_crowns', ['tree'], (
        ('train.json', 'train'), ('val.json', 'val'), ('test.json', 'test')))
    write_coco(root / 'data/figures', ['figure'], (('train.json', 'train'), ('val.json', 'val')), (
        'head', 'neck', 'hip', 'left_hand', 'right_hand', 'left_foot', 'right_foot'))
    write_coco(root / 'data/fruit', ['apple', 'pear'], (
        ('train.json', 'train'), ('val.json', 'val')),
        attributes=dict(ripeness='ripe', defects='hole', weight=142.5))
    write_coco(
        root / 'data/street', ['person', 'dog', 'car'], (('train.json', 'train'),
                                                         ('val.json', 'val')),
        CocoPoseDataset.METAINFO['keypoint_name2id'],
        ['nose', 'left_ear', 'right_ear', 'back', 'tail'])
    write_coco(root / 'data/mine', CocoDataset.METAINFO['classes'], (
        ('train.json', 'images'), ('val.json', 'images')))
    for file in (root / 'data/mine/annotations').iterdir():
        file.rename(root / 'data/mine' / file.name)
    write_voc(root / 'data/VOCdevkit')
    write_kitti(root / 'data/kitti', ['ImageSets_3dop', 'ImageSets_subcnn'])
    write_kitti(root / 'data/road_scenes', ['ImageSets'])
    return root


@pytest.fixture
def project(project_data, monkeypatch):
    """The folder to work in."""
    monkeypatch.chdir(project_data)


def shrink(node):
    """Every crop and fixed size to SIDE, every repetition to one, in a config."""
    if isinstance(node, dict):
        for key in ('crop_size', 'size', 'scale'):
            if isinstance(node.get(key), (tuple, list)):
                node[key] = (SIDE, SIDE)
        if 'times' in node:
            node['times'] = 1
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        for value in node:
            shrink(value)


class Keep(Hook):
    """Keeps what the loops get."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.losses = outputs

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.predictions = outputs


def train_a_step(path, work_dir, epochs=1, **options):
    """Train one step per epoch as the config says, and validate.

    Returns:
        tuple: the runner, what :class:`Keep` kept, the weights before.
    """
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(options)
    cfg.work_dir = str(work_dir)
    cfg.load_from = None
    if 'init_cfg' in cfg.model.backbone:
        cfg.model.backbone.init_cfg = None
    cfg.model.test_cfg.score_thr = 0  # so that a network that has learnt nothing finds something
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(batch_size=2, num_workers=0, persistent_workers=False)
        shrink(loader)
    cfg.train_cfg.update(max_epochs=epochs, val_interval=1)
    cfg.default_hooks.checkpoint = None
    cfg.experiment_name = f'{work_dir.name}_{path.stem}'
    runner = Runner.from_cfg(cfg)
    keep = Keep()
    runner.register_hook(keep)
    before = {}
    runner.model.init_weights()
    runner.model.init_weights = lambda: before.update(
        {name: value.clone() for name, value in runner.model.state_dict().items()})
    runner.train()
    return runner, keep, before


def check(runner, keep, before):
    """One step was made, and there are predictions and metrics of every image.

    Returns:
        list[str]: the weights that the step changed.
    """
    assert runner.iter == runner.max_epochs
    assert torch.isfinite(keep.losses['loss'])
    changed = [name for name, value in runner.model.state_dict().items()
               if not torch.equal(value, before[name])]
    assert any(name.startswith('bbox_head') for name in changed)
    assert len(keep.predictions) == len(runner.val_dataloader.dataset)
    keypoints = [each for each in runner.model.bbox_head.properties
                 if isinstance(each, Keypoints)]
    pose = bool(keypoints)
    mono3d = runner.cfg.model.bbox_head.type == 'mmdet_centernet.CenterNetMono3DHead'
    for sample in keep.predictions:
        found = sample.pred_instances
        assert 0 < len(found.scores) <= runner.cfg.model.test_cfg.max_per_img
        assert torch.isfinite(found.bboxes).all()
        assert found.labels.max() < runner.cfg.model.bbox_head.num_classes
        assert tuple(sample.ori_shape) == (HEIGHT, WIDTH)
        if pose:
            count = max(each.num_keypoints for each in keypoints)
            assert found.keypoints.shape == (len(found), count, 2)
            assert torch.isfinite(found.keypoints).all()
            assert found.keypoint_scores.shape == (len(found), count)
        if mono3d:
            assert found.bboxes_3d.shape == (len(found), 7)
            assert torch.isfinite(found.bboxes_3d).all()
    scalars = runner.message_hub.log_scalars
    assert mono3d or 'val/coco/bbox_mAP' in scalars or 'val/pascal_voc/mAP' in scalars
    assert ('val/kitti/Car_easy_bev_AP40_official' in scalars) == mono3d
    assert ('val/coco/AP' in scalars) == pose
    return changed


@pytest.mark.parametrize('path', [
    pytest.param(path, id=config_id(path), marks=[pytest.mark.every_config] * (
        config_id(path) in SLOW)) for path in FINAL])
def test_a_step_and_a_prediction(path, project, tmp_path):
    changed = check(*train_a_step(path, tmp_path))
    frozen = config_id(path) in FROZEN_BACKBONE
    assert any(name.startswith('backbone.layer4') for name in changed) != frozen or (
        'ResNet' not in Config.fromfile(path).model.backbone.type)


@pytest.mark.every_config
def test_averaged_weights_and_mixed_precision(project, tmp_path):
    """The EMA config as `tools/train.py CONFIG --amp` trains it on a CPU."""
    runner, keep, before = train_a_step(
        CONFIGS / 'centernet_r18_dcn_ema_140e_coco.py', tmp_path, epochs=2,
        **{'optim_wrapper.type': 'mmdet_centernet.CPUAmpOptimWrapper'})
    check(runner, keep, before)
    hook, = (hook for hook in runner.hooks if isinstance(hook, EMAHook))
    name = 'bbox_head.stacks.0.offset.2.bias'
    average, now = hook.ema_model.module.state_dict()[name], runner.model.state_dict()[name]
    assert average.dtype == now.dtype == torch.float32
    # The average of the weights after both steps, nearly all of it the second's so early on.
    assert not torch.equal(average, before[name])
    assert not torch.equal(average, now)
    assert torch.allclose(average, now, rtol=1e-2)


@pytest.mark.every_config
def test_joints_of_ones_own(project, project_data, tmp_path):
    """The config of docs/pose.md, for a file that says which joints there are."""
    write_coco(project_data / 'data/mine', ['stick'], (
        ('../train.json', 'images'), ('../val.json', 'images')), ('l_end', 'middle', 'r_end'))
    path = write_block(block_with('num_keypoints=3'), tmp_path)
    runner, keep, before = train_a_step(path, tmp_path)
    check(runner, keep, before)
    assert runner.model.bbox_head.find_property(Keypoints).flip_pairs == [(0, 2)]
