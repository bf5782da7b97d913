"""MMEngine's ClassBalancedDataset on our data sets, against a slow count."""
import json
import math

import cv2
import numpy as np
import pytest
from mmengine.dataset import ClassBalancedDataset

from mmdet_centernet.datasets import CocoDataset, VOCDataset
from mmdet_centernet.engine.hooks.class_counts_hook import count_classes

CLASSES = ('cat', 'dog', 'cow')
# Labels of the objects of each image: dogs are in a quarter of them, cows in an eighth.
LABELS = [[0], [0, 0], [0, 1], [0], [0, 1, 1], [0], [0, 2], [0]]


def coco(folder):
    annotations = [
        dict(image_id=image, category_id=label + 1, bbox=[5, 5, 20, 10], area=200, iscrowd=0)
        for image, labels in enumerate(LABELS) for label in labels]
    (folder / 'ann.json').write_text(json.dumps(dict(
        images=[dict(id=image, file_name=f'{image}.jpg', width=60, height=40)
                for image in range(len(LABELS))],
        categories=[dict(id=label + 1, name=name) for label, name in enumerate(CLASSES)],
        annotations=[dict(each, id=number) for number, each in enumerate(annotations, start=1)])))
    return CocoDataset(ann_file=str(folder / 'ann.json'), data_prefix=dict(img=str(folder)),
                       metainfo=dict(classes=CLASSES), serialize_data=False)


def voc(folder):
    for name in ('Annotations', 'JPEGImages', 'ImageSets'):
        (folder / name).mkdir()
    box = '<bndbox><xmin>6</xmin><ymin>6</ymin><xmax>25</xmax><ymax>15</ymax></bndbox>'
    for image, labels in enumerate(LABELS):
        objects = ''.join(
            f'<object><name>{CLASSES[label]}</name>{box}</object>' for label in labels)
        (folder / f'Annotations/{image}.xml').write_text(
            '<annotation><size><width>60</width><height>40</height></size>'
            f'{objects}</annotation>')
        cv2.imwrite(str(folder / f'JPEGImages/{image}.jpg'), np.zeros((40, 60, 3), np.uint8))
    (folder / 'ImageSets/all.txt').write_text(''.join(f'{i}\n' for i in range(len(LABELS))))
    return VOCDataset(data_root=str(folder), ann_file='ImageSets/all.txt',
                      data_prefix=dict(sub_data_root=''), metainfo=dict(classes=CLASSES),
                      serialize_data=False)


def times_shown(threshold):
    """Return how often an epoch shows each image, by the definition."""
    images = len(LABELS)
    times = []
    for labels in LABELS:
        factor = 1.0
        for label in labels:
            fraction = sum(label in others for others in LABELS) / images
            factor = max(factor, math.sqrt(threshold / fraction))
        times.append(math.ceil(factor))
    return times


@pytest.mark.parametrize('build', [coco, voc])
@pytest.mark.parametrize('threshold', [0.1, 0.3, 0.6])
def test_images_of_rare_classes_are_shown_more_often(tmp_path, build, threshold):
    dataset = ClassBalancedDataset(build(tmp_path), oversample_thr=threshold)
    times = times_shown(threshold)
    shown = [dataset.get_data_info(index)['img_path'] for index in range(len(dataset))]
    assert [sum(path.endswith(f'{image}.jpg') for path in shown)
            for image in range(len(LABELS))] == times
    assert (sum(times) > len(LABELS)) == (threshold > 0.125)
    expected = [sum(count * labels.count(label) for count, labels in zip(times, LABELS))
                for label in range(len(CLASSES))]
    assert count_classes(dataset, len(CLASSES)).tolist() == expected
