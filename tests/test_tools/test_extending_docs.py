"""docs/extending.md, run block by block as a reader would."""
import json
import re
import sys

import pytest
import torch
from mmengine.registry import init_default_scope
from tiny_project import ROOT, write_config, write_data

PAGE = (ROOT / 'docs/extending.md').read_text()
MOST_LINES = 60


@pytest.fixture(scope='module')
def blocks():
    """Return the blocks of Python code of the page, in order."""
    return re.findall(r'```python\n(.*?)```', PAGE, re.S)


@pytest.fixture(scope='module')
def project(blocks, tool, tmp_path_factory):
    """Follow the page: data with angles, the property, the config, and a short training."""
    folder = tmp_path_factory.mktemp('extending')
    data = write_data(folder)
    content = json.loads((data / 'train.json').read_text())
    angles = [(37.0 * number) % 180 - 90 for number in range(len(content['annotations']))]
    for annotation, angle in zip(content['annotations'][1:], angles):  # the first has none
        annotation['attributes'] = dict(angle=angle)
    (data / 'train.json').write_text(json.dumps(content))
    (folder / 'angle.py').write_text(blocks[0])
    base = write_config(folder, data, 'base.py')
    config = folder / 'mine.py'
    config.write_text(blocks[1].replace('BASE.py', base.name))
    sys.path.insert(0, str(folder))
    try:
        assert tool('train.py', config, '--work-dir', folder / 'work', '--seed', 0) == 0
        yield folder
    finally:
        sys.path.remove(str(folder))
        sys.modules.pop('angle', None)


def test_extending_takes_few_lines(blocks):
    assert len(blocks[0].splitlines()) < MOST_LINES


def test_extending_trains_the_property(project):
    lines = [json.loads(line) for line in
             next((project / 'work').rglob('vis_data/scalars.json')).read_text().splitlines()]
    losses = [line['loss_angle'] for line in lines if 'loss_angle' in line]
    assert len(losses) >= 4 and all(0 < loss < 2 for loss in losses)


def test_extending_predicts_the_property(project, blocks, capsys):
    image = next((project / 'data').glob('*.png'))
    code = blocks[2].replace('CONFIG', str(project / 'mine.py')).replace(
        'CHECKPOINT', str(project / 'work/epoch_2.pth')).replace('IMAGE', str(image))
    found = {}
    exec(code, found)
    assert found['instances'].angle.shape == found['instances'].scores.shape
    assert (found['instances'].angle.abs() <= 90).all()
    assert re.search(r'tensor\(.*\) tensor\(', capsys.readouterr().out, re.S)


def test_extending_checks_what_is_encoded(project, blocks):
    init_default_scope('mmdet')
    found = {}
    exec(blocks[3], found)
    # A flipped image: the annotation's angle belongs to the original one.
    flipped = torch.diag(torch.tensor([-1.0, 1, 1]))
    target = found['head'].encode(
        [found['truth']], [dict(homography_matrix=flipped)], (1, 1, 16, 16))['angle']
    expected = found['targets']['angle'].values * torch.tensor([-1, 1])
    torch.testing.assert_close(target.values, expected)


def test_extending_runs_in_the_oracle(project, tool, capsys):
    assert tool('analysis_tools/oracle.py', project / 'mine.py') == 0
    assert re.search(r'(?m)^ ?4 +all +1\.000 ', capsys.readouterr().out)


def test_extending_stops_without_the_annotation(project, tool, capsys):
    config = project / 'without.py'
    config.write_text((project / 'mine.py').read_text().replace(
        "    dict(type='mmdet_centernet.LoadAttributes'),\n", ''))
    assert tool('train.py', config, '--work-dir', project / 'without') == 1
    error, = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert 'comes without attribute_angle: name it in metainfo.attributes' in error
