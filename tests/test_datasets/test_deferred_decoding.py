"""JPEG files decoded at a part of their size: the same picture in the same place."""
import copy
import functools
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from helpers.cases import case
from mmdet.datasets.transforms import PackDetInputs, PhotoMetricDistortion, RandomFlip, Resize
from mmdet.structures.bbox import HorizontalBoxes
from PIL import Image

from mmdet_centernet.datasets.transforms import (
    CenterAffine,
    CenterAffine3D,
    CenterPad,
    CenterResize,
    ColorJitterPCA,
    LoadImage,
    encoded_image,
)
from mmdet_centernet.datasets.transforms.encoded_image import EncodedImage
from mmdet_centernet.errors import UserError

BOXES = [[30, 40, 300, 200], [500, 350, 795, 590]]
# No multiple of 2, 4 or 8.
HEIGHT, WIDTH = 601, 803


@functools.cache
def make_picture(height=HEIGHT, width=WIDTH):
    """Random blobs with edges some pixels wide, and colors that change slowly."""
    noise = np.random.default_rng(0).standard_normal((height, width, 3)).astype(np.float32)
    slow = cv2.GaussianBlur(noise, (0, 0), 25)
    slow = slow / slow.std() * 30 + 128
    blobs = (cv2.GaussianBlur(noise[..., 0], (0, 0), 18) > 0).astype(np.float32)
    return (slow + 60 * cv2.GaussianBlur(blobs, (0, 0), 5)[..., None] - 30).clip(
        0, 255).astype(np.uint8)


def save(path, image, orientation=None, **options):
    options = dict(dict(quality=95), **options)
    if orientation:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options['exif'] = exif
    Image.fromarray(image[..., ::-1]).save(path, 'JPEG', **options)
    return str(path)


def run(path, transform, defer, seed=0, boxes=BOXES):
    np.random.seed(seed)
    results = LoadImage(defer=defer)(dict(img_path=path))
    results['gt_bboxes'] = HorizontalBoxes(torch.tensor(boxes, dtype=torch.float32))
    results['gt_bboxes_labels'] = np.arange(len(boxes))
    results['gt_ignore_flags'] = np.zeros(len(boxes), bool)
    return transform(results)


def both(path, transform, seed=0):
    whole, reduced = [run(path, transform, defer, seed) for defer in (False, True)]
    np.testing.assert_array_equal(whole['homography_matrix'], reduced['homography_matrix'])
    assert torch.equal(whole['gt_bboxes'].tensor, reduced['gt_bboxes'].tensor)
    for key in ('img_shape', 'ori_shape'):
        assert whole[key] == reduced[key]
    return whole, reduced


def inside(results, margin=3):
    """Where the picture is in a sample's image, without its border: bool [H, W]."""
    white = np.full(results['ori_shape'], 255, np.uint8)
    height, width = results['img_shape']
    seen = cv2.warpAffine(white, results['homography_matrix'][:2], (width, height)) == 255
    seen[:margin] = seen[-margin:] = seen[:, :margin] = seen[:, -margin:] = False
    return cv2.erode(seen.astype(np.uint8), np.ones((2 * margin + 1, ) * 2)) > 0


def shift_between(one, other, mask):
    """How far a picture is from another, px: (x, y) (Lucas and Kanade)."""
    one, other = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float64)
                  for image in (one, other)]
    dy, dx = [gradient[mask] for gradient in np.gradient((one + other) / 2)]
    return np.linalg.lstsq(np.stack([dx, dy], 1), (one - other)[mask], rcond=None)[0]


def check_same_place(whole, reduced):
    one, other, mask = whole['img'], reduced['img'], inside(whole)
    assert mask.mean() > .1
    assert np.abs(one[mask].astype(float) - other[mask]).mean() < 2
    np.testing.assert_allclose(shift_between(one, other, mask), 0, atol=.05)


@pytest.fixture
def zooms(monkeypatch):
    """The sizes that images were decoded to."""
    seen, decode = [], EncodedImage.decode

    def note(self, zoom):
        image, matrix = decode(self, zoom)
        seen.append(image.shape[:2])
        return image, matrix

    monkeypatch.setattr(EncodedImage, 'decode', note)
    return seen


