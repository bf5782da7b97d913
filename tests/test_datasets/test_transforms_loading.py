"""Every kind of image that people have, whole and broken."""
import itertools

import cv2
import numpy as np
import pytest
import torch
from helpers.cases import case
from PIL import Image
from torch.utils.data import DataLoader

from mmdet_centernet.datasets.transforms import CenterAffine, LoadImage, loading
from mmdet_centernet.errors import UserError
from mmdet_centernet.io.image import is_truncated


def smooth(height=40, width=60, channels=3):
    noise = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 4).reshape(height, width, channels)


def load(path, **options):
    return LoadImage(**options)(dict(img_path=str(path)))


def write(path, data):
    path.write_bytes(data)
    return path


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(loading, 'print_log', lambda text, **kwargs: lines.append(text))
    return lines


def test_load_color(tmp_path):
    image = smooth()
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    out = load(tmp_path / 'a.png')
    np.testing.assert_array_equal(out['img'], image)
    assert out['img'].dtype == np.uint8
    assert out['img_shape'] == out['ori_shape'] == (40, 60)
    out = load(tmp_path / 'a.png', to_float32=True)
    assert out['img'].dtype == np.float32
    np.testing.assert_array_equal(out['img'], image)


def test_load_formats(tmp_path):
    for suffix in ['png', 'jpg', 'bmp', 'tif', 'webp']:
        with case(suffix):
            cv2.imwrite(str(tmp_path / f'a.{suffix}'), smooth())
            assert np.abs(load(tmp_path / f'a.{suffix}')['img'].astype(int) - smooth()).mean() < 3


def test_load_gray(tmp_path):
    for suffix in ['png', 'jpg', 'tif']:
        with case(suffix):
            gray = smooth(channels=1)[..., 0]
            cv2.imwrite(str(tmp_path / f'g.{suffix}'), gray)
            image = load(tmp_path / f'g.{suffix}')['img']
            assert image.shape == (40, 60, 3)
            for channel in range(3):
                assert np.abs(image[..., channel].astype(int) - gray).max() <= 3


def test_alpha_is_dropped(tmp_path):
    rgba = np.dstack([smooth(), np.full((40, 60), 9, np.uint8)])
    cv2.imwrite(str(tmp_path / 'a.png'), rgba)
    np.testing.assert_array_equal(load(tmp_path / 'a.png')['img'], rgba[..., :3])


def test_gray_with_alpha(tmp_path):
    Image.fromarray(smooth(channels=2), 'LA').save(tmp_path / 'a.png')
    image = load(tmp_path / 'a.png')['img']
    np.testing.assert_array_equal(image, np.repeat(smooth(channels=2)[..., :1], 3, axis=2))


def test_load_palette(tmp_path):
    image = np.zeros((10, 20, 3), np.uint8)
    image[:, :7], image[:, 7:] = (10, 20, 30), (200, 100, 50)
    Image.fromarray(image[..., ::-1]).convert('P', palette=Image.ADAPTIVE).save(
        tmp_path / 'p.png')
    np.testing.assert_array_equal(load(tmp_path / 'p.png')['img'], image)


def test_load_16_bit(tmp_path):
    for channels, suffix in itertools.product([1, 3, 4], ['png', 'tif']):
        with case(channels, suffix):
            deep = smooth(channels=channels).astype(np.uint16) * 256 + 77
            deep = deep[..., 0] if channels == 1 else deep
            cv2.imwrite(str(tmp_path / f'd.{suffix}'), deep)
            image = load(tmp_path / f'd.{suffix}')['img']
            expected = np.broadcast_to(smooth(channels=channels)[..., :3], (40, 60, 3))
            assert image.dtype == np.uint8 and image.shape == (40, 60, 3)
            assert np.abs(image.astype(int) - expected).max() <= 1


def test_load_cmyk(tmp_path):
    Image.fromarray(smooth()).convert('CMYK').save(tmp_path / 'c.jpg')
    assert load(tmp_path / 'c.jpg')['img'].shape == (40, 60, 3)


