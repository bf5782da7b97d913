"""The original's weights, through the converter, compute and detect what they do there.

The reference values were made by running the original on weights that
``parity_weights.py`` rebuilds; bubbliiiing's network is written out in ``reference``.
"""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import load_checkpoint
from parity_weights import FOLDER, assert_equals_official, seeded_input, seeded_state_dict
from reference.networks import bubbliiiing_slowly

from mmdet_centernet.checkpoints.convert import convert, write_checkpoint
from mmdet_centernet.models.properties import Box
from mmdet_centernet.models.test_time_augs import CenterNetTTAModel

CONFIGS = Path(__file__).parents[2] / 'configs'
OFFICIAL_CONFIGS = {
    'ctdet/res_18': 'official/ctdet_coco_res18.py',
    'ctdet/resdcn_18': 'official/ctdet_coco_resdcn18.py',
    'ctdet/dla_34': 'official/ctdet_coco_dla_1x.py',
    'ctdet/hourglass': 'official/ctdet_coco_hg.py',
    'multi_pose/dla_34': 'official/multi_pose_dla_3x.py',
    'ddd/dla_34': 'official/ddd_3dop.py',
}
# Networks whose detections are compared, and the reference's name for them.
DETECTING = {'ctdet/resdcn_18': 'ctdet_r18_keep', 'multi_pose/dla_34': 'pose_dla34_keep',
             'ddd/dla_34': 'ddd_dla34'}
# Steps of pipelines for which an image alone has nothing.
LOADING = ('mmdet.LoadAnnotations', 'mmdet_centernet.LoadKeypoints', 'mmdet_centernet.LoadBoxes3D')
ENTRIES = sorted(json.loads((FOLDER / 'official_outputs.json').read_text()))
DETECTIONS = json.loads((FOLDER / 'official_detections.json').read_text())


def config_of(entry):
    """Return the config of a network of the original."""
    config = Config.fromfile(CONFIGS / OFFICIAL_CONFIGS[entry])
    config.model.backbone.init_cfg = None
    return config


def build(config):
    with DefaultScope.overwrite_default_scope('mmdet'):
        return MODELS.build(config.model).eval()


def converted(config, weights, folder):
    """Return the config's model with weights that went through files of both kinds."""
    torch.save(weights, folder / 'theirs.pth', _use_new_zipfile_serialization=False)
    checkpoint, _ = convert(config, folder / 'theirs.pth')
    write_checkpoint(checkpoint, folder / 'ours.pth')
    model = build(config)
    load_checkpoint(model, str(folder / 'ours.pth'), strict=True)
    for name in ('theirs.pth', 'ours.pth'):  # up to 800 MB each
        (folder / name).unlink()
    return model


@pytest.fixture(scope='module')
def official(tmp_path_factory):
    """``official(entry)``: config and model of a network of the original.

    Those that detect are kept for the next test.
    """
    kept = {}

    def make(entry):
        if entry in kept:
            return kept[entry]
        config = config_of(entry)
        weights = dict(epoch=1, state_dict=seeded_state_dict(entry))
        made = config, converted(config, weights, tmp_path_factory.mktemp('official'))
        if entry in DETECTING:
            kept[entry] = made
        return made

    return make


def packed_scene(config, name):
    """Return the image of reference detections, and its camera, as the config's test pipeline
    packs them."""
    entry = DETECTIONS[name]
    sample = dict(img_path=str(FOLDER / entry['image']), img_id=0)
    if entry['cam2img'] is not None:
        sample['cam2img'] = np.array(entry['cam2img'])
    with DefaultScope.overwrite_default_scope('mmdet'):
        pipeline = Compose([
            step for step in config.test_dataloader.dataset.pipeline if step.type not in LOADING])
        return pipeline(sample)


def reference(name):
    """Return detections of the original, float64: class, xyxy, score, and x, y of keypoints if
    any; in 3D class, alpha, xyxy, h, w, l, x, y, z, rotation_y, score."""
    rows = torch.tensor(DETECTIONS[name]['rows'], dtype=torch.float64)
    assert len(rows) == 100
    return rows


@pytest.mark.parametrize('entry', ENTRIES)
def test_outputs_equal_the_originals(entry, official):
    _, model = official(entry)
    with torch.no_grad():
        outputs = model(seeded_input(), mode='tensor')[0][-1]
    theirs = {name: branch.official_name for name, branch in model.bbox_head.branches.items()}
    assert_equals_official({theirs[name]: value for name, value in outputs.items()}, entry)


