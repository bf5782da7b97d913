"""Colors changed on the device are those that the worker would have made."""
import copy

import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import PackDetInputs
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmengine.dataset import Compose, default_collate, pseudo_collate

from mmdet_centernet.datasets.transforms import (
    ColorJitterPCA,
    PackInputs,
    PackMono3DInputs,
)
from mmdet_centernet.errors import UserError
from mmdet_centernet.models.data_preprocessors import CenterNetDataPreprocessor
from mmdet_centernet.registry import MODELS

META_KEYS = ('img_path', 'img_shape', 'color_matrix')
MEAN, STD = (104., 115., 120.), (74., 70., 71.)


def make_results(index, height=70, width=53):
    """An image with a black border, as CenterAffine leaves it."""
    image = np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)
    image[:9] = image[:, -5:] = 0
    return dict(img=image, img_path=f'{index}.png', img_shape=(height, width))


def run(results, on_device, seed, pack=None):
    np.random.seed(seed)
    pipeline = Compose([ColorJitterPCA(on_device=on_device),
                        pack or PackDetInputs(meta_keys=META_KEYS)])
    return pipeline(copy.deepcopy(results))


def both(sizes=((70, 53), (70, 53)), kinds=(True, True), collate=pseudo_collate, **options):
    """Return the input of a network with the device's colors, and with the worker's."""
    options = dict(dict(mean=MEAN, std=STD), **options)
    samples = [make_results(index, *size) for index, size in enumerate(sizes)]
    found = CenterNetDataPreprocessor(**options)(collate(
        [run(sample, kind, seed) for seed, (sample, kind) in enumerate(zip(samples, kinds))]),
        training=True)
    expected = DetDataPreprocessor(**options)(collate(
        [run(sample, False, seed) for seed, sample in enumerate(samples)]), training=True)
    return found, expected


@pytest.mark.parametrize('options', [
    {}, dict(bgr_to_rgb=True), dict(mean=None, std=None), dict(mean=[9.], std=[2.]),
    dict(pad_size_divisor=32, pad_value=7)], ids=str)
def test_colors_equal_the_workers(options):
    """Of images of one size and of several, all of them changed on the device or some."""
    for sizes in (((70, 53), (70, 53)), ((70, 53), (130, 20))):
        for kinds in ((True, True), (True, False)):
            found, expected = both(sizes, kinds, **options)
            assert found['inputs'].dtype == torch.float32
            # A thousandth of a gray level.
            std = min(options.get('std', STD) or [1])
            error = (found['inputs'] - expected['inputs']).abs().max()
            assert error < 1e-3 / std, (sizes, kinds)
            for one, other in zip(found['data_samples'], expected['data_samples']):
                assert one.metainfo == other.metainfo


def test_colors_of_stacked_batches_equal_the_workers():
    found, expected = both(collate=default_collate)
    assert (found['inputs'] - expected['inputs']).abs().max() < 1e-3 / min(STD)


def test_colors_do_change():
    """The comparison above is not one of unchanged images."""
    _, expected = both()
    plain = DetDataPreprocessor(MEAN, STD)(pseudo_collate(
        [PackDetInputs(meta_keys=META_KEYS)(make_results(index)) for index in range(2)]))
    assert (plain['inputs'] - expected['inputs']).abs().mean() > .05


def test_autocast_does_not_round_colors():
    _, expected = both()
    with torch.autocast('cpu', torch.bfloat16):
        found, _ = both()
    assert (found['inputs'] - expected['inputs']).abs().max() < 1e-3 / min(STD)


def test_images_stay_bytes_on_the_way():
    image = make_results(0)
    packed = run(image, True, 0)
    assert packed['inputs'].dtype == torch.uint8
    np.testing.assert_array_equal(packed['inputs'].permute(1, 2, 0), image['img'])
    assert packed['data_samples'].color_matrix.dtype == np.float32
    assert packed['data_samples'].color_matrix.shape == (3, 4)


def test_images_without_matrices_are_those_of_mmdet():
    samples = [PackDetInputs(meta_keys=META_KEYS)(make_results(index)) for index in range(2)]
    for training in (False, True):
        if training:
            for sample in samples:
                sample['inputs'] = sample['inputs'].float()
        found, expected = [kind(MEAN, STD)(pseudo_collate(samples), training)['inputs']
                           for kind in (CenterNetDataPreprocessor, DetDataPreprocessor)]
        assert torch.equal(found, expected)
    # As an inferencer may have it.
    images = [sample['inputs'] for sample in samples]
    assert CenterNetDataPreprocessor(MEAN, STD)(
        dict(inputs=images, data_samples=None))['inputs'].shape == (2, 3, 70, 53)


def test_lost_matrix_ends_in_one_message():
    packed = run(make_results(3), True, 0, PackDetInputs(meta_keys=META_KEYS[:2]))
    with pytest.raises(UserError, match=r'^3\.png reached .* without color_matrix: add it to '):
        CenterNetDataPreprocessor(MEAN, STD)(pseudo_collate([packed]), training=True)


@pytest.mark.parametrize('pack', [PackInputs(), PackMono3DInputs()], ids=repr)
def test_own_packing_carries_the_matrix(pack):
    results = dict(make_results(0), cam2img=np.eye(3, 4))
    packed = run(results, True, 0, pack)
    assert packed['data_samples'].color_matrix.shape == (3, 4)
    packed = run(results, False, 0, pack)
    assert 'color_matrix' not in packed['data_samples'].metainfo


def test_jitter_twice_is_refused():
    pipeline = Compose([ColorJitterPCA(on_device=True), ColorJitterPCA()])
    with pytest.raises(UserError, match=r'0\.png has a color_matrix already'):
        pipeline(make_results(0))


def test_is_built_from_a_config():
    assert isinstance(MODELS.build(dict(type='mmdet_centernet.CenterNetDataPreprocessor')),
                      CenterNetDataPreprocessor)
