"""What AP ground truth reaches in place of a network's outputs: the paper's error analysis.

With all of it from ground truth the AP is a ceiling: whatever a network learns, this stride and
these images' sizes allow no more. With some of it, it says which output costs how much.
"""
import contextlib
import copy
import io
import itertools
import logging
from collections import Counter
from dataclasses import dataclass
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import track
from torch.nn import functional as F

from mmdet_centernet.analysis.comparison import ground_truth, load_model
from mmdet_centernet.engine.hooks import CheckNumClassesHook
from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterNetHead
from mmdet_centernet.ops.affine import warp_boxes
from mmdet_centernet.registry import MODELS

PARTS = ('heatmap', 'wh', 'offset')
TRUE, NETWORK, MIDDLE = 'true', 'network', 'mid-cell'
# The original adds it to a cell's index where a model has no offset branch, cells.
MIDDLE_OFFSET = 0.5


@dataclass(frozen=True)
class Experiment:
    """One row: where each output comes from.

    Attributes:
        stride (int): input pixels per cell.
        heatmap, wh, offset (str): ``TRUE`` or ``NETWORK``; the offset also ``MIDDLE``, the
            middle of the cell.
    """

    stride: int
    heatmap: str = TRUE
    wh: str = TRUE
    offset: str = TRUE


def experiments_of(stride, has_network, parts=PARTS, strides=None):
    """The rows to be measured.

    Args:
        stride (int): the model's.
        has_network (bool): whether there are outputs to keep.
        parts (Sequence[str]): with a network, what is replaced, in every combination.
        strides (Sequence[int], optional): without one, those to compare; the model's if none.

    Returns:
        list[Experiment]: with a network, from nothing to all of ``parts`` replaced; without
        one, for each stride with the true offset and with the middle of the cell.
    """
    if not has_network:
        return [Experiment(s, offset=offset) for s in strides or (stride, )
                for offset in (TRUE, MIDDLE)]
    rows = itertools.chain.from_iterable(
        itertools.combinations(parts, count) for count in range(len(parts) + 1))
    return [Experiment(stride, **{part: TRUE if part in row else NETWORK for part in PARTS})
            for row in rows]


def nearest_values(values, cells, size):
    """Fill a map with the values of the nearest object's centre, as the original does.

    Nearest by steps to the four neighbours (city-block distance). Of several objects in one
    cell the last one counts.

    Args:
        values (Tensor[N, D]): one row per object.
        cells (Tensor[N]): int64 ``y * W + x`` of its centre.
        size (tuple[int, int]): (H, W).

    Returns:
        Tensor[D, H, W]: zeros if N = 0.
    """
    if not len(cells):
        return values.new_zeros(values.shape[1], *size)
    background = np.ones(size, np.uint8)
    background.reshape(-1)[cells.numpy()] = 0
    _, region = cv2.distanceTransformWithLabels(
        background, cv2.DIST_L1, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL)
    region = region.reshape(-1)
    owner = np.empty(region.max() + 1, np.int64)
    # numpy assigns in order: of several values for one place the last one stays.
    owner[region[cells.numpy()]] = np.arange(len(cells))
    return values[torch.from_numpy(owner[region])].T.reshape(-1, *size)


