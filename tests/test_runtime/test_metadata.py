"""Metadata of exported models as text."""
import json

import probe_model
import pytest

from mmdet_centernet.errors import UserError
from mmdet_centernet.runtime.metadata import FORMAT, dump, merge_attributes, parse

SKELETON = dict(
    num_keypoints=2, keypoint_id2name={0: 'top', 1: 'bottom'}, flip_pairs=[(0, 1)],
    keypoint_name2id=dict(top=0, bottom=1), sigmas=[0.1, 0.2])
RIPENESS = dict(kind='class', values=['green', 'ripe'])


def metadata(**changes):
    return parse(json.dumps(probe_model.metadata(**changes)), 'x.onnx')


def test_parse_returns_what_was_dumped():
    written = metadata(
        shape=[64, 96], dataset=dict(SKELETON, skeletons=dict(person=SKELETON)),
        properties=[dict(type='Attribute', attributes=dict(ripeness=RIPENESS))])
    assert parse(dump(written), 'x.onnx') == written
    assert json.loads(dump(written))['format'] == FORMAT
    assert written.shape == (64, 96) and written.input.mean == (10, 20, 30)
    # Keys and tuples that JSON does not have, also in the skeletons of classes.
    for skeleton in (written.dataset_meta, written.dataset_meta['skeletons']['person']):
        assert skeleton['keypoint_id2name'] == {0: 'top', 1: 'bottom'}
        assert skeleton['flip_pairs'] == [(0, 1)] and skeleton['sigmas'] == [0.1, 0.2]
    assert written.dataset_meta['classes'] == ('square', 'disc')
    assert written.dataset_meta['palette'] == [(250, 10, 20), (0, 130, 240)]


def test_metadata_cannot_be_changed():
    with pytest.raises(AttributeError):
        metadata().batch = 3


def test_points_are_outputs_that_properties_name():
    named = [dict(points=['marks', 'absent']), dict(points=['marks', 'scores'])]
    written = metadata(outputs=['bboxes', 'scores', 'labels', 'marks'], properties=named)
    assert written.points == ('bboxes', 'marks', 'scores')
    assert metadata(outputs=['scores', 'labels'], properties=[]).points == ()
    assert not written.shifts_sizes
    assert metadata(properties=[{}, dict(shift_sizes=True)]).shifts_sizes


def test_merge_attributes_of_several_properties():
    age = dict(kind='number')
    descriptions = [{}, dict(attributes=dict(ripeness=RIPENESS)), dict(attributes=dict(age=age))]
    assert merge_attributes(descriptions) == dict(ripeness=RIPENESS, age=age)
    assert metadata(properties=descriptions).attributes == dict(ripeness=RIPENESS, age=age)


@pytest.mark.parametrize('task, needed', [('detection', False), ('mono3d', True)])
def test_needs_camera(task, needed):
    assert metadata(task=task).needs_camera == needed


@pytest.mark.parametrize('text', [
    None, '', '{}', 'x', '[1]', f'{{"format": {FORMAT}}}',
    json.dumps({**probe_model.metadata(), 'unknown': 1}),
    json.dumps({**probe_model.metadata(), 'dataset': {'keypoint_id2name': {'a': 1}}})])
def test_parse_of_other_texts(text):
    with pytest.raises(UserError, match='x.onnx does not say what its classes'):
        parse(text, 'x.onnx')


@pytest.mark.parametrize('version', [1, FORMAT + 1])
def test_parse_of_another_format(version):
    text = json.dumps(dict(format=version, version='9'))
    with pytest.raises(UserError, match=(
            rf'version 9 of mmdet_centernet in format {version}, but this version reads format '
            rf'{FORMAT}: install')):
        parse(text, 'x.onnx')
