"""The data configs, and perfect predictions through their pipelines and metrics."""
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, TRANSFORMS, init_default_scope
from mmengine.structures import InstanceData
from PIL import Image

from mmdet_centernet.inference.overrides import apply_test_options
from mmdet_centernet.ops.affine import invert_warp, warp_boxes

CONFIGS = Path(__file__).parents[2] / 'configs/_base_/datasets'
NAMES = ['coco_detection', 'coco_detection_pad127', '../../bubbliiiing/hourglass_coco',
         '../../official/ctdet_coco_resdcn18', 'voc0712', 'voc0712_512',
         '../../bubbliiiing/resnet50_voc', 'tree_crowns']


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmdet')


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / 'VOC2007'
    for folder in ('Annotations', 'JPEGImages', 'ImageSets/Main'):
        (root / folder).mkdir(parents=True)
    (root / 'ImageSets/Main/test.txt').write_text('000001\n000002\n')
    for name, height, width in (('000001', 90, 160), ('000002', 333, 217)):
        (root / f'Annotations/{name}.xml').write_text(
            f'<annotation><size><width>{width}</width><height>{height}</height></size>'
            '<object><name>dog</name><difficult>0</difficult><bndbox><xmin>11</xmin>'
            '<ymin>21</ymin><xmax>81</xmax><ymax>71</ymax></bndbox></object>'
            '<object><name>cat</name><difficult>1</difficult><bndbox><xmin>1</xmin>'
            '<ymin>1</ymin><xmax>31</xmax><ymax>41</ymax></bndbox></object></annotation>')
        cv2.imwrite(str(root / f'JPEGImages/{name}.jpg'), np.zeros((height, width, 3), np.uint8))
    return tmp_path


@pytest.fixture
def trees(tmp_path):
    (tmp_path / 'annotations').mkdir()
    (tmp_path / 'val').mkdir()
    cv2.imwrite(str(tmp_path / 'val/a.png'), np.zeros((53, 77, 3), np.uint8))
    (tmp_path / 'annotations/val.json').write_text(json.dumps(dict(
        images=[dict(id=1, file_name='a.png', width=77, height=53)],
        categories=[dict(id=1, name='tree')],
        annotations=[dict(id=1, image_id=1, category_id=1, bbox=[5, 6, 20, 30], area=600,
                          iscrowd=0),
                     dict(id=2, image_id=1, category_id=1, bbox=[70, 6, 7, 30], area=210,
                          iscrowd=1)])))
    return tmp_path


@pytest.mark.parametrize('name', NAMES)
def test_every_type_can_be_built(name):
    config = Config.fromfile(CONFIGS / f'{name}.py')
    for pipeline in (config.train_pipeline, config.test_pipeline):
        for transform in pipeline:
            assert '.' in transform.type
            TRANSFORMS.build(transform)
        assert 'homography_matrix' in pipeline[-1].meta_keys
    for loader in (config.train_dataloader, config.val_dataloader, config.test_dataloader):
        assert loader.persistent_workers == (loader.num_workers > 0)


def test_harder_test_of_the_trees():
    """As the head of the config says."""
    text = (CONFIGS / 'tree_crowns.py').read_text()
    options = dict(word.lstrip('# ').split('=') for line in text.splitlines()
                   for word in line.split() if line.startswith('#     ') and '=' in word)
    assert len(options) == 3
    config = Config.fromfile(CONFIGS / 'tree_crowns.py')
    config.merge_from_dict(options)
    assert config.test_dataloader.dataset.ann_file == 'annotations/test.json'
    assert config.test_dataloader.dataset.data_prefix.img == 'test/'
    assert config.test_evaluator.ann_file == config.data_root + 'annotations/test.json'
    assert config.val_dataloader.dataset.ann_file == 'annotations/val.json'
    assert config.val_evaluator.ann_file == config.data_root + 'annotations/val.json'


