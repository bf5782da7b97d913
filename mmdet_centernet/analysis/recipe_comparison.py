"""Training of several configs on one data set under equal conditions, and their figures."""
import contextlib
import copy
import gc
import hashlib
import inspect
import io
import itertools
import json
import statistics
import sys
import time
import xml.etree.ElementTree as ET
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from mmdet.datasets.transforms import PackDetInputs
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdet_centernet.engine.config import add_run_hooks
from mmdet_centernet.engine.hooks.progress_line_hook import duration
from mmdet_centernet.engine.runner import build_runner, close_hooks
from mmdet_centernet.errors import UserError

# Figures of a run -> their names in CocoMetric's results. AP itself is the mean over the classes:
# pycocotools counts at most 100 detections of an image for it, whatever the metric's limits are.
METRICS = dict(
    AP50='coco/bbox_mAP_50', AP75='coco/bbox_mAP_75', APs='coco/bbox_mAP_s',
    APm='coco/bbox_mAP_m', APl='coco/bbox_mAP_l')
FIGURES = ('AP', *METRICS)
# COCO's limit of detections per image, and the smallest one here.
COCO_LIMIT = 100
# Steps of a run that are not timed: caches, workers and memory are filled in them.
WARM_UP_STEPS = 3
# Steps over which the loss on the console is averaged.
LOSS_WINDOW = 20
# Images that a trial evaluates.
TRIAL_IMAGES = 2
# Positions and lengths of a schedule, in epochs or iterations.
SCHEDULE_KEYS = ('begin', 'end', 'T_max', 'milestones', 'step_size', 'total_iters')
# Schedulers that these keys describe; others multiply at every step or restart.
SCHEDULERS = ('ConstantLR', 'LinearLR', 'CosineAnnealingLR', 'MultiStepLR', 'StepLR', 'PolyLR',
              'QuadraticWarmupLR')
# Hooks that count epochs, and their keys for iterations.
HOOK_KEYS = {('EMAHook', 'begin_epoch'): 'begin_iter',
             ('PipelineSwitchHook', 'switch_epoch'): 'switch_iter'}
FOREVER = int(1e9)  # MMEngine's `end` of a schedule without one
_RUNS = itertools.count()


@dataclass
class DataSet:
    """Training and validation data that the configs are compared on.

    Attributes:
        name (str): As the user gave it.
        classes (tuple[str, ...]): Names of the classes, in the order of the labels.
        train, val (dict): Arguments of a data set, without pipeline.
        evaluator (dict): A ``mmdet.CocoMetric`` on the validation data.
        most (int): Largest number of objects in a training image.
        needs_instances (bool): The evaluator reads the objects from the samples.
    """

    name: str
    classes: tuple[str, ...]
    train: dict[str, Any]
    val: dict[str, Any]
    evaluator: dict[str, Any]
    most: int
    needs_instances: bool


def read_data(text: str, train_split: str | None = None, val_split: str | None = None) -> DataSet:
    """Read the classes of a data set and describe it for configs.

    Args:
        text (str): ``voc:FOLDER``, a Pascal VOC folder with Annotations, JPEGImages and
            ImageSets/Main; or ``coco:TRAIN.json,VAL.json,IMAGES``, two annotation files in COCO's
            format and the folder of their images.
        train_split, val_split (str, optional): Of ``voc``: image lists in ImageSets/Main, by
            default 'train' and 'val'.

    Raises:
        UserError: If the text is of another form, or a file is missing or broken.
    """
    kind, _, place = text.partition(':')
    if kind == 'voc' and place:
        return _read_voc(text, place, train_split or 'train', val_split or 'val')
    if kind == 'coco' and place.count(',') == 2:
        if train_split or val_split:
            raise UserError('--train-split and --val-split name image lists of voc:FOLDER, but '
                            f'--data {text} names its files itself: leave the splits out')
        return _read_coco(text, *place.split(','))
    raise UserError(f'--data {text} is neither voc:FOLDER nor coco:TRAIN.json,VAL.json,IMAGES')


