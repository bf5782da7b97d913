"""Compare this package's CenterNet with MMDetection's, in one run.

Each pair does the same work on the same data, in turn, so that a busy machine slows both;
what counts is the ratio. MMDetection's DCNv2 needs mmcv's compiled operations: without
them the rows ``train step`` and ``predict`` compare the models without DCN. The row ``tta``
compares multi-scale flip testing with the network's forward passes that it consists of, the
row ``pose`` the decoding of poses with the network that puts them out.

    python tools/analysis/benchmark.py              # every row
    python tools/analysis/benchmark.py encode loss  # these rows
"""
import mmdet_centernet  # noqa: F401  isort: skip  (makes mmdet importable without compiled ops)

import argparse
import logging
import platform
import statistics
import sys
import time
from importlib.metadata import version

import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.models.dense_heads import CenterNetHead as MMDetHead
from mmdet.models.detectors import CenterNet as MMDetCenterNet
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from rich.console import Console
from rich.progress import track

from mmdet_centernet.apis.test_options import SCALES
from mmdet_centernet.models.dense_heads import CenterNetHead
from mmdet_centernet.models.detectors import CenterNet
from mmdet_centernet.models.test_time_augs import CenterNetTTAModel

CLASSES = 80
STRIDE = 4
# Rows whose second side is a network, and what the first is.
RATIOS = dict(tta='all', pose='decoding')
TEST_CFG = dict(topk=100, local_maximum_kernel=3, max_per_img=100)


def samples(batch, size, objects):
    """Data samples of a batch with random boxes, from 8 px to half the image wide."""
    generator = torch.Generator().manual_seed(objects)
    result = []
    for _ in range(batch):
        center = torch.rand(objects, 2, generator=generator) * size
        side = 8 * (size / 16) ** torch.rand(objects, 2, generator=generator)
        boxes = torch.cat((center - side / 2, center + side / 2), dim=1).clamp(0, size - 1)
        sample = DetDataSample(metainfo=dict(
            img_shape=(size, size), ori_shape=(size, size), batch_input_shape=(size, size),
            border=[0, size, 0, size]))
        sample.gt_instances = InstanceData(
            bboxes=boxes,
            labels=torch.randint(0, CLASSES, (objects,), generator=generator))
        result.append(sample)
    return result


def heads():
    """Both heads, for what happens behind the network."""
    settings = dict(
        num_classes=CLASSES, in_channels=64, feat_channels=64, test_cfg=ConfigDict(TEST_CFG))
    losses = dict(
        loss_center_heatmap=dict(type='mmdet.GaussianFocalLoss', loss_weight=1.0),
        loss_wh=dict(type='mmdet.L1Loss', loss_weight=0.1),
        loss_offset=dict(type='mmdet.L1Loss', loss_weight=1.0))
    return CenterNetHead(**settings), MMDetHead(**settings, **losses)


def network_outputs(batch, size):
    """Logits, sizes and offsets as a network at the start of training gives them."""
    torch.manual_seed(0)
    side = size // STRIDE
    return (
        torch.randn(batch, CLASSES, side, side) * 1.5 - 4,
        torch.rand(batch, 2, side, side) * 20, torch.rand(batch, 2, side, side))


def detector(kind, scope, use_dcn, **settings):
    """A detector, ResNet-18, with neck and head of a scope."""
    model = kind(
        dict(type='mmdet.ResNet', depth=18, norm_eval=False, norm_cfg=dict(type='BN')),
        dict(type=f'{scope}.CTResNetNeck', in_channels=512, num_deconv_filters=(256, 128, 64),
             num_deconv_kernels=(4, 4, 4), use_dcn=use_dcn),
        ConfigDict(type=f'{scope}.CenterNetHead', num_classes=CLASSES, in_channels=64,
                   feat_channels=64),
        test_cfg=ConfigDict(TEST_CFG), **settings)
    model.init_weights()
    return model


def detectors(use_dcn):
    """Both detectors."""
    return (detector(CenterNet, 'mmdet_centernet', use_dcn),
            detector(MMDetCenterNet, 'mmdet', use_dcn))


def encode_row(batch=16, size=512, objects=32):
    """Targets from boxes."""
    ours, theirs = heads()
    instances = [sample.gt_instances for sample in samples(batch, size, objects)]
    boxes, labels = [i.bboxes for i in instances], [i.labels for i in instances]
    shape = batch, CLASSES, size // STRIDE, size // STRIDE
    return (
        lambda: ours.coder.encode(boxes, labels, shape),
        lambda: theirs.get_targets(boxes, labels, shape, (size, size)))


