"""Attributes of annotations: how metainfo describes them, and what the files hold."""
import json
import math

import numpy as np
import pytest
from mmengine.config import ConfigDict
from mmengine.dataset import ConcatDataset, RepeatDataset

from mmdet_centernet.datasets import CocoDataset, CocoPoseDataset, checks
from mmdet_centernet.datasets.attributes import parse_attributes
from mmdet_centernet.errors import UserError
from mmdet_centernet.io.attributes import name_attributes

NAN = math.nan
ATTRIBUTES = dict(
    ripeness=['green', 'ripe', 'rotten'],
    tags=dict(kind='multi_label', values=['wet', 'large', 'dusty']),
    age='number')


def content(*attributes, **more):
    """A file with one annotation for each dictionary of attributes."""
    return dict(
        images=[dict(id=1, file_name='1.png', width=60, height=40)],
        categories=[dict(id=1, name='apple', keypoints=['stem'])],
        annotations=[dict(dict(id=index + 7, image_id=1, category_id=1, iscrowd=0, area=200,
                               bbox=[index, 6, 20, 10], **more),
                          **({} if each is ... else {'attributes': each}))
                     for index, each in enumerate(attributes)])


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(checks, 'print_log', lambda text, **kwargs: lines.append(
        (text, kwargs['level'])))
    return lines


@pytest.fixture
def build(tmp_path):
    def build(data, attributes=ATTRIBUTES, kind=CocoDataset, **options):
        (tmp_path / 'ann.json').write_text(json.dumps(data))
        return kind(data_root=str(tmp_path), ann_file='ann.json', data_prefix=dict(img='img/'),
                    metainfo=dict(classes=('apple', ), attributes=attributes),
                    serialize_data=False, **options)
    return build


def values_of(dataset):
    return [instance['attributes'] for instance in dataset.get_data_info(0)['instances']]


def test_forms_of_metainfo():
    expected = dict(
        ripeness=dict(kind='class', values=['green', 'ripe', 'rotten']),
        tags=dict(kind='multi_label', values=['wet', 'large', 'dusty']),
        age=dict(kind='number'))
    assert parse_attributes(ATTRIBUTES) == expected
    assert parse_attributes(expected) == expected  # whoever has been through it may come again
    assert parse_attributes(ConfigDict(
        ripeness=dict(values=('green', 'ripe', 'rotten')), tags=expected['tags'],
        age=dict(kind='number'))) == expected
    assert type(parse_attributes(ConfigDict(age=dict(kind='number')))['age']) is dict
    assert parse_attributes(dict(seeds=[1, 2.0, 2.5, False], sure=['False', 'true'])) == dict(
        seeds=dict(kind='class', values=['1', '2', '2.5', 'false']),
        sure=dict(kind='class', values=['false', 'true']))


@pytest.mark.parametrize('given, message', [
    (['ripeness'], r"attributes = \['ripeness'\] is not a dictionary .*: write name=\['green'"),
    ({3: 'number'}, 'has the name 3: a name is a text that is not empty and has no dot'),
    ({'': 'number'}, "has the name ''"),
    ({'a.b': 'number'}, r"has the name 'a\.b'"),
    ({'age': 3}, r"attributes\['age'\] = 3 does not describe an attribute: write"),
    ({'age': 'numbr'}, r"attributes\['age'\] is of kind 'numbr', .*: did you mean 'number'\?"),
    ({'age': dict(kind='number', values=[1, 2])}, 'is a number, so it has no values: leave'),
    ({'age': dict(kind='number', unit='y')}, "has the key 'unit', but takes 'kind' and 'values'"),
    ({'x': dict(value=['a', 'b'])}, r"has the key 'value', .*: did you mean 'values'\?"),
    ({'x': dict(kind='class')}, "of kind 'class' has the values None, but needs a list of at"),
    ({'x': ['a']}, r"has the values \['a'\], but needs a list of at least 2"),
    ({'x': dict(kind='multi_label', values=[])}, 'needs a list of at least 1'),
    ({'x': dict(values='ab')}, "has the values 'ab', but needs a list"),
    ({'x': ['a', ' ']}, "has the value ' ': values are texts that are not empty, numbers"),
    ({'x': ['a', None]}, 'has the value None: values are texts'),
    ({'x': ['a', ['b']]}, r"has the value \['b'\]: values are texts"),
    ({'x': ['a', NAN]}, 'has the value nan: values are texts'),
    ({'x': ['a', 'b', 'a ']}, "lists the value 'a' twice"),
    ({'x': [True, 'true']}, 'lists the value True twice'),
    ({'x': [1, 1.0]}, 'lists the value 1 twice'),
])
def test_bad_forms_are_one_error_before_any_file_is_read(given, message):
    with pytest.raises(UserError, match=message):
        CocoDataset(ann_file='none.json', metainfo=dict(classes=('a', ), attributes=given),
                    lazy_init=True)