def true_outputs(targets, shape, wh_channels):
    """What a perfect network would put out.

    Args:
        targets (BoxTargets): of the coder.
        shape (tuple[int, int, int, int]): (B, C, H, W) of the heat map.
        wh_channels (int): 2, or 2 C for sizes of each class.

    Returns:
        dict[str, Tensor]: ``heatmap`` as logits, infinite at centres; ``wh`` and ``offset``
        at each cell those of the nearest object (cells).
    """
    batch, _, height, width = shape
    drawn = (targets.wh > 0).all(dim=1)
    maps = []
    for image in range(batch):
        mine = drawn & (targets.images == image)
        values = torch.cat((targets.wh[mine], targets.offset[mine]), dim=1)
        maps.append(nearest_values(values, targets.cells[mine], (height, width)))
    wh, offset = torch.stack(maps).split(2, dim=1)
    wh = wh.repeat(1, wh_channels // 2, 1, 1)
    if wh_channels > 2:
        # Objects of several classes in one cell each have their own size.
        index = [tensor[drawn] for tensor in (targets.images, targets.labels, targets.cells)]
        wh.view(batch, -1, 2, height * width)[index[0], index[1], :, index[2]] = targets.wh[drawn]
    return dict(heatmap=targets.heatmap.to_dense().logit(), wh=wh, offset=offset)


LOST = (
    'no size inside the input of the network',
    'centre in the cell of another of the class',
    'centre in the cell of another class, whose size it gets',
    'more in the image than it may have detections')
HARD = (
    'centre beside that of another of the class, which may suppress it',
    'smaller than a cell')


def count_objects(targets, centers, limit, wh_per_class=False):
    """Count the objects of a batch that no network can find, and those that are hard.

    Args:
        targets (BoxTargets): of the coder.
        centers (Tensor[B, C, H, W]): bool, the heat map's centres.
        limit (int): detections per image.
        wh_per_class (bool): whether each class has sizes of its own.

    Returns:
        Counter[str]: by the reasons ``LOST`` and ``HARD``.
    """
    drawn = (targets.wh > 0).all(dim=1)
    peaks = centers.sum(dim=(1, 2, 3))
    touching = centers & (9 * F.avg_pool2d(centers.float(), 3, stride=1, padding=1) > 1.5)
    places = centers.any(dim=1).sum()
    return Counter({
        LOST[0]: int((~drawn).sum()),
        LOST[1]: int(drawn.sum() - peaks.sum()),
        LOST[2]: 0 if wh_per_class else int(peaks.sum() - places),
        LOST[3]: int((peaks - limit).clamp(min=0).sum()),
        HARD[0]: int(touching.sum()),
        HARD[1]: int((drawn & (targets.wh < 1).any(dim=1)).sum())})


@dataclass
class Outcome:
    """What :func:`measure` found.

    Attributes:
        metrics (dict[Experiment, dict[str, float]]): of the config's evaluator.
        counts (dict[int, Counter[str]]): stride -> objects by the reasons of
            :func:`count_objects`.
        images, objects, ignored (int): in the data; ``ignored`` are crowds and the like.
        limit (int): detections per image.
    """

    metrics: dict
    counts: dict
    images: int
    objects: int
    ignored: int
    limit: int


def measure(config, checkpoint=None, parts=PARTS, strides=None):
    """Replace outputs by ground truth and evaluate, on the config's test data.

    Without a checkpoint no network runs: neither its weights nor those that it would start
    from are needed.

    Args:
        config (Config): of a model with :class:`CenterNetHead`; ``test_dataloader``, whose
            images are taken in order, and ``test_evaluator``.
        checkpoint (str, optional): the model's weights.
        parts (Sequence[str]): see :func:`experiments_of`.
        strides (Sequence[int], optional): see :func:`experiments_of`.

    Returns:
        Outcome

    Raises:
        UserError: if something is missing, or does not belong together.
    """
    for key in ('test_dataloader', 'test_evaluator'):
        if not config.get(key):
            raise UserError(f'the config has no {key}, which says what is measured how')
    if strides and checkpoint:
        raise UserError('other strides can only be tried without a checkpoint: its network '
                        'has the stride that it was trained with')
    init_default_scope(config.get('default_scope', 'mmdet'))
    model = load_model(config, checkpoint) if checkpoint else MODELS.build(config.model)
    head = getattr(model, 'bbox_head', None)
    if not isinstance(head, CenterNetHead):
        raise UserError(f'the head is a {type(head).__name__}, but the oracle is for boxes, the '
                        'outputs of mmdet_centernet.CenterNetHead: give it the config of a '
                        'detector, which may have the same data')
    # In order and in one process, as each image's ground truth is looked up by its number.
    settings = dict(config.test_dataloader, sampler=dict(type='DefaultSampler', shuffle=False))
    settings.pop('batch_sampler', None)
    loader = Runner.build_dataloader(settings)
    CheckNumClassesHook().before_test(SimpleNamespace(model=model, test_dataloader=loader))
    dataset = loader.dataset
    if not len(dataset):
        raise UserError('test_dataloader has no images')
    rows = experiments_of(head.coder.stride, checkpoint is not None, parts, strides)
    coders = {row.stride: _with_stride(head.coder, row.stride) for row in rows}
    evaluators = {}
    for row in rows:
        with _quiet():
            evaluators[row] = Evaluator(config.test_evaluator)
        evaluators[row].dataset_meta = dataset.metainfo
    cfg = head.test_cfg or {}
    limit = cfg.get('max_per_img', 100)
    limit = min(limit, cfg.get('topk', limit))
    outcome = Outcome({}, {stride: Counter() for stride in coders}, 0, 0, 0, limit)
    for data in track(loader, 'measuring', console=Console(stderr=True), transient=True):
        batch = model.data_preprocessor(data, False)
        samples = batch['data_samples']
        infos = [dataset.get_data_info(outcome.images + i) for i in range(len(samples))]
        outcome.images += len(infos)
        truth = [ground_truth(info) for info in infos]
        outcome.objects += sum(len(each['labels']) for each in truth)
        outcome.ignored += sum(len(info['instances']) for info in infos) - sum(
            len(each['labels']) for each in truth)
        boxes, labels = _in_input_pixels(head, truth, samples)
        predicted = _outputs_of(model, batch) if checkpoint else None
        outputs = {}
        for stride, coder in coders.items():
            shape = predicted['heatmap'].shape if predicted else (
                len(samples), head.num_classes,
                *(-(-side // stride) for side in batch['inputs'].shape[-2:]))
            targets = coder.encode(boxes, labels, tuple(shape))
            outputs[stride] = true_outputs(targets, tuple(shape),
                                           2 * head.num_classes if head.wh_per_class else 2)
            outcome.counts[stride].update(count_objects(
                targets, outputs[stride]['heatmap'].isposinf(), limit, head.wh_per_class))
        for row in rows:
            chosen = _choose(row, outputs[row.stride], predicted)
            head.coder = coders[row.stride]
            results = head.predict_by_feat([chosen], [s.metainfo for s in samples])
            for sample, result in zip(samples, results, strict=True):
                sample.pred_instances = result
            evaluators[row].process(data_samples=samples, data_batch=data)
    if not outcome.objects:
        raise UserError('the test data has no objects: an oracle needs ground truth')
    for row, evaluator in evaluators.items():
        with _quiet():
            outcome.metrics[row] = evaluator.evaluate(len(dataset))
    return outcome


def _with_stride(coder, stride):
    """The same coder at another stride."""
    coder = copy.copy(coder)
    coder.stride = stride
    return coder


def _in_input_pixels(head, truth, samples):
    """Boxes [N, 4] and labels [N] of each image as the network sees it, float32 and int64."""
    to_original = head.input_to_original(
        [sample.metainfo for sample in samples], torch.empty(0, dtype=torch.float64))
    boxes = [torch.from_numpy(warp_boxes(each['bboxes'], matrix)).float()
             for each, matrix in zip(truth, to_original.inverse().numpy(), strict=True)]
    return boxes, [torch.from_numpy(each['labels']) for each in truth]


@torch.no_grad()
def _outputs_of(model, batch):
    """What the network puts out for a batch, on the CPU."""
    last = model(**batch, mode='tensor')[0][-1]
    return {name: last[name].float().cpu() for name in PARTS}


def _choose(row, true, predicted):
    """The outputs that a row decodes."""
    chosen = {part: (true if getattr(row, part) == TRUE else predicted or {}).get(part)
              for part in PARTS}
    if row.offset == MIDDLE:
        chosen['offset'] = torch.full_like(true['offset'], MIDDLE_OFFSET)
    return chosen


@contextlib.contextmanager
def _quiet():
    """Without what evaluators print of each evaluation."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