def loss_row(batch=16, size=512, objects=32):
    """Losses and gradients from logits and boxes; mmdet's sigmoid is part of its head."""
    ours, theirs = heads()
    data = samples(batch, size, objects)
    instances, metas = [s.gt_instances for s in data], [s.metainfo for s in data]
    logits, wh, offset = (x.requires_grad_() for x in network_outputs(batch, size))

    def run(losses):
        torch.autograd.grad(sum(losses.values()), (logits, wh, offset))

    return (
        lambda: run(ours.loss_by_feat(
            [dict(heatmap=logits, wh=wh, offset=offset)], instances, metas)),
        lambda: run(theirs.loss_by_feat([logits.sigmoid()], [wh], [offset], instances, metas)))


def decode_row(batch=16, size=512):
    """Boxes from network outputs."""
    ours, theirs = heads()
    metas = [sample.metainfo for sample in samples(batch, size, 1)]
    logits, wh, offset = network_outputs(batch, size)
    probabilities = logits.sigmoid()
    return (
        lambda: ours.predict_by_feat([dict(heatmap=logits, wh=wh, offset=offset)], metas),
        lambda: theirs.predict_by_feat([probabilities], [wh], [offset], metas))


def train_row(batch=8, size=256, objects=8, use_dcn=True):
    """A training step: forward, losses, backward."""
    data = samples(batch, size, objects)
    inputs = torch.randn(batch, 3, size, size)

    def step(model):
        def run():
            model.zero_grad()
            sum(model(inputs, data, mode='loss').values()).backward()
        return run

    return tuple(step(model.train()) for model in detectors(use_dcn))


def predict_row(batch=1, size=512, use_dcn=True):
    """Network and decode of one image."""
    data = samples(batch, size, 1)
    inputs = torch.randn(batch, 3, size, size)

    def predict(model):
        return torch.inference_mode()(lambda: model(inputs, data, mode='predict'))

    return tuple(predict(model.eval()) for model in detectors(use_dcn))


def tta_row(height=375, width=500, use_dcn=True):
    """All of multi-scale flip testing of one image, and the network alone on its batches."""
    model = detector(CenterNet, 'mmdet_centernet', use_dcn, data_preprocessor=dict(
        type='mmdet.DetDataPreprocessor', mean=[127] * 3, std=[64] * 3))
    tta_model = CenterNetTTAModel(model.eval(), scales=SCALES)
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pipeline = Compose([dict(type='TestTimeAug', transforms=[
        [dict(type='mmdet_centernet.CenterPad', scale=scale) for scale in SCALES],
        [dict(type='mmdet.PackDetInputs', meta_keys=('img_shape', 'homography_matrix'))]])])
    batches = [torch.randn(2, *inputs.shape) for inputs in pipeline(dict(img=image))['inputs']]
    return (
        torch.inference_mode()(
            lambda: tta_model.test_step(pseudo_collate([pipeline(dict(img=image))]))),
        torch.inference_mode()(
            lambda: [model(batch, mode='tensor') for batch in batches]))


def pose_row(batch=16, size=512, use_dcn=True):
    """Poses from network outputs full of peaks, and DLA-34 that puts them out."""
    torch.manual_seed(0)
    model = CenterNet(
        dict(type='mmdet_centernet.DLA', variant='dla34'),
        dict(type='mmdet_centernet.DLAUp', in_channels=(64, 128, 256, 512),
             in_strides=(4, 8, 16, 32), use_dcn=use_dcn),
        ConfigDict(type='mmdet_centernet.CenterNetPoseHead', in_channels=64, feat_channels=256),
        test_cfg=ConfigDict(TEST_CFG)).eval()
    head = model.bbox_head
    inputs = torch.randn(batch, 3, size, size)
    side, keypoints = size // STRIDE, head.num_keypoints
    output = dict(
        heatmap=torch.randn(batch, 1, side, side) - 1,
        keypoint_heatmap=torch.randn(batch, keypoints, side, side) - 1,
        keypoint_displacement=torch.randn(batch, 2 * keypoints, side, side) * 10,
        **{name: torch.rand(batch, 2, side, side) * high
           for name, high in (('wh', 40), ('offset', 1), ('keypoint_offset', 1))})
    metas = [sample.metainfo for sample in samples(batch, size, 1)]
    return (
        torch.inference_mode()(lambda: head.predict_by_feat([output], metas)),
        torch.inference_mode()(lambda: model(inputs, mode='tensor')))


