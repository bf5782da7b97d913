"""Weights that the reference outputs in ``tests/data/parity`` were made with.

``official_keys.json.gz`` and ``bubbliiiing_keys.json.gz`` map 'task/arch' to {parameter name:
shape} of other repositories' networks. A parameter's values follow from its name and shape
alone, so no weights are stored. ``official_outputs.json`` holds what the original computed
with them: per 'task/arch' and branch the shape, the standard deviation, and sampled values.
"""
import gzip
import json
import zlib
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).resolve().parent / 'data' / 'parity'


def _base(name, shape):
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith('num_batches_tracked'):
        return np.zeros((), np.int64)
    if name.endswith('running_var'):
        return (0.5 + rng.random(shape)).astype(np.float32)
    if name.endswith('running_mean'):
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)
    if len(shape) == 1:
        value = 0.1 * rng.standard_normal(shape)
        if name.endswith('weight'):
            value = 0.6 + 0.3 * rng.random(shape)
        return value.astype(np.float32)
    fan_in = int(np.prod(shape[1:]))
    gain = 0.3 if 'conv_offset_mask' in name else 1.2
    return (gain * rng.standard_normal(shape) / np.sqrt(fan_in)).astype(np.float32)


def seeded(name, shape):
    """The value (numpy) of another repository's parameter; its last layers are spread so
    that scores and sizes look like a trained network's."""
    shape = tuple(shape)
    value = _base(name, shape)
    branch = name.split('.')[0]
    last_conv = len(shape) == 4 and shape[2] == 1
    if branch == 'wh' and shape == (2,):
        value = (9 + 6 * value * 10 * 0.1).astype(np.float32)
    if branch in ('hm', 'hm_hp') and last_conv:
        value = value * 6
    if branch == 'hps' and shape == (34,):
        value = value * 40
    if branch in ('wh', 'hps') and last_conv:
        value = value * 4
    return value


def seeded_state_dict(key):
    """{parameter name: tensor} of 'task/arch', in the other repository's names."""
    file = 'bubbliiiing_keys' if key.startswith('bubbliiiing/') else 'official_keys'
    with gzip.open(FOLDER / f'{file}.json.gz', 'rt') as stream:
        shapes = json.load(stream)[key]
    return {
        name: torch.from_numpy(np.asarray(seeded(name, shape))) for name, shape in shapes.items()}


def seeded_input():
    """The [1, 3, 128, 256] input of the reference outputs."""
    noise = np.random.default_rng(7).standard_normal((1, 3, 128, 256))
    return torch.from_numpy(noise.astype(np.float32))


def official_outputs(key):
    """{branch: dict(shape, std, values)} of the last stack, in the original's names."""
    return json.loads((FOLDER / 'official_outputs.json').read_text())[key]


def sampled(output, count=96):
    """The values of a branch's output at the positions that the reference file holds."""
    flat = output.detach().numpy().ravel()
    return flat[np.random.default_rng(11).integers(0, flat.size, count)]


def assert_equals_official(outputs, key):
    """Outputs by the original's branch names equal the original's, to a thousandth of the
    branch's standard deviation."""
    expected = official_outputs(key)
    assert set(outputs) == set(expected)
    for branch, reference in expected.items():
        assert list(outputs[branch].shape) == reference['shape'], branch
        error = np.abs(sampled(outputs[branch]) - np.array(reference['values'])).max()
        assert error < 1e-3 * reference['std'], (branch, error / reference['std'])
