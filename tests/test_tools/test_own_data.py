"""docs/own_data.md: its configs, on made data, and what it says of wrong boxes."""
import json
import re
import zipfile
from pathlib import Path

import cv2
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from tiny_project import CLASSES, HEIGHT, ROOT, WIDTH, write_data

from mmdet_centernet.analysis.oracle import Experiment, measure
from mmdet_centernet.engine.config import load_config

BLOCKS = re.findall(r'```python\n(.+?)```', (ROOT / 'docs/own_data.md').read_text(), re.S)
ANNOTATION = """<annotation><size><width>{w}</width><height>{h}</height><depth>3</depth></size>
{objects}</annotation>"""
OBJECT = """<object><name>{name}</name><difficult>0</difficult><bndbox><xmin>{0}</xmin>
<ymin>{1}</ymin><xmax>{2}</xmax><ymax>{3}</ymax></bndbox></object>"""


def write_coco(folder):
    """Images in a folder of their own, two files of annotations."""
    data = write_data(folder, num_images=3)
    (data / 'images').mkdir()
    for image in data.glob('*.png'):
        image.rename(data / 'images' / image.name)
    (data / 'val.json').write_text((data / 'train.json').read_text())
    return data


def write_voc(folder):
    """The same in VOC's format."""
    data = write_coco(folder)
    content = json.loads((data / 'train.json').read_text())
    for name in ('JPEGImages', 'Annotations', 'ImageSets/Main'):
        (data / name).mkdir(parents=True)
    names = [image['file_name'][:-4] for image in content['images']]
    for index, name in enumerate(names):
        cv2.imwrite(str(data / f'JPEGImages/{name}.jpg'),
                    cv2.imread(str(data / f'images/{name}.png')))
        boxes = [(each['bbox'], CLASSES[each['category_id'] - 1])
                 for each in content['annotations'] if each['image_id'] == index]
        (data / f'Annotations/{name}.xml').write_text(ANNOTATION.format(
            w=WIDTH, h=HEIGHT, objects=''.join(
                OBJECT.format(x + 1, y + 1, x + w + 1, y + h + 1, name=label)
                for (x, y, w, h), label in boxes)))
    for split in ('train', 'val'):
        (data / f'ImageSets/Main/{split}.txt').write_text('\n'.join(names) + '\n')
    return data


def load(text, data, folder):
    """A config of the page beside its base, for data elsewhere."""
    assert text.count("'./") == 1 and text.count("'data/mine/'") == 1
    (folder / 'mine.py').write_text(text.replace("'./", f"'{ROOT}/configs/").replace(
        "'data/mine/'", f"'{data}/'"))
    config = load_config(str(folder / 'mine.py'))
    for loader in (config.train_dataloader, config.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    return config


@pytest.mark.parametrize('text, write, metric', [
    (BLOCKS[0], write_coco, 'coco/bbox_mAP'), (BLOCKS[1], write_voc, 'pascal_voc/mAP')])
def test_configs_of_the_page(tmp_path, text, write, metric):
    assert len(BLOCKS) == 6
    config = load(text, write(tmp_path), tmp_path)
    outcome = measure(config)
    assert (outcome.images, outcome.objects) == (3, 9)
    stride = config.model.bbox_head.coder.stride
    assert outcome.metrics[Experiment(stride)][metric] == pytest.approx(1, abs=1e-6)
    init_default_scope('mmdet')
    batch = next(iter(Runner.build_dataloader(config.train_dataloader)))
    assert len(batch['inputs']) == len(batch['data_samples']) > 2


def pack_nothing(data):
    """Images stay files."""


def pack_zip(data):
    with zipfile.ZipFile(data / 'images.zip', 'w') as archive:
        for image in (data / 'images').iterdir():
            archive.write(image, f'images/{image.name}')
            image.unlink()


def pack_lmdb(data):
    pytest.importorskip('lmdb')
    exec(BLOCKS[4].replace('*.jpg', '*.png'), {})
    for image in (data / 'images').iterdir():
        image.unlink()


@pytest.mark.parametrize('text, pack', [
    (BLOCKS[2], pack_nothing), (BLOCKS[3], pack_zip), (BLOCKS[5], pack_lmdb)],
    ids=['device', 'zip', 'lmdb'])
def test_ways_to_load_images(tmp_path, monkeypatch, text, pack):
    monkeypatch.chdir(tmp_path)
    Path('data').mkdir()
    data = write_coco(tmp_path / 'made').rename('data/mine')
    pack(data)
    Path('mine.py').write_text(BLOCKS[0].replace("'./", f"'{ROOT}/configs/"))
    Path('fast.py').write_text(text)
    config = load_config('fast.py')
    init_default_scope('mmdet')
    for loader, count in ((config.train_dataloader, 3), (config.val_dataloader, 1)):
        loader.update(num_workers=0, persistent_workers=False)
        batch = next(iter(Runner.build_dataloader(loader)))
        assert len(batch['inputs']) == count
        sample = batch['data_samples'][0]
        assert ('color_matrix' in sample) == (count == 3 and pack is pack_nothing)
        data = MODELS.build(config.model.data_preprocessor)(batch, count == 3)
        assert data['inputs'].dtype == torch.float32
        assert 'color_matrix' not in data['data_samples'][0]


def test_corners_in_place_of_sizes_show_in_the_oracle(tmp_path):
    data = write_coco(tmp_path)
    content = json.loads((data / 'val.json').read_text())
    for each in content['annotations']:
        x, y, width, height = each['bbox']
        each['bbox'] = [x, y, x + width, y + height]
    (data / 'val.json').write_text(json.dumps(content))
    outcome = measure(load(BLOCKS[0], data, tmp_path))
    assert outcome.metrics[Experiment(8)]['coco/bbox_mAP'] < 0.9
