"""KITTI's files: reading, writing, and the errors that name faults."""
import itertools

import numpy as np
import pytest
from helpers.cases import case

from mmdet_centernet.errors import UserError
from mmdet_centernet.io.kitti import (
    KittiObjects,
    read_calib,
    read_objects,
    read_split,
    write_objects,
)

CAR = 'Car 0.25 1 -1.57 100.5 150.25 200 250.75 1.5 1.6 4.2 -2.5 1.7 20.5 -1.69'
REGION = 'DontCare -1 -1 -10 503.89 169.71 590.61 190.13 -1 -1 -1 -1000 -1000 -1000 -10'
P2 = 'P2: 7.2e+02 0 6.1e+02 4.4e+01 0 7.2e+02 1.7e+02 2.1e-01 0 0 1 2.7e-03'


@pytest.fixture
def write(tmp_path):
    def write(text, name='000123.txt'):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path
    return write


def changed(index, value, line=CAR):
    fields = line.split()
    fields[index] = value
    return ' '.join(fields)


def test_labels_are_read(write):
    objects = read_objects(write(f'{CAR}\n{REGION}\n'))
    assert objects.types == ['Car', 'DontCare'] and objects.scores is None
    assert objects.truncated.tolist() == [0.25, -1]
    assert objects.occluded.tolist() == [1, -1] and objects.occluded.dtype == np.int64
    assert objects.alpha.tolist() == [-1.57, -10]
    assert objects.bboxes[0].tolist() == [100.5, 150.25, 200, 250.75]
    assert objects.dims[0].tolist() == [1.5, 1.6, 4.2]
    assert objects.locations.tolist() == [[-2.5, 1.7, 20.5], [-1000] * 3]
    assert objects.rotation_y.tolist() == [-1.69, -10]
    assert all(field.dtype == np.float64 for field in objects[3:8])


def test_empty_files_have_no_objects(write):
    for text, scored in itertools.product(['', '\n', ' \r\n \n'], [False, True]):
        with case(text, scored):
            objects = read_objects(write(text), scored)
            assert objects.types == [] and objects.bboxes.shape == (0, 4)
            assert objects.dims.shape == objects.locations.shape == (0, 3)
            assert objects.alpha.shape == objects.truncated.shape == (0, )
            assert (objects.scores.shape == (0, )) if scored else objects.scores is None


def test_other_line_ends_and_marks_are_read(write):
    objects = read_objects(write(b'\xef\xbb\xbf' + f'{CAR} \r\n{CAR}\r\n\r\n'.encode()))
    assert objects.types == ['Car', 'Car']
    assert objects.rotation_y.tolist() == [-1.69] * 2


def test_results_are_read(write):
    # The original writes its results like this.
    objects = read_objects(write(changed(1, '0.0', CAR).replace(' 1 ', ' 0 ') + ' 0.87\n'), True)
    assert objects.scores.tolist() == [0.87]
    # What is nonsense in a label may be an early network's result.
    wild = read_objects(write(changed(8, '-0.5', changed(13, '-3')) + ' 0.1\n'), True)
    assert wild.dims[0, 0] == -0.5 and wild.locations[0, 2] == -3


@pytest.mark.parametrize('bad, words', [
    (CAR.rsplit(' ', 1)[0], r'has 14 fields, but a label .* has 15'),
    (CAR + ' 0.5', r'has 16 fields.*file of results'),
    ('', r'has 0 fields'),
    (changed(4, 'left'), "has the left 'left', which is not a number"),
    (changed(14, 'nan'), 'has the rotation_y nan, which must be a finite'),
    (changed(12, '-inf'), 'has the y -inf, which must be a finite'),
    (changed(2, '0.5'), 'has the occluded 0.5, which must be a whole'),
    (changed(8, '0'), r'\(Car\) has height, width and length 0, 1.6, 4.2.*positive'),
    (changed(10, '-1'), r'height, width and length 1.5, 1.6, -1'),
    (changed(13, '0'), r'\(Car\) has the depth \(z\) 0, which must be positive'),
    (changed(6, '100.5'), r'2D box 100.5, 150.25, 100.5, 250.75'),
    (changed(5, '260'), r'2D box 100.5, 260, 200, 250.75'),
])
def test_faulty_labels_are_named(write, bad, words):
    path = write(f'{CAR}\n{bad}\n{CAR}\n')
    with pytest.raises(UserError, match=words) as error:
        read_objects(path)
    assert f'line 2 of {path}' in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('bad, words', [
    (CAR, 'has 15 fields.*has 16.*score at the end is missing'),
    (f'{CAR} 0.5 0.5', 'has 17 fields'),
    (f'{CAR} nan', 'the score nan'),
    (f'{CAR} high', "the score 'high'"),
])
def test_faulty_results_are_named(write, bad, words):
    path = write(f'{CAR} 0.5\n{bad}\n')
    with pytest.raises(UserError, match=words) as error:
        read_objects(path, scored=True)
    assert f'line 2 of {path}' in str(error.value)


def test_missing_and_binary_files_are_named(tmp_path, write):
    for read, kind in ((read_objects, 'label'), (read_calib, 'calib'), (read_split, 'split')):
        with pytest.raises(UserError, match=f'{kind} file .*gone.txt does not exist'):
            read(tmp_path / 'gone.txt')
        with pytest.raises(UserError, match=f'{kind} file .* cannot be read'):
            read(tmp_path)
        with pytest.raises(UserError, match=f'{kind} file .* is not text'):
            read(write(b'\x89PNG\xff\xfe'))