def _read_voc(name: str, folder: str, train_split: str, val_split: str) -> DataSet:
    """Describe a Pascal VOC folder; its classes are sorted by name."""
    root = Path(folder)
    names: set[str] = set()
    most = 0
    for split in (train_split, val_split):
        listed = root / 'ImageSets' / 'Main' / f'{split}.txt'
        if not listed.is_file():
            raise UserError(f'image list {listed} does not exist: check --data, --train-split '
                            'and --val-split')
        for image in listed.read_text().split():
            file = root / 'Annotations' / f'{image}.xml'
            try:
                objects = ET.parse(file).getroot().findall('object')
            except FileNotFoundError:
                raise UserError(f'{file} does not exist, but {listed} lists {image!r}') from None
            except ET.ParseError as error:
                raise UserError(f'annotation {file} is not XML ({error})') from None
            names.update(each.findtext('name', '') for each in objects)
            if split == train_split:
                most = max(most, len(objects))
    classes = tuple(sorted(names - {''}))
    if not classes:
        raise UserError(f'no annotation in {root / "Annotations"} has an object with a name')
    common = dict(
        type='mmdet_centernet.VOCDataset', data_root=f'{root}/',
        data_prefix=dict(sub_data_root=''), metainfo=dict(classes=classes))
    train, val = (dict(common, ann_file=f'ImageSets/Main/{split}.txt')
                  for split in (train_split, val_split))
    return DataSet(name, classes, train, val, {}, most, needs_instances=True)


def _read_coco(name: str, train_file: str, val_file: str, images: str) -> DataSet:
    """Describe two annotation files in COCO's format; classes are in the order of the first."""
    if not Path(images).is_dir():
        raise UserError(f'the folder of images {images} does not exist: check --data')
    try:
        content = json.loads(Path(train_file).read_text(encoding='utf-8'))
        classes = tuple(category['name'] for category in content['categories'])
        counts = Counter(each['image_id'] for each in content['annotations'])
    except FileNotFoundError:
        raise UserError(f'annotation file {train_file} does not exist: check --data') from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f'annotation file {train_file} is not in COCO format '
                        f'({type(error).__name__}: {error})') from None
    common = dict(type='mmdet_centernet.CocoDataset', data_root='', data_prefix=dict(img=images),
                  metainfo=dict(classes=classes))
    return DataSet(
        name, classes, dict(common, ann_file=train_file), dict(common, ann_file=val_file),
        dict(ann_file=val_file), max(counts.values(), default=0), needs_instances=False)


def default_limit(data: DataSet) -> int:
    """Return COCO's limit of detections per image, or twice the most objects if that is more."""
    return max(COCO_LIMIT, 2 * data.most)


def fit_to_data(config: Config, data: DataSet, limit: int) -> None:
    """Let a config train on ``data`` and detect up to ``limit`` objects in an image.

    Data sets are replaced inside their wrappers (such as ``RepeatDataset``), and pipelines, batch
    size and workers stay. Training leaves out images without objects, which not every head can
    learn from. Every head predicts the classes of the data.

    Raises:
        UserError: If the config has no data loaders to replace.
    """
    for key in ('train_dataloader', 'val_dataloader'):
        if not config.get(key) or not config[key].get('dataset'):
            raise UserError(f'it has no {key} with a dataset')
    config.train_dataloader.dataset = _replaced(
        config.train_dataloader.dataset,
        dict(data.train, filter_cfg=dict(filter_empty_gt=True, min_size=0)))
    config.val_dataloader.dataset = _replaced(
        config.val_dataloader.dataset, dict(data.val, test_mode=True))
    if data.needs_instances:
        pack = config.val_dataloader.dataset.pipeline[-1]
        keys = pack.get('meta_keys') or inspect.signature(
            PackDetInputs).parameters['meta_keys'].default
        pack.meta_keys = tuple(dict.fromkeys((*keys, 'instances')))
    config.val_cfg = dict(type='ValLoop')
    config.val_evaluator = dict(
        type='mmdet.CocoMetric', metric='bbox', classwise=True,
        proposal_nums=(1, 10, COCO_LIMIT) if limit <= COCO_LIMIT else (10, COCO_LIMIT, limit),
        **data.evaluator)
    config.test_dataloader = config.test_cfg = config.test_evaluator = None
    _set_classes(config.model, len(data.classes))
    for settings in _sections(config.model, 'test_cfg'):
        _set_limit(settings.get('rcnn', settings), limit)


