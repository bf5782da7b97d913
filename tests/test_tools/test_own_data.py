"""docs/own_data.md: its configs, on made data, and what it says of wrong boxes."""
import json
import re

import cv2
import pytest
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from tiny_project import CLASSES, HEIGHT, ROOT, WIDTH, write_data

from mmdet_centernet.apis import cli
from mmdet_centernet.apis.oracle import Experiment, measure

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
    config = cli.load_config(str(folder / 'mine.py'))
    for loader in (config.train_dataloader, config.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    return config


@pytest.mark.parametrize('text, write, metric', [
    (BLOCKS[0], write_coco, 'coco/bbox_mAP'), (BLOCKS[1], write_voc, 'pascal_voc/mAP')])
def test_configs_of_the_page(tmp_path, text, write, metric):
    assert len(BLOCKS) == 2
    config = load(text, write(tmp_path), tmp_path)
    outcome = measure(config)
    assert (outcome.images, outcome.objects) == (3, 9)
    assert outcome.metrics[Experiment(4)][metric] == pytest.approx(1, abs=1e-6)
    init_default_scope('mmdet')
    batch = next(iter(Runner.build_dataloader(config.train_dataloader)))
    assert len(batch['inputs']) == len(batch['data_samples']) > 2


def test_corners_in_place_of_sizes_show_in_the_oracle(tmp_path):
    data = write_coco(tmp_path)
    content = json.loads((data / 'val.json').read_text())
    for each in content['annotations']:
        x, y, width, height = each['bbox']
        each['bbox'] = [x, y, x + width, y + height]
    (data / 'val.json').write_text(json.dumps(content))
    outcome = measure(load(BLOCKS[0], data, tmp_path))
    assert outcome.metrics[Experiment(4)]['coco/bbox_mAP'] < 0.9
