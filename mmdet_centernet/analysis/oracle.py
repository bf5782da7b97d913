"""Replace a network's outputs by ground truth and evaluate: the paper's error analysis.

With all outputs from ground truth the score is a ceiling: with this stride and these images'
sizes, no network can do better. With some of them, it tells how much each output costs.
"""
import contextlib
import copy
import io
import itertools
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional as F

from mmdet_centernet.analysis.comparison import load_model
from mmdet_centernet.engine.hooks import CheckNumClassesHook
from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterCoder, CenterHead
from mmdet_centernet.models.properties import LTRB, Box, Centers, HeatmapTarget, Target
from mmdet_centernet.models.properties.branch import Branch
from mmdet_centernet.registry import MODELS

# The original implementation adds it to a cell's index where a model has no offset branch, cells.
MIDDLE = 0.5
# With more branches than this, they are not replaced in every combination.
MOST_COMBINED = 3


@dataclass(frozen=True)
class Experiment:
    """One row: the origin of each output.

    Attributes:
        stride (int): input pixels per cell.
        network (frozenset[str]): branches whose outputs are the network's; the others are
            ground truth.
        mid_cell (bool): the offset is that of the middle of a cell instead.
    """

    stride: int
    network: frozenset[str] = frozenset()
    mid_cell: bool = False


def experiments_of(
    branches: Sequence[str],
    stride: int,
    has_network: bool,
    parts: Sequence[str] | None = None,
    strides: Sequence[int] | None = None,
) -> list[Experiment]:
    """List the rows to be measured.

    Args:
        branches (Sequence[str]): the model's.
        stride (int): the model's.
        has_network (bool): whether there are outputs to keep.
        parts (Sequence[str], optional): with a network, the branches that are replaced; all by
            default.
        strides (Sequence[int], optional): without one, those to compare; the model's by default.

    Returns:
        list[Experiment]: without a network, for each stride with the true offset and with
        mid-cell; with one, every combination of ``parts`` from none to all, or, of more than
        three, none, each alone, and all.
    """
    if not has_network:
        return [Experiment(each, mid_cell=mid_cell) for each in strides or (stride,)
                for mid_cell in ((False, True) if 'offset' in branches else (False,))]
    parts = tuple(branches if parts is None else parts)
    counts = range(len(parts) + 1) if len(parts) <= MOST_COMBINED else (0, 1, len(parts))
    replaced = itertools.chain.from_iterable(
        itertools.combinations(parts, count) for count in counts)
    return [Experiment(stride, frozenset(branches) - frozenset(row)) for row in replaced]


