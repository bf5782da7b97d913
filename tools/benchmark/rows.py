"""Rows of the benchmark: the sides that are compared, and their sizes."""
from functools import partial

import exported
import heads
import networks
import own
import pipelines
from side import Row, Side

# (input channels, output channels, cells) of the deformable layers at 512 x 512.
DEFORMABLE = (
    ("R18's neck", 512, 256, 16), ("R18's neck", 256, 128, 32), ("R18's neck", 128, 64, 64),
    ("DLA-34's", 64, 64, 128))
TRAIN_BATCH = 8
# Name, backend and what else the runtimes of exported models are given.
EXPORTED = (
    ('ONNX Runtime', 'onnxruntime', {}),
    ('ONNX Runtime, DeformConv', 'onnxruntime', dict(dcn='deform_conv')),
    ('OpenVINO', 'openvino', {}),
    ('OpenVINO, bf16', 'openvino', dict(precision='bfloat16')),
    ('OpenVINO, int8', 'openvino', dict(precision='int8')),
)
PIPELINE_IMAGES = 32


def pair(build, **settings):
    """Return both sides of work with equal settings."""
    return tuple(Side(name, build, dict(settings, side=name)) for name in ('mmdet', 'ours'))


def r18():
    """Return the ResNet-18 that mmdet can run here."""
    return 'R18-DCN' if networks.compiled_mmcv() else 'R18'


def encode_rows():
    """Targets from boxes."""
    for objects in (8, 32, 100):
        yield Row('encode', f'16 x 512x512, {objects} boxes',
                  pair(heads.encode, objects=objects))


def loss_rows():
    """Encode, losses and their gradients from logits."""
    for objects in (8, 32, 100):
        yield Row('loss', f'16 x 512x512, {objects} boxes',
                  pair(heads.loss, objects=objects), memory=True)


def decode_rows():
    """Detections from logits."""
    for batch in (1, 16):
        yield Row('decode', f'{batch} x 512x512', pair(heads.decode, batch=batch))


def dcn_rows():
    """One deformable layer."""
    for backward in (False, True):
        batch = TRAIN_BATCH if backward else 1
        for place, in_channels, out_channels, size in DEFORMABLE:
            yield Row(
                'dcn', f'{place} {in_channels} -> {out_channels}, {batch} x {size}x{size}, '
                f'forward{" + backward" if backward else ""}',
                pair(networks.dcn, in_channels=in_channels, out_channels=out_channels,
                     size=size, batch=batch, backward=backward),
                memory=True)


def train_rows():
    """Forward, losses, backward."""
    for model in (r18(), 'DLA-34', 'lite0'):
        ours = Side('ours', networks.train, dict(side='ours', model=model, batch=TRAIN_BATCH))
        bf16 = Side('ours, bf16', networks.train, dict(ours.settings, bf16=True), 'bfloat16')
        sides = (*pair(networks.train, model=model, batch=TRAIN_BATCH), bf16)
        yield Row('train', f'{model}, {TRAIN_BATCH} x 512x512',
                  sides if model == r18() else (ours, bf16), images=TRAIN_BATCH, memory=True,
                  cost=ours, reference='mmdet' if model == r18() else 'ours')


def predict_sides(model):
    """All ways in which PyTorch runs a model."""
    make = partial(Side, build=networks.predict)
    settings = dict(side='ours', model=model)
    sides = [
        make('ours', settings=settings),
        make('ours, optimized', settings=dict(settings, optimized=True)),
        make('ours, optimized, bf16', dtype='bfloat16',
             settings=dict(settings, optimized=True, bf16=True))]
    if model == r18():
        sides.insert(0, make('mmdet', settings=dict(settings, side='mmdet')))
        # The others too would take minutes to compile.
        sides.append(make('ours, compiled', settings=dict(settings, compiled=True)))
    return tuple(sides)


def forward_of(model):
    """Return the work that the roofline of a model's prediction counts."""
    return Side('forward', networks.forward, dict(model=model))


def predict_rows():
    """Detections of one image."""
    for model in (r18(), 'DLA-34', 'lite0'):
        yield Row('predict', f'{model}, 1 x 512x512', predict_sides(model), images=1,
                  cost=forward_of(model), reference='mmdet' if model == r18() else 'ours')