def _replaced(section: dict[str, Any], source: dict[str, Any]) -> dict[str, Any]:
    """Return a data set's section with ``source`` in place of the innermost data set."""
    if 'datasets' in section:  # all of them are replaced by one
        return _replaced(section['datasets'][0], source)
    if 'dataset' in section:
        return dict(section, dataset=_replaced(section['dataset'], source))
    return dict(source, pipeline=section['pipeline'])


def _sections(section: Any, name: str) -> Iterator[dict[str, Any]]:
    """Yield the dictionaries under a key, at any depth."""
    if isinstance(section, (list, tuple)):
        for each in section:
            yield from _sections(each, name)
    elif isinstance(section, dict):
        for key, value in section.items():
            if key == name and isinstance(value, dict):
                yield value
            yield from _sections(value, name)


def _set_classes(section: Any, num_classes: int, is_head: bool = False) -> None:
    """Set ``num_classes`` of all heads in a section; properties have numbers of their own."""
    if isinstance(section, (list, tuple)):
        for each in section:
            _set_classes(each, num_classes, is_head)
    elif isinstance(section, dict):
        if is_head and 'num_classes' in section:
            section['num_classes'] = num_classes
        for key, value in section.items():
            if key != 'properties':
                _set_classes(value, num_classes, key.endswith('head'))


def _set_limit(settings: dict[str, Any], limit: int) -> None:
    """Set the detections per image, and let no earlier stage keep fewer."""
    settings['max_per_img'] = limit
    for key in ('topk', 'nms_pre'):
        if isinstance(settings.get(key), int) and 0 < settings[key] < limit:
            settings[key] = limit


def fit_to_steps(config: Config, steps: int) -> None:
    """Let a config train for a number of steps, and evaluate at the end.

    Its schedule is stretched: what it counts in epochs (or, if its loop counts iterations, in
    these) keeps its place in the whole. A warm-up by iterations in a config of epochs stays as
    it is.

    Raises:
        UserError: If a schedule or hook cannot be stretched.
    """
    loop = config.train_cfg
    by_epoch = 'max_epochs' in loop or loop.get('by_epoch', False)
    if not by_epoch and 'max_iters' not in loop:
        raise UserError('train_cfg has neither max_epochs nor max_iters')
    ratio = steps / loop['max_epochs' if by_epoch else 'max_iters']
    schedulers = config.get('param_scheduler') or []
    if isinstance(schedulers, dict):
        schedulers = [schedulers]
    config.param_scheduler = [
        _stretched(scheduler, ratio, by_epoch, steps) for scheduler in schedulers]
    config.custom_hooks = [
        _counting_steps(hook, ratio, by_epoch) for hook in config.get('custom_hooks') or []]
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=steps, val_interval=steps)
    config.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
    config.log_processor = dict(type='LogProcessor', window_size=50, by_epoch=False)
    hooks = config.get('default_hooks') or {}
    hooks['checkpoint'] = dict(
        type='CheckpointHook', by_epoch=False, interval=steps, save_optimizer=False,
        save_param_scheduler=False)
    config.default_hooks = hooks


def _stretched(
    scheduler: dict[str, Any], ratio: float, by_epoch: bool, steps: int
) -> dict[str, Any]:
    """Return a scheduler that counts steps."""
    scheduler = dict(scheduler)
    name = str(scheduler['type']).rpartition('.')[2]
    if name.replace('Momentum', 'LR') not in SCHEDULERS:
        raise UserError(f'param_scheduler has a {name}, whose length cannot be changed: use '
                        f'{", ".join(SCHEDULERS)}')
    # In a config of epochs, a warm-up by iterations stays.
    if scheduler.get('by_epoch', True) == by_epoch:
        for key in SCHEDULE_KEYS:
            value = scheduler.get(key)
            if isinstance(value, int) and value < FOREVER:
                scheduler[key] = round(value * ratio)
            elif isinstance(value, (list, tuple)):
                scheduler[key] = [round(each * ratio) for each in value]
    elif scheduler.get('by_epoch', True):
        raise UserError(f'param_scheduler has a {name} by epochs, but train_cfg counts '
                        'iterations: set by_epoch=False')
    elif steps < scheduler.get('end', 0) < FOREVER:
        raise UserError(f'its {name} of param_scheduler ends at iteration {scheduler["end"]}, '
                        f'after the {steps} steps of the comparison: shorten it')
    scheduler.pop('convert_to_iter_based', None)
    scheduler['by_epoch'] = False
    return scheduler