def rows(use_dcn):
    """(group, title, function that builds the pair)."""
    name = 'R18-DCN' if use_dcn else 'R18'
    for objects in (8, 32, 100):
        yield ('encode', f'encode, 16 x 512x512, {objects} boxes',
               lambda objects=objects: encode_row(objects=objects))
    for objects in (8, 32, 100):
        yield ('loss', f'loss forward + backward, 16 x 512x512, {objects} boxes',
               lambda objects=objects: loss_row(objects=objects))
    for batch in (1, 16):
        yield ('decode', f'predict_by_feat, {batch} x 512x512',
               lambda batch=batch: decode_row(batch=batch))
    yield ('train', f'{name} training step, 8 x 256x256', lambda: train_row(use_dcn=use_dcn))
    yield ('predict', f'{name} predict, 1 x 512x512', lambda: predict_row(use_dcn=use_dcn))
    yield ('tta', 'R18-DCN, five scales and mirrored, 500x375', tta_row)
    yield ('pose', 'DLA-34, 17 joints, 16 x 512x512', pose_row)


def measure(pair, repeats, seconds):
    """Times of both, in turn: lists of seconds. Stops early after ``seconds``."""
    for run in pair:
        run()
    times = [[], []]
    start = time.perf_counter()
    while len(times[1]) < repeats:
        for run, taken in zip(pair, times):
            before = time.perf_counter()
            run()
            taken.append(time.perf_counter() - before)
        if time.perf_counter() - start > seconds and len(times[1]) >= 3:
            break
    return times


def table_line(title, first, second, small, large, digits):
    """A line of a table: best times of both, best and median of ``large / small``."""
    best = min(large) / min(small)
    median = statistics.median(b / a for a, b in zip(small, large))
    return (f'| {title} | {min(first) * 1e3:.1f} | {min(second) * 1e3:.1f} | '
            f'{best:.{digits}f} | {median:.{digits}f} |')


def print_table(first, second, ratio, lines):
    """Print a table of :func:`table_line`."""
    print(f'| work | {first}, best ms | {second}, best ms | {ratio}, best | {ratio}, median |\n'
          '|---|--:|--:|--:|--:|')
    print('\n'.join(lines), end='\n\n')


def main(argv=None):
    """Parse arguments, run the rows, print a Markdown table."""
    groups = ('encode', 'loss', 'decode', 'train', 'predict', *RATIOS)
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('rows', nargs='*', choices=[*groups, []], help='default: all')
    parser.add_argument('--repeats', type=int, default=9, help='of each pair (default 9)')
    parser.add_argument(
        '--seconds', type=float, default=60, help='most time per pair (default 60)')
    args = parser.parse_args(argv)
    init_default_scope('mmdet')
    compiled = sys.modules['mmcv._ext'].__spec__.origin != 'mmdet_centernet'

    chosen = [row for row in rows(compiled) if not args.rows or row[0] in args.rows]
    lines, ratio_lines = [], {}
    console = Console(stderr=True)
    for group, title, build in track(chosen, 'measuring', console=console, transient=True):
        logging.disable(logging.WARNING)  # what mmengine says of every parameter it starts
        try:
            pair = build()
        finally:
            logging.disable(logging.NOTSET)
        first, second = measure(pair, args.repeats, args.seconds)
        if group in RATIOS:  # the first in terms of the second, not faster than mmdet
            ratio_lines[group] = [table_line(title, first, second, second, first, digits=3)]
        else:
            lines.append(table_line(title, first, second, first, second, digits=1))
    packages = ', '.join(
        f'{name} {version(name)}'
        for name in ('torch', 'mmdet', 'mmcv' if compiled else 'mmcv-lite', 'numpy'))
    print(f'{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads; '
          f'{packages}; {CLASSES} classes\n')
    if lines:
        print_table('ours', 'mmdet', 'times faster', lines)
    for group, found in ratio_lines.items():
        print_table(RATIOS[group], 'network alone', 'ratio', found)
    if not compiled and lines:
        print("Without mmcv's compiled operations mmdet has no DCNv2: the last rows are "
              'ResNet-18 without it.')


if __name__ == '__main__':
    main()