def some_objects(count, scored, seed=0):
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 500, (count, 2))
    return KittiObjects(
        [str(rng.choice(['Car', 'Cyclist'])) for _ in range(count)],
        rng.choice([-1, 0, 0.25], count), rng.choice([-1, 0, 3], count),
        rng.uniform(-np.pi, np.pi, count),
        np.hstack((low, low + rng.uniform(1, 500, (count, 2)))), rng.uniform(0.1, 5, (count, 3)),
        rng.uniform(0.1, 80, (count, 3)), rng.uniform(-np.pi, np.pi, count),
        rng.random(count) if scored else None)


def check_round_trip(tmp_path, scored, count):
    given = some_objects(count, scored)
    write_objects(tmp_path / 'some.txt', given)
    read = read_objects(tmp_path / 'some.txt', scored)
    assert read.types == given.types
    for name, atol in dict(truncated=0, occluded=0, alpha=5e-5, bboxes=5e-5, dims=5e-5,
                           locations=5e-5, rotation_y=5e-5).items():
        np.testing.assert_allclose(getattr(read, name), getattr(given, name), 0, atol * 1.001)
    if scored:
        np.testing.assert_array_equal(
            read.scores.astype(np.float32), given.scores.astype(np.float32))


def test_objects_survive_writing_and_reading(tmp_path):
    for count, scored in itertools.product([0, 1, 20], [False, True]):
        with case(count, scored):
            check_round_trip(tmp_path, scored, count)


def test_results_have_the_fields_of_the_server(tmp_path):
    given = KittiObjects(
        ['Car'], np.array([-1.]), np.array([-1]), np.array([-1.5]),
        np.array([[1, 2, 30.25637, 4]]), np.array([[1.5, 1.6, 4.2]]),
        np.array([[-2.5, 1.7, 20.5]]), np.array([0.25]), np.array([0.5]))
    write_objects(tmp_path / 'some.txt', given)
    assert (tmp_path / 'some.txt').read_text() == (
        'Car -1 -1 -1.5000 1.0000 2.0000 30.2564 4.0000 1.5000 1.6000 4.2000 -2.5000 1.7000 '
        '20.5000 0.2500 0.5\n')


def test_write_objects_names_the_bad_object(tmp_path):
    given = some_objects(3, True)
    with pytest.raises(UserError, match=r'objects\[1\] .*DontCare'):
        write_objects(tmp_path / 'some.txt', given._replace(types=['Car', 'DontCare', 'Car']))
    given.locations[2, 1] = np.nan
    with pytest.raises(UserError, match=r'objects\[2\] .*not finite'):
        write_objects(tmp_path / 'some.txt', given)
    assert not (tmp_path / 'some.txt').exists()
    with pytest.raises(UserError, match='cannot write .*No such file'):
        write_objects(tmp_path / 'no/some.txt', some_objects(1, False))


def test_a_region_to_ignore_can_be_written_as_a_label(tmp_path, write):
    region = read_objects(write(REGION))
    write_objects(tmp_path / 'out.txt', region)
    again = read_objects(tmp_path / 'out.txt')
    assert again.types == ['DontCare'] and again.locations.tolist() == [[-1000] * 3]


def test_cameras_are_read(write):
    path = write(f'P0: {"1 " * 12}\nP1: {"2 " * 12}\n{P2}\nR0_rect: 1 0 0 0 1 0 0 0 1\n\n')
    expected = [[720, 0, 610, 44], [0, 720, 170, 0.21], [0, 0, 1, 0.0027]]
    assert read_calib(path).tolist() == expected
    assert read_calib(path).dtype == np.float64
    # As in the raw recordings.
    assert read_calib(write(P2.replace('P2', 'P_rect_02')), 'P_rect_02').tolist() == expected


@pytest.mark.parametrize('text, words', [
    ('', "no line 'P2'"),
    ('P3: 1 0 0 0 0 1 0 0 0 0 1 0', "no line 'P2'"),
    ('P2 1 0 0 0 0 1 0 0 0 0 1 0', "no line 'P2'"),
    (P2.rsplit(' ', 1)[0], 'line 2 of .* 12 finite numbers'),
    (P2 + ' 0', 'line 2 of .* 12 finite numbers'),
    (P2.replace('4.4e+01', 'nan'), 'line 2 of .* 12 finite numbers'),
    (P2.replace('4.4e+01', 'x'), 'line 2 of .* 12 finite numbers'),
    ('P2: 0 0 6 4 0 7 1 2 0 0 1 0', 'line 2 of .* focal lengths 0 and 7 px'),
    ('P2: 7 0 6 4 0 -7 1 2 0 0 1 0', 'line 2 of .* focal lengths 7 and -7 px'),
    ('P2: 7 0 6 4 0.1 7 1 2 0 0 1 0', 'line 2 of .* rectified'),
    ('P2: 7 0 6 4 0 7 1 2 0 0 2 0', 'line 2 of .* rectified'),
])
def test_faulty_cameras_are_named(write, text, words):
    path = write(f'P0: {"1 " * 12}\n{text}\n')
    with pytest.raises(UserError, match=words) as error:
        read_calib(path)
    assert str(path) in str(error.value) and '\n' not in str(error.value)


def test_splits_are_read_as_written(write):
    assert read_split(write('000000\n7\n\n000003 \r\nrainy_1\n')) == [
        '000000', '7', '000003', 'rainy_1']


@pytest.mark.parametrize('text, words', [
    ('', 'lists no image at all'),
    ('\n \n', 'lists no image at all'),
    ('000001\n000002 1\n', "line 2 of .* is '000002 1'"),
    ('000001\n000002\n\n000001\n', "lines 1 and 4 of .* are both '000001'"),
])
def test_faulty_splits_are_named(write, text, words):
    with pytest.raises(UserError, match=words):
        read_split(write(text))