def test_values_as_cvat_writes_them(build):
    data = content(
        dict(ripeness='ripe', tags='large, wet', age=3.5, occluded=False, rotation=0.0),
        dict(ripeness='rotten', tags=['dusty'], age='4'),
        dict(ripeness='__undefined__', tags='__undefined__', age='__undefined__'),
        dict(ripeness=None, tags=None, age=None), dict(ripeness='', tags='', age=''),
        dict(ripeness=NAN, tags=NAN, age=NAN), dict(tags=[], age=-2), {}, None, ...)
    missing = dict(ripeness=NAN, tags=[NAN] * 3, age=NAN)
    np.testing.assert_equal(values_of(build(data)), [
        dict(ripeness=1, tags=[1, 1, 0], age=3.5), dict(ripeness=2, tags=[0, 0, 1], age=4),
        missing, missing, dict(missing, tags=[0, 0, 0]), missing,
        dict(ripeness=NAN, tags=[0, 0, 0], age=-2), missing, missing, missing])


@pytest.mark.parametrize('values', [[False, True], ['false', 'true'], ['False', 'True']])
def test_checkboxes_are_classes(build, values):
    dataset = build(content(*(dict(occluded=value) for value in (True, False, 'true', 'False'))),
                    dict(occluded=values))
    assert [value['occluded'] for value in values_of(dataset)] == [1, 0, 1, 0]
    assert dataset.metainfo['attributes']['occluded']['values'] == ['false', 'true']


def test_numbers_and_texts_with_commas_may_be_classes(build):
    dataset = build(content(dict(seeds=2, note='b, c'), dict(seeds='3', note=' a,b'),
                            dict(seeds=2.0, note='b, c ')),
                    dict(seeds=[2, 3], note=dict(kind='multi_label', values=['a', 'b', 'b, c'])))
    assert values_of(dataset) == [dict(seeds=0, note=[0, 0, 1]), dict(seeds=1, note=[1, 1, 0]),
                                  dict(seeds=0, note=[0, 0, 1])]


@pytest.mark.parametrize('given, message', [
    (dict(ripeness='ripee'), r"ripeness = 'ripee': 'ripee' is not one of \('green', "
     r"'ripe', 'rotten'\): did you mean 'ripe'\? Correct the annotation, or add the value to "
     'metainfo.attributes'),
    (dict(ripeness='blue'), r"'blue' is not one of \('green', 'ripe', 'rotten'\)\. Correct the"),
    (dict(ripeness=1), '1 is not one of'),
    (dict(ripeness=['ripe']), r"\['ripe'\] is not one of"),
    (dict(tags='wet, larg'), r"= 'wet, larg': 'larg' is not one of .*did you mean 'large'\?"),
    (dict(tags=['wet', 7]), '7 is not one of'),
    (dict(tags=True), 'True is not one of'),
    (dict(age='old'), "age = 'old': 'old' is not a finite number"),
    (dict(age=True), 'True is not a finite number'),
    (dict(age=[3]), r'\[3\] is not a finite number'),
    (dict(age=math.inf), 'inf is not a finite number'),
    (dict(age=10 ** 400), '0 is not a finite number'),
    ([dict(name='age')], r"attributes = \[\{'name': 'age'\}\], which is not a dictionary"),
])
@pytest.mark.parametrize('test_mode', [False, True])
def test_unknown_values_name_file_annotation_and_values(build, given, message, test_mode):
    with pytest.raises(UserError, match=rf'ann\.json: annotation 8 has .*{message}'):
        build(content(dict(ripeness='ripe', tags=[], age=1), given), test_mode=test_mode)


def test_a_misspelled_attribute_names_those_of_the_file(build, said):
    data = content(dict(ripeness='ripe', occluded=False, rotation=0.0))
    with pytest.raises(UserError, match=(
            r"ann\.json: no annotation has the attribute 'ripenes' of metainfo\.attributes\. The "
            r"attributes there are \('ripeness', 'occluded', 'rotation'\): did you mean "
            r"'ripeness'\? Correct")):
        build(data, dict(ripenes=['green', 'ripe']))
    with pytest.raises(UserError, match=r"the attribute 'age' .*\('occluded',\)\. Correct"):
        build(content(dict(occluded=False)), dict(age='number'))
    with pytest.raises(UserError, match=r"the attribute 'age' .* None has attributes\. Correct"):
        build(content(..., None), dict(age='number'))
    # Boxes can be tested on a file without them.
    assert np.isnan(values_of(build(data, dict(age='number'), test_mode=True))[0]['age'])
    assert '. Objects with attributes: age 0' in said[-1][0]