def _counting_steps(hook: dict[str, Any], ratio: float, by_epoch: bool) -> dict[str, Any]:
    """Return a hook that counts steps where it counted epochs."""
    hook = dict(hook)
    name = str(hook['type']).rpartition('.')[2]
    if not by_epoch:
        for (hook_name, _), key in HOOK_KEYS.items():
            if hook_name == name and hook.get(key):
                hook[key] = round(hook[key] * ratio)
    for key in [key for key in hook if 'epoch' in key and not isinstance(hook[key], bool)]:
        if (name, key) not in HOOK_KEYS or hook['type'] == 'mmdet.PipelineSwitchHook':
            raise UserError(f'custom_hooks has a {name} with {key}={hook[key]}, but the '
                            'comparison counts steps: remove the hook, or use '
                            'mmdet_centernet.PipelineSwitchHook')
        hook[HOOK_KEYS[name, key]] = round(hook.pop(key) * ratio)
    return hook


class RunRecorder(Hook):
    """Hook that times the steps of a training, shows its progress and keeps its results.

    Args:
        console (TextIO, optional): For a line from time to time.
        pause (float): Minimum time between two lines, s.

    Attributes:
        step_times (list[float]): Seconds from the end of one step to the end of the next.
        train_seconds (float): From the first step's beginning to the last one's end.
        metrics (dict): Of the last evaluation.
    """

    priority = 'VERY_LOW'

    def __init__(self, console: TextIO | None = None, pause: float = 20.0) -> None:
        self.step_times: list[float] = []
        self.train_seconds = 0.0
        self.metrics: dict[str, float] = {}
        self._console = console
        self._pause = pause
        self._began = self._last = self._shown = 0.0

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Start the clock at the first step."""
        if not self._began:
            self._began = self._last = self._shown = time.perf_counter()

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Stop the time of a step, and show how far the run is."""
        now = time.perf_counter()
        self.step_times.append(now - self._last)
        self._last = now
        self.train_seconds = now - self._began
        done, total = runner.iter + 1, runner.max_iters
        if self._console and (done == total or now - self._shown >= self._pause):
            self._shown = now
            left = self.train_seconds / done * (total - done)
            loss = runner.message_hub.get_scalar('train/loss').mean(LOSS_WINDOW)
            print(f'  step {done}/{total}, {duration(left)} left, loss {loss:.3f}',
                  file=self._console, flush=True)

    def after_val_epoch(
        self, runner: Runner, metrics: dict[str, float] | None = None
    ) -> None:
        """Keep the results."""
        self.metrics = dict(metrics or {})

    @property
    def step_seconds(self) -> float:
        """Median time of a step after the first ones, s."""
        return statistics.median(self.step_times[WARM_UP_STEPS:] or self.step_times)


def train(
    config: Config, seed: int, work_dir: Path, debug: bool = False, quiet: bool = False
) -> RunRecorder:
    """Train and evaluate a config that fits data and steps.

    Args:
        config (Config): Is not changed.
        seed (int): Of all random numbers.
        work_dir (Path): For the log and the checkpoint.
        debug (bool): Show the whole log on the console, not only the progress.
        quiet (bool): Show nothing.
    """
    config = copy.deepcopy(config)
    config.randomness = dict(config.get('randomness') or {}, seed=seed)
    config.work_dir = str(work_dir)
    # MMEngine keeps one logger and one visualizer of each name in a process.
    name = config.experiment_name = f'run_{next(_RUNS)}'
    config.visualizer = dict(config.get('visualizer') or dict(type='mmdet.DetLocalVisualizer'),
                             name=name)
    config.launcher = 'none'
    config.resume = False
    add_run_hooks(config)
    recorder = RunRecorder(None if quiet or debug else sys.stdout)
    if not debug:
        config.custom_hooks = [
            hook for hook in config.custom_hooks if not hook['type'].endswith('ProgressLineHook')]
    with contextlib.nullcontext() if debug else contextlib.redirect_stdout(io.StringIO()):
        runner = build_runner(config, Namespace(debug=debug))
        runner.register_hook(recorder)
        try:
            runner.train()
        finally:
            close_hooks(runner)
    del runner
    gc.collect()  # a runner and its hooks refer to each other
    return recorder


