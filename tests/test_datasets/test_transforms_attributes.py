"""Attributes follow their boxes through the pipeline, into the fields that models read."""
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.datasets.transforms import PackDetInputs, RandomCrop, RandomFlip
from mmdet.structures.bbox import HorizontalBoxes

from mmdet_centernet.datasets.transforms import (
    CenterAffine,
    CenterAffine3D,
    CenterPad,
    CenterResize,
    LoadAttributes,
    LoadBoxes3D,
    LoadKeypoints,
    PackInputs,
    PackMono3DInputs,
)
from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import TRANSFORMS

NAN = float('nan')
ATTRIBUTES = dict(
    ripeness=dict(kind='class', values=['green', 'ripe', 'rotten']),
    tags=dict(kind='multi_label', values=['wet', 'large']), age=dict(kind='number'))
HEIGHT, WIDTH = 70, 110


def make_sample(count=5, seed=0):
    """As mmdet's LoadAnnotations leaves it. Boxes' ages are their numbers."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, [WIDTH * .8, HEIGHT * .8], (count, 2))
    boxes = np.hstack([corners, corners + rng.uniform(3, 20, (count, 2))]).astype(np.float32)
    return dict(
        img=np.zeros((HEIGHT, WIDTH, 3), np.uint8), img_path='a.png', img_id=5,
        img_shape=(HEIGHT, WIDTH), ori_shape=(HEIGHT, WIDTH), attributes=ATTRIBUTES,
        instances=[dict(
            bbox=box.tolist(), bbox_label=0, ignore_flag=0, mask=[[1, 2]],
            attributes=dict(ripeness=index % 3, tags=[index % 2, 1 - index % 2], age=index))
            for index, box in enumerate(boxes)],
        gt_bboxes=HorizontalBoxes(torch.from_numpy(boxes)),
        gt_bboxes_labels=np.zeros(count, np.int64), gt_ignore_flags=np.zeros(count, dtype=bool))


def test_attributes_are_dropped_with_their_boxes():
    kept = 0
    for seed in range(30):
        np.random.seed(seed)
        sample = LoadAttributes()(make_sample(seed=seed))
        sample['gt_bboxes_labels'] = np.arange(5)  # to be told apart
        found = PackInputs()(CenterAffine((64, 48), border=16, scales=(.3, .6))(sample))
        found = found['data_samples'].gt_instances
        order = found.labels
        assert found.attribute_age.tolist() == order.tolist()
        assert found.attribute_ripeness.tolist() == (order % 3).tolist()
        assert found.attribute_tags.tolist() == torch.stack(
            [order % 2, 1 - order % 2], dim=1).tolist()
        kept += len(order)
    assert 15 < kept < 120


def test_packed_fields():
    sample = make_sample(3)
    sample['instances'][1]['attributes'] = dict(ripeness=NAN, tags=[NAN, NAN], age=NAN)
    sample['gt_ignore_flags'][2] = True
    found = PackInputs()(LoadAttributes()(sample))['data_samples']
    for instances, rows in ((found.gt_instances, [0, 1]), (found.ignored_instances, [2])):
        for name, values in dict(ripeness=[0, NAN, 2], tags=[[0, 1], [NAN, NAN], [0, 1]],
                                 age=[0, NAN, 2]).items():
            field = instances[f'attribute_{name}']
            assert field.dtype == torch.float32
            np.testing.assert_equal(field.numpy(), np.float32(values)[rows])
        assert 'attributes' not in instances


def test_packed_fields_without_objects():
    found = PackInputs()(LoadAttributes()(make_sample(0)))['data_samples'].gt_instances
    shapes = {name: tuple(found[f'attribute_{name}'].shape) for name in ATTRIBUTES}
    assert shapes == dict(ripeness=(0, ), tags=(0, 2), age=(0, ))


def test_flags_are_not_needed():
    sample = make_sample(2)
    del sample['gt_ignore_flags']
    found = PackInputs()(LoadAttributes()(sample))['data_samples']
    assert found.gt_instances.attribute_age.tolist() == [0, 1]


def test_an_image_without_annotations_stays_as_it_is():
    """As in an inferencer."""
    found = PackInputs()(LoadAttributes()(dict(img=make_sample()['img'])))['data_samples']
    assert not found.gt_instances.keys()


def test_a_data_set_without_attributes_is_an_error():
    sample = make_sample()
    del sample['attributes']
    with pytest.raises(UserError, match=r'a\.png comes from a data set without attributes: desc'):
        LoadAttributes()(sample)


def test_boxes_dropped_without_their_attributes_are_noticed():
    np.random.seed(0)
    dropped = RandomCrop((20, 20), allow_negative_crop=True)(LoadAttributes()(make_sample()))
    with pytest.raises(UserError, match=(
            r'a transform between LoadAttributes and PackInputs left 5 objects with attributes '
            r'beside \d boxes in a\.png: crop, scale and flip with mmdet_centernet.CenterAffine')):
        PackInputs()(dropped)
    # What keeps the boxes may be MMDetection's.
    found = PackInputs()(RandomFlip(prob=1.)(LoadAttributes()(make_sample())))['data_samples']
    assert found.gt_instances.attribute_age.tolist() == [0, 1, 2, 3, 4]


def test_metrics_get_the_objects_of_test_images_in_original_pixels():
    for steps in ([LoadAttributes(), CenterResize((64, 64))], [CenterPad()]):
        sample = dict(make_sample(3), test_mode=True)
        boxes = [instance['bbox'] for instance in sample['instances']]
        found = Compose([*steps, PackInputs()])(sample)['data_samples']
        assert [instance['bbox'] for instance in found.instances] == boxes
        assert [instance['attributes']['age'] for instance in found.instances] == [0, 1, 2]
        assert found.instances[0].keys() == {'bbox', 'bbox_label', 'ignore_flag', 'attributes'}
    for mode in ({}, dict(test_mode=False)):
        assert 'instances' not in PackInputs()(dict(make_sample(3), **mode))['data_samples']
    # MMDetection's way to ask for them, which its CocoMetric knows.
    found = PackDetInputs(meta_keys=('instances', ))(make_sample(3))['data_samples']
    assert len(found.instances) == 3


def test_keypoints_and_attributes_together():
    sample = make_sample(2)
    sample['flip_indices'] = [0]
    for instance in sample['instances']:
        instance.update(keypoints=np.float32([[3, 4]]), keypoints_visible=np.float32([2]))
    found = Compose([LoadKeypoints(), LoadAttributes(), PackInputs()])(sample)['data_samples']
    assert found.gt_instances.keypoints.tolist() == [[[3, 4]]] * 2
    assert found.gt_instances.attribute_age.tolist() == [0, 1]


def test_boxes_3d_and_attributes_together():
    sample = dict(make_sample(6), cam2img=np.eye(3, 4))
    for index, instance in enumerate(sample['instances']):
        instance.update(bbox_3d=[index] * 7, alpha=index)
    np.random.seed(1)
    steps = [LoadBoxes3D(), LoadAttributes(), CenterAffine3D((40, 24), aug_prob=1),
             PackMono3DInputs()]
    found = Compose(steps)(sample)['data_samples'].gt_instances
    assert 0 < len(found) < 6
    assert found.attribute_age.tolist() == found.alpha.tolist()


def test_packing_has_two_names():
    for name in ('PackInputs', 'PackPoseInputs'):
        assert TRANSFORMS.get(f'mmdet_centernet.{name}') is PackInputs