def export_rows():
    """The same, exported, in every runtime."""
    for model in (r18(), 'DLA-34', 'lite0'):
        sides = [Side(name, exported.predict, dict(backend=backend, model=model, **more),
                      dtype='bfloat16' if 'bf16' in name else 'float32')
                 for name, backend, more in EXPORTED
                 if 'DeformConv' not in name or model in ('R18-DCN', 'DLA-34')]
        if model == r18():
            sides.insert(0, Side('mmdet', networks.predict, dict(side='mmdet', model=model)))
        yield Row('export', f'{model}, 1 x 512x512', tuple(sides), images=1,
                  cost=forward_of(model),
                  reference='mmdet' if model == r18() else EXPORTED[0][0])


def pipeline_rows():
    """JPEG files to a training step's inputs."""
    yield Row(
        'pipeline', f'640x480 JPEG to 512x512, {PIPELINE_IMAGES} images',
        tuple(Side(name, pipelines.load, dict(side=name, count=PIPELINE_IMAGES))
              for name in ('mmdet', *pipelines.OUR_CONFIGS)),
        images=PIPELINE_IMAGES)


def tta_rows():
    """Test-time augmentation and the network alone."""
    yield Row('tta', 'R18-DCN, five scales and flipped, 500x375',
              tuple(Side(name, own.tta, dict(side=name)) for name in ('network', 'all')),
              reference='network')


def pose_rows():
    """Decoding of poses and the network that puts them out."""
    yield Row('pose', 'DLA-34, 17 keypoints, 16 x 512x512',
              tuple(Side(name, own.pose, dict(side=name)) for name in ('network', 'decoding')),
              reference='network')


def scaling_rows(threads=1):
    """Yield rows that vary one setting at a time."""
    model = r18()
    sweeps = (
        ('encode + loss', heads.loss, dict(batch=8, size=512, classes=80, objects=32), dict(
            size=(256, 512, 768), batch=(1, 4, 16), classes=(1, 20, 80),
            objects=(1, 8, 32, 128))),
        ('decode', heads.decode, dict(batch=8, size=512, classes=80), dict(
            size=(256, 512, 768), batch=(1, 4, 16), classes=(1, 20, 80))),
        ('predict', networks.predict, dict(model=model, batch=1, size=512, classes=80), dict(
            size=(256, 512, 768), batch=(1, 4), classes=(1, 80))),
        ('train', networks.train,
         dict(model=model, batch=2, size=256, classes=80, objects=8), dict(
             size=(128, 256, 384), batch=(1, 2, 4), classes=(1, 80), objects=(1, 32))),
    )
    for work, build, base, variables in sweeps:
        for variable, values in variables.items():
            for value in values:
                settings = dict(base, **{variable: value})
                yield Row('scaling', f'{variable} {value}', pair(build, **settings),
                          images=settings['batch'],
                          table=f'{work} by {variable}, else {_others(base, variable)}')
        # More processes and threads than were asked for would fight for cores.
        for count in sorted({1, max(threads // 2, 1), threads}):
            yield Row('scaling', f'{count} threads', pair(build, **base), images=base['batch'],
                      table=f'{work} by threads, {_others(base)}', threads=count)
            yield Row(
                'scaling', f'{count} processes',
                tuple(Side(s.name, s.build, s.settings, processes=count)
                      for s in pair(build, **base)),
                images=base['batch'],
                table=f'{work} by processes of one thread, {_others(base)}')


def _others(settings, varied=None):
    return ', '.join(f'{name} {value}' for name, value in settings.items() if name != varied)


GROUPS = {
    'encode': encode_rows, 'loss': loss_rows, 'decode': decode_rows, 'dcn': dcn_rows,
    'train': train_rows, 'predict': predict_rows, 'export': export_rows,
    'pipeline': pipeline_rows, 'scaling': scaling_rows, 'tta': tta_rows, 'pose': pose_rows,
}
# Takes as long as everything else together.
LEFT_OUT = ('scaling', )


def rows_of(groups, threads):
    """The rows of groups.

    Args:
        groups (Sequence[str]): in any order; all but ``LEFT_OUT`` if empty.
        threads (int): the most that the work may use.

    Returns:
        list[Row]: in the order of ``GROUPS``.
    """
    chosen = groups or [name for name in GROUPS if name not in LEFT_OUT]
    return [row for name, make in GROUPS.items() if name in chosen
            for row in (make(threads) if name == 'scaling' else make())]