def nearest_values(values: Tensor, cells: Tensor, size: tuple[int, int]) -> Tensor:
    """Fill a map with the values of the nearest position, as the original implementation does.

    Nearest by city-block distance. Of several values in one cell the last one counts.

    Args:
        values (Tensor[N, D]): one row per position.
        cells (Tensor[N]): int64 ``y * W + x``.
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


def true_output(target: Target, branch: Branch, shape: tuple[int, ...]) -> Tensor:
    """Return the output of a perfect network for one branch.

    Args:
        target (Target): of the branch.
        branch (Branch): its record.
        shape (tuple[int, ...]): (B, channels, H, W) of the output.

    Returns:
        Tensor[B, channels, H, W]: a heatmap as logits, infinite at peaks; a regression at each
        cell as at the nearest cell that has a target.
    """
    if isinstance(target, HeatmapTarget):
        return branch.to_output(target.heatmap.to_dense())
    batch, channels, height, width = shape
    trained = (target.weight[..., None] > 0).flatten(1).any(dim=1)
    values = branch.to_output(target.values).flatten(1).float()
    if target.channels is not None:
        values = values.repeat(1, channels // values.shape[1])
    maps = []
    for image in range(batch):
        here = trained & (target.images == image)
        maps.append(nearest_values(values[here], target.cells[here], (height, width)))
    output = torch.stack(maps)
    if target.channels is not None:
        # Several entries of a cell, each with channels of its own, do not replace each other.
        index = target.images[trained, None], target.channels[trained], target.cells[trained, None]
        own = values[trained, :target.channels.shape[1]]
        output.view(batch, channels, -1)[index] = own
    return output


LOST = (
    'no size inside the input of the network',
    'center in the cell of another of the class',
    'center in the cell of another class, whose size it gets',
    'more in the image than it may have detections')
HARD = (
    'center next to that of another of the class, which may suppress it',
    'smaller than a cell')


def count_objects(
    centers: Centers, num_objects: int, limit: int, per_class: bool = False
) -> Counter[str]:
    """Count the objects of a batch that no network can find, and those that are hard.

    Args:
        centers (Centers): of the batch.
        num_objects (int): in the data, those that are not in the network's input included.
        limit (int): detections per image.
        per_class (bool): whether each class has sizes of its own.

    Returns:
        Counter[str]: by the reasons ``LOST`` and ``HARD``.
    """
    batch, num_classes, height, width = centers.shape
    valid = centers.valid
    is_peak = torch.zeros(batch, num_classes, height * width, dtype=torch.bool)
    is_peak[centers.images[valid], centers.labels[valid], centers.cells[valid]] = True
    is_peak = is_peak.view(centers.shape)
    peaks = is_peak.sum(dim=(1, 2, 3))
    touching = is_peak & (9 * F.avg_pool2d(is_peak.float(), 3, stride=1, padding=1) > 1.5)
    places = is_peak.any(dim=1).sum()
    return Counter({
        LOST[0]: num_objects - int(valid.sum()),
        LOST[1]: int(valid.sum() - peaks.sum()),
        LOST[2]: 0 if per_class else int(peaks.sum() - places),
        LOST[3]: int((peaks - limit).clamp(min=0).sum()),
        HARD[0]: int(touching.sum()),
        HARD[1]: int((valid & (centers.wh < 1).any(dim=1)).sum())})


@dataclass
class Outcome:
    """The results of :func:`measure`.

    Attributes:
        branches (tuple[str, ...]): the model's.
        metrics (dict[Experiment, dict[str, float]]): of the config's evaluator.
        counts (dict[int, Counter[str]]): stride -> objects by the reasons of
            :func:`count_objects`.
        images, objects, ignored (int): in the data; ``ignored`` are crowds and the like.
        limit (int): detections per image.
    """

    branches: tuple[str, ...]
    metrics: dict[Experiment, dict[str, float]]
    counts: dict[int, Counter[str]]
    limit: int
    images: int = 0
    objects: int = 0
    ignored: int = 0


def measure(
    config: Config,
    checkpoint: str | None = None,
    parts: Sequence[str] | None = None,
    strides: Sequence[int] | None = None,
) -> Outcome:
    """Replace outputs by ground truth and evaluate, on the config's test data.

    Works for every property of the head. Without a checkpoint no network runs: neither its
    weights nor those that it would start from are needed.

    Args:
        config (Config): of a model with a :class:`CenterHead`; ``test_dataloader``, whose
            images are taken in order, and ``test_evaluator``.
        checkpoint (str, optional): the model's weights.
        parts (Sequence[str], optional): see :func:`experiments_of`.
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
    model: Any = load_model(config, checkpoint) if checkpoint else MODELS.build(config.model)
    head = getattr(model, 'bbox_head', None)
    if not isinstance(head, CenterHead):
        raise UserError(f'the head is a {type(head).__name__}, but the oracle replaces the '
                        'outputs of a mmdet_centernet.CenterHead: give it the config '
                        'of such a detector, which may have the same data')
    branches = tuple(name for name, branch in head.branches.items() if not branch.training_only)
    for part in parts or ():
        if part not in branches:
            raise UserError(f'the model has no branch {part!r}: its branches are '
                            f'{", ".join(branches)}')
    loader = _loader(config)
    dataset: Any = loader.dataset
    CheckNumClassesHook().before_test(SimpleNamespace(model=model, test_dataloader=loader))
    if not len(dataset):
        raise UserError('test_dataloader has no images')
    head.use_dataset(dataset.metainfo)
    rows = experiments_of(branches, head.coder.stride, checkpoint is not None, parts, strides)
    coders = {row.stride: _with_stride(head.coder, row.stride) for row in rows}
    evaluators = {}
    for row in rows:
        with _quiet():
            evaluators[row] = Evaluator(config.test_evaluator)
        evaluators[row].dataset_meta = dataset.metainfo
    cfg = head.test_cfg or {}
    limit = cfg.get('max_per_img', 100)
    limit = min(limit, cfg.get('topk', limit))
    sides = head.find_property(LTRB)
    if sides is not None and sides.cells == 'gaussian':
        # Where many cells train, a small object may have the cell of a large one's center.
        sides.cells = '3x3'
    boxes = head.find_property(Box)
    outcome = Outcome(branches, {}, {stride: Counter() for stride in coders}, limit)
    for data in track(loader, 'measuring', console=Console(stderr=True), transient=True):
        batch = model.data_preprocessor(data, False)
        samples = batch['data_samples']
        metas = [sample.metainfo for sample in samples]
        instances = [sample.gt_instances.cpu() for sample in samples]
        infos = [dataset.get_data_info(outcome.images + i) for i in range(len(samples))]
        num_objects = 0
        for sample, info in zip(samples, infos, strict=True):
            # For metrics that read ground truth off the samples, in pixels of the image.
            sample.gt_instances, sample.ignored_instances = (
                _boxes_of(info, ignored) for ignored in (False, True))
            num_objects += len(sample.gt_instances)
            outcome.ignored += len(sample.ignored_instances)
        outcome.images += len(samples)
        outcome.objects += num_objects
        predicted = _outputs_of(model, batch) if checkpoint else None
        outputs = {}
        for stride, coder in coders.items():
            head.coder = coder
            size = predicted['heatmap'].shape[2:] if predicted else tuple(
                -(-side // stride) for side in batch['inputs'].shape[-2:])
            shape = (len(samples), head.num_classes, *size)
            targets = head.encode(instances, metas, shape)
            outputs[stride] = {
                name: true_output(targets[name], head.branches[name],
                                  (len(samples), head.branches[name].channels, *size))
                for name in branches}
            outcome.counts[stride].update(count_objects(
                coder.encode(instances, metas, shape)[0], num_objects, limit,
                boxes is not None and boxes.per_class))
        for row in rows:
            head.coder = coders[row.stride]
            chosen = _choose(row, outputs[row.stride], predicted)
            results = head.predict_by_feat([chosen], metas)
            for sample, result in zip(samples, results, strict=True):
                sample.pred_instances = result
            evaluators[row].process(data_samples=samples, data_batch=data)
    if not outcome.objects:
        raise UserError('the test data has no objects: an oracle needs ground truth')
    for row, evaluator in evaluators.items():
        with _quiet():
            outcome.metrics[row] = evaluator.evaluate(len(dataset))
    return outcome


def _loader(config: Config) -> torch.utils.data.DataLoader[Any]:
    """Build the test data loader, in order, with annotations that follow the image.

    MMDetection's test pipelines load annotations last, in pixels of the original image. Here
    those of the training pipeline are loaded first, so that every transform moves them, too.
    """
    settings = copy.deepcopy(config.test_dataloader)
    # In order, because each image's annotations are looked up by its number.
    settings['sampler'] = dict(type='DefaultSampler', shuffle=False)
    settings.pop('batch_sampler', None)
    loaders: dict[str, dict[str, Any]] = {}
    for name in ('test_dataloader', 'train_dataloader'):
        pipeline = _innermost((config.get(name) or {}).get('dataset') or {}).get('pipeline') or ()
        for step in pipeline:
            if _loads_annotations(step):
                loaders[_type_name(step)] = step
    dataset = _innermost(settings['dataset'])
    pipeline = [step for step in dataset.get('pipeline') or () if not _loads_annotations(step)]
    images = [index for index, step in enumerate(pipeline)
              if _type_name(step).startswith('Load')]
    if not images:
        raise UserError('the test pipeline loads no image: begin it with '
                        'mmdet_centernet.LoadImage')
    pipeline[images[-1] + 1:images[-1] + 1] = loaders.values() or [
        dict(type='mmdet.LoadAnnotations', with_bbox=True)]
    dataset['pipeline'] = pipeline
    loader: torch.utils.data.DataLoader[Any] = Runner.build_dataloader(settings)
    return loader


def _innermost(dataset: dict[str, Any]) -> dict[str, Any]:
    """Return the config of the data set inside of wrappers that repeat it."""
    while 'pipeline' not in dataset and isinstance(dataset.get('dataset'), dict):
        dataset = dataset['dataset']
    return dataset


def _type_name(step: dict[str, Any]) -> str:
    """Return the type of a transform's config without its scope."""
    kind = step['type']
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__


def _loads_annotations(step: dict[str, Any]) -> bool:
    name = _type_name(step)
    return name.startswith('Load') and 'Image' not in name


def _boxes_of(info: dict[str, Any], ignored: bool) -> InstanceData:
    """Return boxes and labels of the objects of a data set entry, or of those to be ignored."""
    kept = [each for each in info['instances'] if bool(each.get('ignore_flag')) == ignored]
    return InstanceData(
        bboxes=torch.tensor([each['bbox'] for each in kept], dtype=torch.float32).view(-1, 4),
        labels=torch.tensor([each['bbox_label'] for each in kept], dtype=torch.int64))


def _with_stride(coder: CenterCoder, stride: int) -> CenterCoder:
    """Return the same coder at another stride."""
    coder = copy.copy(coder)
    coder.stride = stride
    return coder


@torch.no_grad()
def _outputs_of(model: nn.Module, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Compute the network's outputs for a batch, on the CPU."""
    last = model(**batch, mode='tensor')[0][-1]
    return {name: values.float().cpu() for name, values in last.items()}


def _choose(
    row: Experiment, true: dict[str, Tensor], predicted: dict[str, Tensor] | None
) -> dict[str, Tensor]:
    """Return the outputs that a row decodes."""
    chosen = {name: predicted[name] if predicted and name in row.network else values
              for name, values in true.items()}
    if row.mid_cell:
        chosen['offset'] = torch.full_like(true['offset'], MIDDLE)
    return chosen


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what evaluators print of each evaluation."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