def detections(config, model, name):
    packed = packed_scene(config, name)
    with torch.no_grad():
        return model.test_step(
            {key: [value] for key, value in packed.items()})[0].pred_instances


@pytest.mark.parametrize('entry, name', DETECTING.items())
def test_detections_equal_the_originals(entry, name, official):
    found = detections(*official(entry), name)
    assert len(found.scores) == 100
    assert matched(found, reference(name)) >= 97


def test_sizes_of_3d_detections_need_the_originals_shift(official, monkeypatch):
    """It maps a size as if it were a point; without it the boxes differ."""
    config, model = official('ddd/dla_34')
    monkeypatch.setattr(model.bbox_head.find_property(Box), 'shift_sizes', False)
    assert matched(detections(config, model, 'ddd_dla34'), reference('ddd_dla34')) < 97


def test_flip_testing_computes_the_originals_boxes(official, monkeypatch):
    """Each detection of the original's flip testing is what our averaged maps hold at a cell.

    The order of the 100 best cells is not compared: all scores lie within 0.002, and the
    reference's own offsets, which are not averaged, differ from those of its run without flip by
    0.0005 cells. That is enough to change the order of neighbors.
    """
    config, detector = official('ctdet/resdcn_18')
    monkeypatch.setattr(
        detector.bbox_head, 'test_cfg', dict(max_per_img=80 * 96 * 128, local_maximum_kernel=1))
    packed = packed_scene(config, 'ctdet_r18_keep_flip')
    with torch.no_grad():
        found = CenterNetTTAModel(module=detector).test_step(
            {key: [[value]] for key, value in packed.items()})[0].pred_instances
    rows = reference('ctdet_r18_keep_flip')
    found = found[torch.isin(found.labels, rows[:, 0].long().unique())]
    assert matched(found, rows) == 100


def distances(found, rows, columns):
    """Return the largest of the k differences between each of ours [n, k] and each of the
    original's in some columns."""
    return (found.reshape(len(found), 1, -1) - rows[:, columns]).abs().amax(dim=2)


def same_boxes(found, rows):
    """Return the mask of our detections that are the original's, by box and keypoints."""
    same = distances(found.bboxes, rows, slice(1, 5)) <= 0.1
    if rows.shape[1] > 6:
        same &= distances(found.keypoints, rows, slice(6, None)) <= 0.1
    return same & (distances(found.scores, rows, slice(5, 6)) <= 1e-3)


def same_boxes_3d(found, rows):
    """Return the mask of our detections that are the original's, by 2D and 3D box and angles.

    The original takes the depth for the homogeneous coordinate, which is 5 mm more in this
    camera: its boxes are nearer by that than it predicted, ours are not.
    """
    def apart(angles, column):
        difference = angles[:, None] - rows[:, column]
        return torch.atan2(difference.sin(), difference.cos()).abs()

    same = distances(found.bboxes, rows, slice(2, 6)) <= 0.1
    same &= distances(found.bboxes_3d[:, 3:6], rows, slice(6, 9)) <= 0.01
    same &= distances(found.bboxes_3d[:, :3], rows, slice(9, 12)) <= 0.01
    same &= apart(found.alpha, 1) <= 1e-3
    same &= apart(found.bboxes_3d[:, 6], 12) <= 1e-3
    return same & (distances(found.scores, rows, slice(13, 14)) <= 1e-3)


def matched(found, rows):
    """Count the original's detections that have a partner of their own among ours."""
    same = (same_boxes_3d if 'bboxes_3d' in found else same_boxes)(found, rows)
    same &= found.labels[:, None] == rows[:, 0]
    taken = set()
    for row in range(len(rows)):
        partner = next((i for i in same[:, row].nonzero()[:, 0].tolist() if i not in taken), None)
        if partner is not None:
            taken.add(partner)
    return len(taken)


def test_outputs_equal_bubbliiiings(tmp_path):
    weights = seeded_state_dict('bubbliiiing/resnet50')
    config = Config.fromfile(CONFIGS / 'bubbliiiing' / 'resnet50_voc.py')
    config.model.backbone.init_cfg = None
    # Odd sizes round up in its max pooling.
    images = torch.randn(2, 3, 96, 160, generator=torch.Generator().manual_seed(3))
    expected = bubbliiiing_slowly(weights, images)
    model = converted(config, weights, tmp_path)
    with torch.no_grad():
        outputs = model(images, mode='tensor')[0][-1]
    for name, value in expected.items():
        error = (outputs[name] - value).abs().max()
        assert error < 1e-4 * value.std(), name