def test_the_log_counts_objects_with_a_value(build, said):
    data = content(dict(ripeness='ripe', tags='', age=None), dict(ripeness=None, tags='wet'))
    build(data)
    text, level = said[0]
    assert '1 images, 2 boxes. Objects with attributes: ripeness 1, tags 2, age 0' in text
    assert level > 20  # there is nothing to learn an age from
    data['annotations'].append(dict(data['annotations'][0], id=9, iscrowd=1))
    build(data, dict(ripeness=ATTRIBUTES['ripeness']))
    assert said[1][0].endswith('. Objects with attributes: ripeness 1') and said[1][1] == 20


def test_without_attributes_in_metainfo_nothing_is_read(build):
    data = content(dict(ripeness=['anything']))
    for none in (None, {}):
        dataset = build(data, none)
        info = dataset.get_data_info(0)
        assert 'attributes' not in info and 'attributes' not in dataset.metainfo
        assert 'attributes' not in info['instances'][0]


def test_annotations_that_are_left_out_are_not_looked_into(build, said):
    data = content(dict(age=1), dict(age='?'))
    data['annotations'][1]['bbox'][2] = 0
    assert values_of(build(data, dict(age='number'))) == [dict(age=1)]


def test_poses_have_attributes_too(build, said):
    dataset = build(content(dict(age=3), dict(), keypoints=[5, 8, 2]), dict(age='number'),
                    CocoPoseDataset)
    info = dataset.get_data_info(0)
    assert info['attributes'] == dict(age=dict(kind='number'))
    np.testing.assert_equal(values_of(dataset), [dict(age=3), dict(age=NAN)])
    assert info['instances'][0]['keypoints'].tolist() == [[5, 8]]
    assert said[0][0].endswith('0 pairs of left and right). Objects with attributes: age 1')


def test_wrapped_data_sets_describe_them(build):
    dataset = build(content(dict(age=3)), dict(age='number'))
    for wrapped in (RepeatDataset(dataset, 2), ConcatDataset([dataset, dataset])):
        assert wrapped.metainfo['attributes'] == dict(age=dict(kind='number'))


def test_predicted_values_are_named():
    attributes = dict(parse_attributes(ATTRIBUTES), weight=dict(kind='number'))
    fields = dict(
        scores=np.array([.9, .5]), attribute_age=np.float32([3.5, -2]),
        attribute_ripeness=np.float32([[.25, .5, .25], [.75, .125, .125]]),
        attribute_tags=np.float32([[.75, .25, .875], [.5, .25, 0]]))
    named = name_attributes(fields, attributes)
    assert named == [
        dict(ripeness=dict(value='ripe', score=.5),
             tags=dict(value=['wet', 'dusty'], score=[.75, .875]), age=dict(value=3.5)),
        dict(ripeness=dict(value='green', score=.75), tags=dict(value=[], score=[]),
             age=dict(value=-2))]
    assert json.loads(json.dumps(named)) == named
    none = {name: values[:0] for name, values in fields.items()}
    assert name_attributes(none, attributes) == name_attributes({}, attributes) == []
    assert name_attributes(dict(scores=fields['scores']), attributes) == [{}, {}]


def test_annotated_values_are_named_without_scores():
    fields = dict(attribute_ripeness=np.float32([2, NAN]), attribute_age=np.float32([NAN, 4]),
                  attribute_tags=np.float32([[0, 1, 1], [NAN] * 3]))
    assert name_attributes(fields, parse_attributes(ATTRIBUTES)) == [
        dict(ripeness=dict(value='rotten'), tags=dict(value=['large', 'dusty'], score=[1, 1])),
        dict(age=dict(value=4))]


def test_values_without_names_are_numbered():
    fields = dict(attribute_a=np.float32([[.25, .75]]), attribute_b=np.float32([[.75, .25]]))
    assert name_attributes(fields, dict(a=dict(kind='class'), b=dict(kind='multi_label'))) == [
        dict(a=dict(value=1, score=.75), b=dict(value=[0], score=[.75]))]