def evaluate(dataset, evaluator, spoil=0.):
    """Send the true boxes to input pixels and back, and have them evaluated."""
    evaluator.dataset_meta = dataset.metainfo
    for index in range(len(dataset)):
        sample = dataset[index]['data_samples']
        matrix = sample.homography_matrix
        boxes = torch.cat([sample.gt_instances.bboxes.tensor,
                           sample.ignored_instances.bboxes.tensor])
        there = warp_boxes(boxes.numpy(), matrix)
        back = warp_boxes(there, invert_warp(matrix)) + spoil
        sample.pred_instances = InstanceData(
            bboxes=torch.from_numpy(back).float(), scores=torch.ones(len(back)),
            labels=torch.cat([sample.gt_instances.labels, sample.ignored_instances.labels]))
        sample.gt_instances.bboxes = sample.gt_instances.bboxes.tensor
        sample.ignored_instances.bboxes = sample.ignored_instances.bboxes.tensor
        evaluator.process(data_samples=[sample])
    return evaluator.evaluate(len(dataset))


@pytest.mark.parametrize(
    'name', ['voc0712', 'voc0712_512', '../../bubbliiiing/resnet50_voc'])
def test_voc_with_both_metrics(voc, name):
    config = Config.fromfile(CONFIGS / f'{name}.py')
    dataset = DATASETS.build(dict(config.test_dataloader.dataset, data_root=str(voc)))
    for spoil, voc_map, coco_map in ((0, 1, 1), (1000, 0, 0)):
        metrics = evaluate(dataset, Evaluator(config.test_evaluator), spoil)
        assert metrics['pascal_voc/mAP'] == voc_map
        assert metrics['coco/bbox_mAP'] == coco_map


class OneScale:
    """One of the samples that TestTimeAug makes of each image."""

    def __init__(self, dataset, index):
        self.dataset, self.index, self.metainfo = dataset, index, dataset.metainfo

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        return {key: values[self.index] for key, values in self.dataset[index].items()}


@pytest.mark.parametrize('resolution', ['keep', 'fix'])
def test_voc_at_every_test_scale(voc, resolution):
    config = Config.fromfile(CONFIGS.parents[1] / 'centernet_r18_dcn_70e_voc0712.py')
    apply_test_options(config, resolution, 'ms')
    dataset = DATASETS.build(dict(config.test_dataloader.dataset, data_root=str(voc)))
    shapes = [tuple(image.shape[1:]) for image in dataset[0]['inputs']]
    # The image is 160 x 90; (135 | 31) + 1 = 160.
    assert shapes == ([(384, 384)] * 5 if resolution == 'fix' else [
        (64, 96), (96, 128), (96, 192), (128, 224), (160, 256)])
    for index in range(len(shapes)):
        metrics = evaluate(OneScale(dataset, index), Evaluator(config.test_evaluator))
        assert metrics['pascal_voc/mAP'] == metrics['coco/bbox_mAP'] == 1


def test_stretching_is_pillows(voc):
    config = Config.fromfile(CONFIGS.parents[1] / 'bubbliiiing/resnet50_voc.py')
    dataset = DATASETS.build(dict(config.test_dataloader.dataset, data_root=str(voc)))
    image = np.random.default_rng(0).integers(0, 256, (333, 217, 3), dtype=np.uint8)
    file = voc / 'VOC2007/JPEGImages/000002.jpg'
    cv2.imwrite(str(file), image)
    sample = dataset[1]
    wanted = Image.open(file).resize((512, 512), Image.BICUBIC)
    assert np.array_equal(sample['inputs'].permute(1, 2, 0).numpy()[..., ::-1], wanted)  # BGR
    np.testing.assert_allclose(
        sample['data_samples'].homography_matrix, np.diag([512 / 217, 512 / 333, 1]), rtol=1e-6)


def test_trees(trees):
    config = Config.fromfile(CONFIGS / 'tree_crowns.py')
    config.merge_from_dict({
        'test_dataloader.dataset.data_root': str(trees),
        'test_evaluator.ann_file': str(trees / 'annotations/val.json')})
    dataset = DATASETS.build(config.test_dataloader.dataset)
    assert dataset[0]['inputs'].shape == (3, 64, 96)
    assert evaluate(dataset, Evaluator([config.test_evaluator]))['coco/bbox_mAP'] == 1