@pytest.mark.parametrize('side, factor', [(399, 2), (199, 4), (99, 8)])
def test_same_picture_in_the_same_place(tmp_path, side, factor, zooms):
    for orientation in [None, *range(1, 9)]:
        with case(orientation):
            zooms.clear()
            path = save(tmp_path / 'a.jpg', make_picture(), orientation)
            whole, reduced = both(path, CenterResize((side, side)))
            expected = -(-HEIGHT // factor), -(-WIDTH // factor)
            assert zooms == [expected[::-1] if (orientation or 1) > 4 else expected]
            check_same_place(whole, reduced)


def test_measured_shifts_are_shifts():
    move = np.array([[.25, 0, 0], [0, .25, 0]])
    one = cv2.warpAffine(make_picture(), move, (200, 150))
    other = cv2.warpAffine(make_picture(), move + [[0, 0, .1], [0, 0, -.2]], (200, 150))
    mask = np.zeros((150, 200), bool)
    mask[5:-5, 5:-5] = True
    np.testing.assert_allclose(shift_between(one, other, mask), [.1, -.2], atol=.02)


@pytest.mark.parametrize('transform', [
    CenterAffine((160, 128), flip_prob=1), CenterAffine((96, 160), random_crop=False)],
    ids=['crop', 'whole'])
def test_random_crops(tmp_path, transform):
    for seed in range(4):
        with case(seed):
            check_same_place(*both(save(tmp_path / 'a.jpg', make_picture(), 6), transform, seed))


def test_never_coarser_than_the_output(tmp_path, zooms):
    path = save(tmp_path / 'a.jpg', make_picture(512, 512))
    for side, expected in ((512, 512), (257, 512), (256, 256), (129, 256), (128, 128), (65, 128),
                           (64, 64), (8, 64)):
        run(path, CenterResize((side, side)), True, boxes=[[0, 0, 9, 9]])
        assert zooms.pop() == (expected, expected)


def test_turned_crops_look_at_the_zoom(zooms, tmp_path):
    path = save(tmp_path / 'a.jpg', make_picture())
    transform = CenterAffine((200, 150), random_crop=False, rotate_prob=1, rotate=60)
    for seed in range(3):
        np.random.seed(seed)
        samples = []
        for defer in (False, True):
            np.random.seed(seed)
            results = LoadImage(defer=defer)(dict(
                img_path=path, gt_keypoints=np.zeros((0, 1, 2)), flip_indices=[0],
                gt_keypoints_visible=np.zeros((0, 1))))
            samples.append(transform(results))
        matrix = samples[0]['homography_matrix']
        assert abs(matrix[0, 1]) > .02
        zoom = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))
        assert zooms.pop()[0] == -(-HEIGHT // (4 if zoom <= .25 else 2))
        check_same_place(*samples)


@pytest.mark.parametrize('transform', [
    CenterPad(), CenterPad(scale=.5), CenterResize((640, 640)), CenterResize((200, 200), scale=.5),
    CenterAffine((1024, 1024))], ids=repr)
def test_images_that_are_not_shrunk_are_identical(tmp_path, transform):
    whole, reduced = both(save(tmp_path / 'a.jpg', make_picture(), 3), transform)
    np.testing.assert_array_equal(whole['img'], reduced['img'])


def test_3d_images_in_the_same_place(tmp_path, zooms):
    path = save(tmp_path / 'a.jpg', make_picture())
    samples = []
    for defer in (False, True):
        results = LoadImage(defer=defer)(dict(img_path=path, cam2img=np.eye(3, 4)))
        samples.append(CenterAffine3D((192, 96), 0)(results))
    assert zooms == [(151, 201)]
    np.testing.assert_array_equal(samples[0]['cam2img'], samples[1]['cam2img'])
    check_same_place(*samples)


def test_gray_and_progressive(tmp_path):
    picture = make_picture()
    Image.fromarray(picture[..., 0]).save(tmp_path / 'g.jpg', quality=95)
    save(tmp_path / 'p.jpg', picture, progressive=True)
    Image.fromarray(picture).convert('CMYK').save(tmp_path / 'c.jpg')
    for name in 'gpc':
        check_same_place(*both(str(tmp_path / f'{name}.jpg'), CenterResize((128, 96))))


@pytest.mark.parametrize('shape', [(1, 1), (1, 3000), (3000, 7)])
def test_odd_sizes(tmp_path, shape):
    path = save(tmp_path / 'o.jpg', np.full((*shape, 3), 200, np.uint8))
    whole, reduced = both(path, CenterResize((64, 64)))
    assert np.abs(whole['img'].astype(float) - reduced['img']).mean() < 4


def test_other_formats_are_decoded_at_once(tmp_path):
    for suffix in ('png', 'bmp', 'webp'):
        cv2.imwrite(str(tmp_path / f'a.{suffix}'), make_picture())
        results = LoadImage(defer=True)(dict(img_path=str(tmp_path / f'a.{suffix}')))
        assert results['img'].dtype == np.uint8


def test_truncated_and_broken(tmp_path):
    path = tmp_path / 't.jpg'
    data = Path(save(path, make_picture())).read_bytes()
    path.write_bytes(data[:len(data) // 2])
    with pytest.raises(UserError, match=r't\.jpg is truncated'):
        run(str(path), CenterResize((64, 64)), True)
    for start in (b'\xff\xd8\xff\xe0', b'\xff\xd8'):
        path.write_bytes(start + b'nothing')
        with pytest.raises(UserError, match=r't\.jpg .*(truncated|no image)'):
            run(str(path), CenterResize((64, 64)), True)


def test_odd_exif_is_read_as_opencv_does(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(make_picture()).save(stream, 'JPEG', exif=b'Exif\0\0no TIFF at all')
    (tmp_path / 'a.jpg').write_bytes(stream.getvalue())
    both(str(tmp_path / 'a.jpg'), CenterResize((64, 64)))
    both(save(tmp_path / 'b.jpg', make_picture(), 77), CenterResize((64, 64)))


def test_wrong_size_of_the_decoder_is_an_error(tmp_path, monkeypatch):
    """Should a decoder ever give another size than the header says."""
    path = save(tmp_path / 'a.jpg', make_picture())
    monkeypatch.setattr(
        encoded_image, 'decode_image', lambda *args: np.zeros((9, 8, 3), np.uint8))
    with pytest.raises(UserError, match=r'decoded to 8 x 9 px instead of 101 x 76: leave out'):
        run(path, CenterResize((100, 100)), True)


@pytest.mark.parametrize('transform', [
    Resize((64, 64)), RandomFlip(1.), PhotoMetricDistortion(), ColorJitterPCA(),
    PackDetInputs(meta_keys=())], ids=lambda transform: type(transform).__name__)
def test_other_transforms_before_are_an_error(tmp_path, transform):
    path = save(tmp_path / 'a.jpg', make_picture())
    with pytest.raises(UserError, match=r'a\.jpg is not decoded yet, because LoadImage'
                                        r'\(defer=True\)'):
        run(path, transform, True)


def test_other_transforms_after_work(tmp_path):
    path = save(tmp_path / 'a.jpg', make_picture())
    results = RandomFlip(1.)(run(path, CenterResize((64, 64)), True))
    assert PackDetInputs(meta_keys=())(results)['inputs'].shape == (3, 64, 64)


def test_samples_can_be_copied(tmp_path):
    results = LoadImage(defer=True)(dict(img_path=save(tmp_path / 'a.jpg', make_picture())))
    img, _ = copy.deepcopy(results)['img'].decode(.1)
    assert img.shape == (76, 101, 3)


def test_bad_options_are_refused():
    with pytest.raises(UserError, match='leave out to_float32'):
        LoadImage(to_float32=True, defer=True)
    assert 'defer=True' in repr(LoadImage(defer=True))