def test_load_odd_sizes(tmp_path):
    for suffix, shape in itertools.product(['png', 'jpg'], [(1, 1), (60, 4000), (4000, 60)]):
        with case(suffix, shape):
            cv2.imwrite(str(tmp_path / f'o.{suffix}'), np.zeros((*shape, 3), np.uint8))
            out = CenterAffine((64, 64))(load(tmp_path / f'o.{suffix}'))
            assert out['ori_shape'] == shape and out['img'].shape == (64, 64, 3)


def encode(suffix, **options):
    return cv2.imencode(f'.{suffix}', smooth(), **options)[1].tobytes()


def test_truncated_file_is_named(tmp_path):
    for left, suffix in itertools.product([1, 0.9, 0.5, 0.1], ['jpg', 'png']):
        with case(left, suffix):
            whole = encode(suffix)
            data = whole[:-2] if left == 1 else whole[:int(left * len(whole))]
            path = write(tmp_path / f't.{suffix}', data)
            with pytest.raises(UserError, match=rf't\.{suffix} is truncated.*{len(data)} bytes'):
                load(path)


def test_truncated_progressive_jpeg(tmp_path):
    whole = encode('jpg', params=[cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert not is_truncated(whole)
    assert is_truncated(whole[:len(whole) * 3 // 4])


def test_thumbnail_does_not_hide_truncation():
    """A thumbnail in the header has an end mark of its own."""
    whole, thumbnail = encode('jpg'), encode('jpg')
    segment = b'\xff\xe1' + (len(thumbnail) + 2).to_bytes(2, 'big') + thumbnail
    data = whole[:2] + segment + whole[2:]
    assert cv2.imdecode(np.frombuffer(data, np.uint8), 1) is not None
    assert not is_truncated(data)
    assert is_truncated(data[:-300])
    assert is_truncated(data[:2 + len(segment)])


@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_bytes_after_the_end_are_harmless(tmp_path, suffix):
    path = write(tmp_path / f'a.{suffix}', encode(suffix) + b'\0' * 500)
    assert load(path)['img'].shape == (40, 60, 3)


def test_jpeg_with_padding_between_segments():
    whole = encode('jpg')
    assert not is_truncated(whole[:2] + b'\xff' + whole[2:])


@pytest.mark.parametrize('data', [b'', b'<html>not found</html>', b'\xff\xd8\xff\xd9',
                                  b'BM' + b'\0' * 60])
def test_file_without_an_image_is_named(tmp_path, data):
    path = write(tmp_path / 'x.jpg', data)
    with pytest.raises(UserError, match=r'x\.jpg .*(not an image that OpenCV|truncated)'):
        load(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r'nowhere\.jpg does not exist: check data_root and '):
        load(tmp_path / 'nowhere.jpg')
    with pytest.raises(UserError, match='cannot be read'):
        load(tmp_path)


def save_turned(path):
    """60 x 40 px as stored, 40 x 60 px as the EXIF orientation shows it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(smooth()).save(path, exif=exif)


def test_orientation_is_applied(tmp_path, said):
    save_turned(tmp_path / 'e.jpg')
    transform = LoadImage()
    out = transform(dict(img_path=str(tmp_path / 'e.jpg'), height=60, width=40))
    assert out['img_shape'] == (60, 40) and not said


def test_wrong_size_is_logged_once(tmp_path, said):
    save_turned(tmp_path / 'e.jpg')
    transform = LoadImage()
    for _ in range(2):
        transform(dict(img_path=str(tmp_path / 'e.jpg'), height=40, width=60))
    assert len(said) == 1
    for words in ('e.jpg', '(60, 40)', '(40, 60)', 'EXIF'):
        assert words in said[0]
    cv2.imwrite(str(tmp_path / 'a.png'), smooth())
    LoadImage()(dict(img_path=str(tmp_path / 'a.png'), height=20, width=30))
    assert len(said) == 2 and 'EXIF' not in said[1]


class Images(torch.utils.data.Dataset):

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return LoadImage()(dict(img_path=self.paths[index]))['img'].shape


def test_error_crosses_a_worker(tmp_path):
    path = write(tmp_path / 't.jpg', encode('jpg')[:300])
    with pytest.raises(UserError, match=r't\.jpg is truncated'):
        list(DataLoader(Images([str(path)]), num_workers=1))