def check(config: Config, work_dir: Path, steps: int, debug: bool = False) -> float:
    """Train for a few steps and evaluate a few images, to find out whether a config can.

    Returns:
        float: Time of a step, s.

    Raises:
        UserError: If it cannot; says why.
    """
    config = copy.deepcopy(config)
    config.train_cfg.max_iters = config.train_cfg.val_interval = steps
    section = config.val_dataloader.dataset
    while 'dataset' in section:
        section = section.dataset
    section.indices = TRIAL_IMAGES
    config.default_hooks.checkpoint = None
    # Not its schedule: a warm-up may be longer than these steps.
    config.param_scheduler = []
    config.custom_hooks = [
        hook for hook in config.custom_hooks if 'begin_iter' not in hook]
    try:
        return train(config, 0, work_dir, debug, quiet=True).step_seconds
    except UserError:
        raise
    except Exception as error:  # anything that a config can do wrong
        text = ' '.join(str(error).split())
        raise UserError(f'{type(error).__name__}: {text}') from error


def figures_of(metrics: dict[str, float], classes: Sequence[str]) -> dict[str, Any]:
    """Return the figures of a run.

    Returns:
        dict: AP, AP50, ... in [0, 1], None without objects of that kind; ``classes``: AP of each.
    """
    # Nothing at all was detected, for which CocoMetric gives no results.
    if not metrics:
        return dict(dict.fromkeys(FIGURES, 0.0), classes=dict.fromkeys(classes, 0.0))
    by_class = {name: metrics[f'coco/{name}_precision'] for name in classes}
    known = [value for value in by_class.values() if value == value]
    figures: dict[str, Any] = dict(AP=round(statistics.fmean(known), 4) if known else None)
    for name, key in METRICS.items():
        figures[name] = metrics[key] if metrics[key] >= 0 else None
    figures['classes'] = {
        name: value if value == value else None for name, value in by_class.items()}
    return figures


def fingerprint(config: Config) -> str:
    """Return a short hash of a config's content."""
    return hashlib.sha256(config.pretty_text.encode()).hexdigest()[:12]


def summarize(runs: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per config: means and standard deviations over the seeds.

    Args:
        runs (Sequence[dict]): Finished runs.
        names (Sequence[str]): Of the configs; step times are relative to the first.

    Returns:
        list[dict]: ``config``, ``seeds``, ``steps``, ``images``; ``minutes`` and ``step_seconds``,
        means; ``relative_step``; each figure as ``dict(mean, std, min, max)``, None without
        values. ``std`` is the sample standard deviation, None for a single seed.
    """
    rows: list[dict[str, Any]] = []
    for name in names:
        mine = [run for run in runs if run['config'] == name and 'error' not in run]
        if not mine:
            continue
        row: dict[str, Any] = dict(
            config=name, seeds=len(mine), steps=mine[0]['steps'], images=mine[0]['images'],
            minutes=statistics.fmean(run['train_seconds'] for run in mine) / 60,
            step_seconds=statistics.fmean(run['step_seconds'] for run in mine))
        for figure in FIGURES:
            values = [run[figure] for run in mine if run[figure] is not None]
            row[figure] = dict(
                mean=statistics.fmean(values), min=min(values), max=max(values),
                std=statistics.stdev(values) if len(values) > 1 else None) if values else None
        rows.append(row)
    first = next((row['step_seconds'] for row in rows if row['config'] == names[0]), None)
    for row in rows:
        row['relative_step'] = row['step_seconds'] / first if first else None
    return rows


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the table of :func:`summarize`'s rows: mean ± standard deviation over the seeds."""
    heads = ['config', 'seeds', 'steps', 'images', 'min', 'step', *FIGURES]
    lines = [' | '.join(heads), '|'.join(['---', *['--:'] * (len(heads) - 1)])]
    for row in rows:
        cells = [row['config'], str(row['seeds']), str(row['steps']), str(row['images']),
                 f'{row["minutes"]:.1f}',
                 '-' if row['relative_step'] is None else f'{row["relative_step"]:.2f}']
        for name in FIGURES:
            figure = row[name]
            cells.append('-' if figure is None else f'{figure["mean"]:.3f}' + (
                '' if figure['std'] is None else f' ± {figure["std"]:.3f}'))
        lines.append(' | '.join(cells))
    return '\n'.join(f'| {lines[0]} |' if i == 0 else f'|{line}|' if i == 1 else f'| {line} |'
                     for i, line in enumerate(lines)) + '\n'
