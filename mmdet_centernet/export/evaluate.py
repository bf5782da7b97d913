"""Evaluation of exported models on a config's test data."""
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from numpy.typing import NDArray
from rich.progress import track

from mmdet_centernet.engine.hooks.progress_line_hook import duration
from mmdet_centernet.errors import UserError
from mmdet_centernet.io.inputs import check_batch_size
from mmdet_centernet.runtime.detector import Detector

_PLAIN_SECONDS = 20  # between lines about the progress, if there is no terminal


def evaluate(config: Config, detector: Detector, batch_size: int = 1) -> dict[str, float]:
    """Run an exported model over the test data and evaluate its detections.

    The images are prepared as the model's metadata say. The config's pipeline only loads images
    and ground truth.

    Args:
        config (Config): its ``test_dataloader`` and ``test_evaluator`` are used.
        detector (Detector): the model.
        batch_size (int): images at a time.

    Returns:
        dict[str, float]: the evaluator's figures by name.

    Raises:
        UserError: if the config has no test data or no evaluator, or the data do not fit the
            model.
    """
    check_batch_size(batch_size)
    for key in ('test_dataloader', 'test_evaluator'):
        if config.get(key) is None:
            raise UserError(f'the config has no {key}, so nothing can be evaluated: name a config '
                            'that has one')
    init_default_scope(config.get('default_scope', 'mmdet'))
    dataset = Runner.build_dataloader(
        dict(config.test_dataloader, num_workers=0, persistent_workers=False)).dataset
    _check_classes(dataset, detector)
    recorder = _Recorder()
    _insert_recorder(dataset, recorder)
    evaluator = Evaluator(config.test_evaluator)
    evaluator.dataset_meta = dataset.metainfo
    needs_camera = detector.metadata.needs_camera
    step = detector.chunk_size(batch_size)
    for start in _with_progress(range(0, len(dataset), step)):
        samples: list[Any] = []
        images: list[NDArray[np.uint8]] = []
        cameras: list[Any] = []
        for index in range(start, min(start + step, len(dataset))):
            samples.append(dataset[index]['data_samples'])
            images.append(np.asarray(recorder.image, np.uint8))
            cameras.append(recorder.camera)
        names = [sample.get('img_path', f'image {sample.get("img_id")}') for sample in samples]
        if needs_camera and any(camera is None for camera in cameras):
            raise UserError(f'model {detector.path} predicts 3D boxes, but the test data have no '
                            'cameras: name the config that it was exported with')
        found = detector.detect(images, cameras if needs_camera else None, names)
        for sample, each in zip(samples, found, strict=True):
            sample.pred_instances = InstanceData(
                **{name: torch.from_numpy(values) for name, values in each.items()})
        evaluator.process(samples)
    figures: dict[str, float] = evaluator.evaluate(len(dataset))
    return figures


class _Recorder:
    """Transform that remembers the image and the camera as they were loaded."""

    def __init__(self) -> None:
        self.image: NDArray[Any] | None = None
        self.camera: NDArray[Any] | None = None

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        self.image, self.camera = results['img'], results.get('cam2img')
        return results


def _insert_recorder(dataset: Any, recorder: _Recorder) -> None:
    """Insert a recorder after the loading of images, also in the parts of a data set.

    Raises:
        UserError: if a pipeline does not load images.
    """
    parts = getattr(dataset, 'datasets', None) or [
        part for part in [getattr(dataset, 'dataset', None)] if part is not None]
    for part in parts:
        _insert_recorder(part, recorder)
    if parts:
        return
    transforms = dataset.pipeline.transforms
    places = [place for place, transform in enumerate(transforms)
              if type(transform).__name__.startswith('LoadImage')]
    if not places:
        raise UserError('the test pipeline does not load images: begin it with '
                        'mmdet_centernet.LoadImage')
    transforms[places[0]].defer = False  # of LoadImage: the model takes whole images
    transforms.insert(places[0] + 1, recorder)


def _check_classes(dataset: Any, detector: Detector) -> None:
    """Raise a UserError unless the data have as many classes as the model."""
    classes = (getattr(dataset, 'metainfo', None) or {}).get('classes', ())
    known = detector.dataset_meta['classes']
    if len(classes) != len(known):
        raise UserError(
            f'test_dataloader has {len(classes)} classes, but model {detector.path} predicts '
            f'{len(known)} ({", ".join(known[:5])}{", ..." if len(known) > 5 else ""}): name the '
            'config that it was exported with')


def _with_progress(starts: range) -> Iterator[int]:
    """Iterate over the starts of batches, and show the time left: in a live line or in lines."""
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
