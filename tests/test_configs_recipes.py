"""Every block of docs/{recipes,pose}.md is a config that loads, builds, learns and predicts."""
import copy
import re
from functools import cache
from itertools import chain

import pytest
import torch
from helpers.configs import BLOCKS, CONFIGS, PAGES, block_with, write_block, wrong_types
from mmengine import Config
from mmengine.registry import HOOKS, MODELS, TRANSFORMS, DefaultScope
from mmengine.structures import InstanceData

from mmdet_centernet.inference.overrides import apply_test_options

SIDE = 128  # input px


def line_of(block):
    """Return the page and line of a block, for the names of the tests."""
    name = next(name for name in PAGES if block in PAGES[name])
    return f'{name}, line {PAGES[name][:PAGES[name].index(block)].count(chr(10)) + 1}'


def load(block, folder):
    """Return the config of a block."""
    return Config.fromfile(write_block(block, folder))


def base_name(block):
    return re.search(r"_base_ = '\./(.*)'", block)[1]


def base_of(block):
    return Config.fromfile(CONFIGS / base_name(block))


def losses_of(cfg):
    """Return the losses of a config's head for random features and boxes, and what it predicts."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        head = MODELS.build(dict(cfg.model.bbox_head, test_cfg=cfg.model.test_cfg))
    head.init_weights()
    cells = SIDE // 4
    torch.manual_seed(1)
    features = [torch.randn(2, cfg.model.bbox_head.in_channels, cells, cells)
                for _ in head.stacks]
    center = torch.rand(2, 150, 2) * SIDE
    half = 2 + torch.rand(2, 150, 2) * 20
    boxes = torch.cat((center - half, center + half), dim=2).clamp(0, SIDE)
    labels = torch.randint(0, head.num_classes, (2, 150))
    truth = [InstanceData(bboxes=b, labels=c) for b, c in zip(boxes, labels)]
    for each in truth if 'num_keypoints' in cfg.model.bbox_head else ():
        place = torch.rand(len(each), cfg.model.bbox_head.num_keypoints, 2)
        each.keypoints = torch.lerp(each.bboxes[:, None, :2], each.bboxes[:, None, 2:], place)
        each.keypoints_visible = torch.full(place.shape[:2], 2.0)
    outputs, = head(features)
    metas = [dict(homography_matrix=torch.eye(3).numpy(), ori_shape=(SIDE, SIDE))] * 2
    losses = head.loss_by_feat(outputs, truth, metas)
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    if 'wh' in outputs[-1]:
        outputs[-1]['wh'] = outputs[-1]['wh'].detach() + 10  # cells, so that boxes overlap
    return {name: value.item() for name, value in losses.items()}, head.predict_by_feat(
        outputs, metas)


@cache
def losses_of_base(name):
    """:func:`losses_of` a config that blocks inherit from."""
    return losses_of(Config.fromfile(CONFIGS / name))


def test_the_page_has_blocks():
    assert len(BLOCKS) == sum(page.count('```python') for page in PAGES.values()) > 15


@pytest.mark.parametrize('block', BLOCKS, ids=line_of)
def test_recipe(block, tmp_path):
    cfg, base = load(block, tmp_path), base_of(block)
    assert cfg.to_dict() != base.to_dict()
    assert list(wrong_types(cfg.to_dict())) == []
    with DefaultScope.overwrite_default_scope('mmdet'):
        with torch.device('meta'):
            model = MODELS.build(copy.deepcopy(cfg.model)).to('meta')
            model(torch.empty(1, 3, SIDE, SIDE), mode='tensor')
        for hook in cfg.get('custom_hooks', []):
            HOOKS.build(hook)
        for step in chain(cfg.train_pipeline, cfg.test_pipeline, cfg.tta_pipeline):
            TRANSFORMS.build(copy.deepcopy(step))
    (losses, found), (plain, plainly) = losses_of(cfg), losses_of_base(base_name(block))
    assert all(0 < value < 1e4 for value in losses.values())
    # A block about the head changes what the head does, any other one does not.
    of_head = cfg.model.bbox_head != base.model.bbox_head
    assert (losses != plain) == of_head
    of_test = cfg.model.test_cfg != base.model.test_cfg
    same = all(torch.equal(a.bboxes, b.bboxes) for a, b in zip(found, plainly))
    assert not same if of_test else same or of_head


def test_more_detections_by_one_setting(tmp_path):
    block = block_with('max_per_img')
    (_, found), (_, few) = losses_of(load(block, tmp_path)), losses_of_base(base_name(block))
    assert [len(each.scores) for each in few] == [100, 100]
    assert [len(each.scores) for each in found] == [300, 300]


def test_resolution_recipes_are_what_the_options_of_the_tools_do(tmp_path):
    fixed = load(block_with('size=(512, 512))\n'), tmp_path)
    by_option = base_of(block_with('size=(512, 512))\n'))
    apply_test_options(by_option, resolution='fix')
    assert fixed.test_dataloader == by_option.test_dataloader
    assert fixed.val_dataloader.dataset.pipeline == fixed.test_dataloader.dataset.pipeline


@pytest.mark.parametrize('word', ['size=(512, 512))\n', 'pad_value=128'])
def test_recipes_of_the_resolution_change_the_tta_pipeline_too(word, tmp_path):
    cfg, flip = load(block_with(word), tmp_path), load(block_with(word), tmp_path)
    apply_test_options(cfg, tta='config')
    apply_test_options(flip, tta='flip')
    assert cfg.test_dataloader == flip.test_dataloader


def test_letterbox_can_be_tested_at_several_scales(tmp_path):
    cfg = load(block_with('pad_value=128'), tmp_path)
    apply_test_options(cfg, tta='ms')
    assert cfg.model.type == 'mmdet_centernet.CenterNetTTAModel'


def test_scales_of_the_recipe(tmp_path):
    cfg = load(block_with('tta_model'), tmp_path)
    apply_test_options(cfg, tta='config')
    assert cfg.model.nms == dict(type='nms', iou_threshold=0.6)
    assert cfg.model.flip is False
    scaled = cfg.test_dataloader.dataset.pipeline[-1].transforms[0]
    assert [step.scale for step in scaled] == [0.75, 1.0, 1.25]
    # But for the scales it is what the test pipeline of the config does.
    plain = Config.fromfile(CONFIGS / base_name(block_with('tta_model')))
    apply_test_options(plain, tta='ms')
    for step in scaled:
        del step['scale']
    for step in plain.test_dataloader.dataset.pipeline[-1].transforms[0]:
        del step['scale']
    scaled = cfg.test_dataloader.dataset.pipeline
    plain = plain.test_dataloader.dataset.pipeline
    assert plain[0].pop('backend_args') is None
    assert plain[0] == scaled[0]
    assert [group[0] for group in plain[-1].transforms] == [
        group[0] for group in scaled[-1].transforms]


def test_larger_crops_reach_the_data_set(tmp_path):
    cfg = load(block_with('768'), tmp_path)
    crop, = (step.crop_size for step in cfg.train_dataloader.dataset.pipeline
             if 'crop_size' in step)
    assert crop == (768, 768)


def test_crowds_reach_the_data_set(tmp_path):
    dataset = load(block_with('crowd_as_objects'), tmp_path).train_dataloader.dataset.dataset
    assert dataset.crowd_as_objects is True
    assert dataset.filter_cfg is None


def test_pose_recipes_reach_data_and_metric(tmp_path):
    rotated = load(block_with('rotate_prob'), tmp_path).train_dataloader.dataset.pipeline
    assert [(step.rotate_prob, step.rotate) for step in rotated if 'rotate' in step] == [(.5, 20)]
    assert load(block_with('with_wh'), tmp_path).test_evaluator.metric == 'keypoints'
    for word, classes in (("('cat', 'dog')", ('cat', 'dog')), ('keypoint_info', ('stick', ))):
        cfg = load(block_with(word), tmp_path)
        for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
            assert loader.dataset.metainfo.classes == classes
            assert len(loader.dataset.metainfo.get('keypoint_info', range(17))) == (
                cfg.model.bbox_head.num_keypoints)


def test_the_commands_of_the_page_select_configs():
    markers = re.search(r'markers = \[\n(.*?)\]', (
        CONFIGS.parent / 'pyproject.toml').read_text(), re.S)[1]
    assert '-m every_config' in PAGES['recipes'] and '"every_config:' in markers
