"""Evaluate an exported model on a config's test data."""
import sys
import time

import numpy as np
import torch
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from rich.progress import track

from mmdet_centernet.engine.hooks.progress_line_hook import duration
from mmdet_centernet.errors import UserError
from mmdet_centernet.io.inputs import check_batch_size

_PLAIN_SECONDS = 20  # between lines about the progress, where there is no terminal


def evaluate(config, detector, batch_size=1):
    """Run an exported model over the test data and evaluate what it finds.

    The images are prepared as the model says, whatever the config's pipeline does; this gives
    the ground truth.

    Args:
        config (Config): Its ``test_dataloader`` and ``test_evaluator`` are used.
        detector (Detector): The model.
        batch_size (int): Images at a time.

    Returns:
        dict[str, float]: The evaluator's figures by name.

    Raises:
        UserError: If the config has no test data or no evaluator, or the model is not one of
            these data.
    """
    check_batch_size(batch_size)
    for key in ('test_dataloader', 'test_evaluator'):
        if config.get(key) is None:
            raise UserError(f'the config has no {key}: nothing can be evaluated')
    init_default_scope(config.get('default_scope', 'mmdet'))
    dataset = Runner.build_dataloader(
        dict(config.test_dataloader, num_workers=0, persistent_workers=False)).dataset
    _check(dataset, detector)
    loaded = _Loaded()
    _watch(dataset, loaded)
    evaluator = Evaluator(config.test_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    step = detector.chunk_size(batch_size)
    for start in _with_progress(range(0, len(dataset), step)):
        samples, images, cameras = [], [], []
        for index in range(start, min(start + step, len(dataset))):
            samples.append(dataset[index]['data_samples'])
            images.append(np.asarray(loaded.image, np.uint8))
            cameras.append(loaded.camera)
        names = [sample.get('img_path', f'image {sample.get("img_id")}') for sample in samples]
        if detector.needs_camera and any(camera is None for camera in cameras):
            raise UserError(f'model {detector.path} finds boxes in space, but the test data have '
                            'no cameras: name the config that it was exported with')
        found = detector.detect(images, cameras if detector.needs_camera else None, names)
        for sample, each in zip(samples, found, strict=True):
            sample.pred_instances = InstanceData(
                **{name: torch.from_numpy(values) for name, values in each.items()})
        evaluator.process(samples)
    return evaluator.evaluate(len(dataset))


class _Loaded:
    """A transform that remembers the image and the camera as they were loaded."""

    def __init__(self):
        self.image = self.camera = None

    def __call__(self, results):
        self.image, self.camera = results['img'], results.get('cam2img')
        return results


def _watch(dataset, loaded):
    """Have a data set's images remembered behind what loads them, also those of parts.

    Raises:
        UserError: If a pipeline loads none.
    """
    parts = getattr(dataset, 'datasets', None) or [
        part for part in [getattr(dataset, 'dataset', None)] if part is not None]
    for part in parts:
        _watch(part, loaded)
    if parts:
        return
    transforms = dataset.pipeline.transforms
    places = [place for place, transform in enumerate(transforms)
              if type(transform).__name__.startswith('LoadImage')]
    if not places:
        raise UserError('the test pipeline loads no image: begin it with '
                        'mmdet_centernet.LoadImage')
    transforms[places[0]].defer = False  # of LoadImage: the model wants whole images, now
    transforms.insert(places[0] + 1, loaded)


def _check(dataset, detector):
    """Raise UserError unless the data have as many classes as the model."""
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes', ())
    known = detector.dataset_meta['classes']
    if len(classes) != len(known):
        raise UserError(
            f'test_dataloader has {len(classes)} classes, but model {detector.path} finds '
            f'{len(known)} ({", ".join(known[:5])}{", ..." if len(known) > 5 else ""}): name the '
            'config that it was exported with')


def _with_progress(starts):
    """The starts of batches, with the time left: a live line, or plain ones now and then."""
    if sys.stdout.isatty():
        yield from track(starts, description='test')
        return
    began = shown = time.monotonic()
    for done, start in enumerate(starts, start=1):
        yield start
        now = time.monotonic()
        if now - shown >= _PLAIN_SECONDS and done < len(starts):
            shown = now
            left = (now - began) / done * (len(starts) - done)
            print(f'test, batch {done}/{len(starts)}, {duration(left)} left', flush=True)
