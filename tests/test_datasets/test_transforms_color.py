"""The color jitter's single pass against its steps one after the other."""
import itertools

import cv2
import numpy as np
import pytest
from helpers.cases import case
from mmdet.datasets.transforms import PackDetInputs

from mmdet_centernet.datasets.transforms import ColorJitterPCA
from mmdet_centernet.datasets.transforms.color import EIGENVALUES, EIGENVECTORS
from mmdet_centernet.errors import UserError


def make_image(seed=0, height=13, width=20):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def reference_jitter(image, steps, coefficients):
    """Step by step on [0, 1], gray taken once from the unchanged image."""
    image = image.astype(np.float64) / 255
    gray = 0.299 * image[..., 2] + 0.587 * image[..., 1] + 0.114 * image[..., 0]
    mean = gray.mean()
    for name, factor in steps:
        image = image * factor
        if name == 'contrast':
            image = image + mean * (1 - factor)
        if name == 'saturation':
            image = image + gray[:, :, None] * (1 - factor)
    for channel in range(3):
        image[..., channel] += sum(
            EIGENVECTORS[channel, k] * EIGENVALUES[k] * coefficients[k] for k in range(3))
    return image * 255


def check_jitter(seed, dtype):
    image = make_image(seed).astype(dtype)
    transform = ColorJitterPCA()
    np.random.seed(seed)
    steps, coefficients = transform._draw()
    assert sorted(name for name, _ in steps) == ['brightness', 'contrast', 'saturation']
    np.random.seed(seed)
    out = transform(dict(img=image.copy()))['img']
    assert out.dtype == np.float32 and out.shape == image.shape
    np.testing.assert_allclose(out, reference_jitter(image, steps, coefficients), atol=2e-3)


def test_jitter_equals_its_steps():
    for seed, dtype in itertools.product(range(6), [np.uint8, np.float32]):
        with case(seed, dtype):
            check_jitter(seed, dtype)


def test_jitter_of_any_height_equals_its_steps():
    for height in [1, 63, 64, 65, 150]:
        with case(height):
            image = make_image(height=height)
            transform = ColorJitterPCA()
            np.random.seed(5)
            steps, coefficients = transform._draw()
            np.random.seed(5)
            np.testing.assert_allclose(
                transform(dict(img=image))['img'], reference_jitter(image, steps, coefficients),
                atol=2e-3)


@pytest.mark.parametrize('on_device', [False, True])
def test_packing_copies_nothing(on_device):
    results = ColorJitterPCA(on_device=on_device)(dict(img=make_image()))
    packed = PackDetInputs(meta_keys=())(results)['inputs']
    assert packed.is_contiguous() and np.shares_memory(packed.numpy(), results['img'])


def test_draws_have_their_distribution():
    transform = ColorJitterPCA(brightness=0.1, contrast=0.2, saturation=0.3, lighting=0.5)
    np.random.seed(0)
    draws = [transform._draw() for _ in range(2000)]
    orders = {tuple(name for name, _ in steps) for steps, _ in draws}
    assert len(orders) == 6
    for name, strength in dict(brightness=0.1, contrast=0.2, saturation=0.3).items():
        factors = [dict(steps)[name] for steps, _ in draws]
        assert min(factors) == pytest.approx(1 - strength, abs=0.01)
        assert max(factors) == pytest.approx(1 + strength, abs=0.01)
    assert np.std([coefficients for _, coefficients in draws]) == pytest.approx(0.5, rel=0.05)


def test_same_seed_same_colors():
    def run(seed):
        np.random.seed(seed)
        return ColorJitterPCA()(dict(img=make_image()))['img']
    np.testing.assert_array_equal(run(3), run(3))
    assert not np.array_equal(run(3), run(4))


def test_no_strength_changes_nothing():
    image = make_image()
    out = ColorJitterPCA(0, 0, 0, 0)(dict(img=image))['img']
    np.testing.assert_allclose(out, image, atol=1e-4)


def test_result_is_not_cut_off():
    """Bright pixels keep their differences, as in the original."""
    image = np.full((4, 4, 3), 255, np.uint8)
    transform = ColorJitterPCA(lighting=0)
    transform._draw = lambda: ([('brightness', 1.4)], np.zeros(3))
    np.testing.assert_allclose(transform(dict(img=image))['img'], 357, atol=1e-3)


def test_gray_stays_gray_without_lighting():
    image = cv2.merge([make_image()[..., 0]] * 3)
    out = ColorJitterPCA(lighting=0)(dict(img=image))['img']
    np.testing.assert_allclose(out[..., 0], out[..., 2], atol=1e-3)


def test_components_are_orthonormal():
    np.testing.assert_allclose(EIGENVECTORS.T @ EIGENVECTORS, np.eye(3), atol=1e-6)


@pytest.mark.parametrize('shape', [(1, 1, 3), (60, 4000, 3)])
def test_odd_sizes(shape):
    out = ColorJitterPCA()(dict(img=np.zeros(shape, np.uint8)))['img']
    assert out.shape == shape and np.isfinite(out).all()


@pytest.mark.parametrize('shape', [(5, 5), (5, 5, 1), (5, 5, 4)])
def test_other_channels_are_refused(shape):
    with pytest.raises(UserError, match=r'g\.png has shape'):
        ColorJitterPCA()(dict(img=np.zeros(shape, np.uint8), img_path='g.png'))


@pytest.mark.parametrize('options', [
    dict(brightness=1), dict(contrast=-0.1), dict(saturation=2), dict(lighting=-1)])
def test_bad_options_are_refused(options):
    with pytest.raises(UserError, match=next(iter(options))):
        ColorJitterPCA(**options)
