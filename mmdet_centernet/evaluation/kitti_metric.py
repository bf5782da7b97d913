"""KITTI's object evaluation as a metric, and its result files."""
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from rich.console import Console
from rich.file_proxy import FileProxy
from rich.progress import track

from mmdet_centernet.errors import UserError
from mmdet_centernet.evaluation.kitti_eval import (
    RECALL_POINTS,
    evaluate,
    format_tables,
    least_overlaps,
)
from mmdet_centernet.io.kitti import KittiObjects, read_objects, read_split, write_objects
from mmdet_centernet.registry import METRICS

# Field of the predictions -> numbers in a row, 0 for a scalar.
FIELDS = dict(bboxes=4, scores=0, labels=0, bboxes_3d=7, alpha=0)
UNKNOWN = -1  # truncation and occlusion in result files


@METRICS.register_module()
class KittiMetric(BaseMetric):
    """Metric for 2D boxes, orientations, bird's-eye view boxes and 3D boxes under KITTI's rules.

    The figures are those of KITTI's development kit (see :func:`.kitti_eval.evaluate`), in
    [0, 1], named after class, difficulty, metric, number of recall points and set of least
    overlaps: ``Car_moderate_bev_AP40_official``; ``mean_moderate_bev_AP40_official`` is the mean
    of the classes that have objects. A figure without any object is NaN, and a note below the
    tables in the log says so.

    Labels are read from KITTI's own files. With a ``split_file`` they are read when the data
    set's ``metainfo`` is set, which MMEngine does before any training. Boxes are evaluated and
    written as the model predicts them: KITTI's labels are clipped to the image, but its server
    accepts boxes that leave it and does not clip them.

    Args:
        label_dir (str, optional): folder of label files, ``<img_id>.txt``. Required unless
            ``format_only``.
        split_file (str, optional): list of all images that are tested. By default, the images
            with predictions are evaluated.
        iou_sets (Sequence[str]): ``'official'``, that of the original implementation (0.7 for 2D
            and 0.5 for bird's-eye view and 3D boxes of cars; 0.5 and 0.25 for other classes),
            ``'strict'``, that of KITTI's server (0.7 for cars, 0.5 for others), or both.
        recall_points (Sequence[int]): 11, 40 or both.
        class_ious (dict[str, Sequence[float]], optional): least overlaps (2D box, bird's-eye
            view, 3D box) of classes that KITTI does not evaluate.
        result_dir (str, optional): folder for a result file of each image, which may be empty,
            in the format of KITTI's server. By default none are written.
        format_only (bool): write result files and evaluate nothing, as for images without
            labels.
        collect_device, prefix, collect_dir: MMEngine's.

    Raises:
        UserError: if an option, the labels or the predictions cannot be used.
    """

    default_prefix = 'kitti'

    def __init__(
        self,
        label_dir: str | os.PathLike[str] | None = None,
        split_file: str | os.PathLike[str] | None = None,
        iou_sets: Sequence[str] = ('official', 'strict'),
        recall_points: Sequence[int] = (11, 40),
        class_ious: Mapping[str, Sequence[float]] | None = None,
        result_dir: str | os.PathLike[str] | None = None,
        format_only: bool = False,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        if format_only and result_dir is None:
            raise UserError('KittiMetric.format_only only writes files: set result_dir to '
                            'the folder for them')
        if not format_only and (label_dir is None or not Path(label_dir).is_dir()):
            raise UserError(
                f'KittiMetric.label_dir = {label_dir!r} is not a folder: name the one with '
                'the label files, or only write result files with format_only=True')
        if not recall_points or any(count not in RECALL_POINTS for count in recall_points):
            raise UserError(
                f'KittiMetric.recall_points = {recall_points} must be 11, 40 or both')
        self.label_dir = label_dir
        self.iou_sets = tuple(iou_sets)
        self.recall_points = tuple(recall_points)
        self.class_ious = class_ious
        self.result_dir = result_dir
        self.format_only = format_only
        self.split_file = split_file
        self._split = None if split_file is None else read_split(split_file)
        self._labels: dict[str, KittiObjects] = {}

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict[str, Any]) -> None:
        """Use ``classes``, and read the labels of the split."""
        self._dataset_meta = dataset_meta
        if not self.format_only:
            least_overlaps(dataset_meta['classes'], self.iou_sets, self.class_ious)
            for name in self._split or ():
                self._label(name)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Store the predictions of one batch.

        Args:
            data_batch: not used.
            data_samples (list[dict]): as MMEngine's loops pass them: ``img_id`` and
                ``pred_instances`` with ``bboxes`` [N, 4] in original px, ``scores``, ``labels``
                and ``alpha`` [N], and ``bboxes_3d`` [N, 7] in the camera frame of the original
                image.
        """
        for sample in data_samples:
            predicted = sample['pred_instances']
            name = _name_of(sample['img_id'])
            missing = [field for field in FIELDS if field not in predicted]
            if missing:
                raise UserError(
                    f'the model predicts no {" and no ".join(missing)}, which KittiMetric '
                    'evaluates: give it a head for 3D boxes, or evaluate its 2D boxes with '
                    'mmdet.CocoMetric')
            values = {field: predicted[field].detach().cpu().double().numpy().reshape(
                -1, *[width] * (width > 0)) for field, width in FIELDS.items()}
            if not all(np.isfinite(each).all() for each in values.values()):
                raise UserError(
                    f'the model predicts values that are not finite numbers for image {name!r}: '
                    'its training diverged, so test an earlier checkpoint or train at a lower lr')
            self.results.append(dict(values, name=name))

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Write result files if there is a ``result_dir``, and evaluate unless ``format_only``.

        Args:
            results (list[dict]): of all images, from all processes. The first counts if several
                processes had an image.

        Returns:
            dict[str, float]: figures by name; empty with ``format_only``.
        """
        found: dict[str, KittiObjects] = {}
        for result in results:
            if result['name'] not in found:
                found[result['name']] = self._objects(result)
        if self.result_dir is not None:
            self._write(found)
        if self.format_only:
            return {}
        names = self._images(found)
        labels = [self._label(name) for name in names]
        print_log(f'KITTI: evaluating {len(names)} images', logger='current')
        classes = self._dataset_meta['classes']
        evaluation = evaluate(
            labels, [found[name] for name in names], classes, self.iou_sets, self.recall_points,
            self.class_ious, track=_track)
        tables = format_tables(evaluation, classes, self.iou_sets, self.recall_points)
        print_log(f'KITTI: {len(names)} images of {self.label_dir}\n{tables}', logger='current')
        return evaluation.figures

    def _objects(self, result: dict[str, Any]) -> KittiObjects:
        """Convert the predictions of an image to the form of a result file."""
        boxes = result['bboxes_3d']
        unknown = np.full(len(boxes), UNKNOWN)
        classes = self._dataset_meta['classes']
        return KittiObjects(
            types=[classes[int(label)] for label in result['labels']],
            truncated=unknown.astype(np.float64), occluded=unknown, alpha=result['alpha'],
            bboxes=result['bboxes'], dims=boxes[:, 3:6], locations=boxes[:, :3],
            rotation_y=boxes[:, 6], scores=result['scores'])

    def _write(self, found: dict[str, KittiObjects]) -> None:
        """Write the result files."""
        assert self.result_dir is not None
        folder = Path(self.result_dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f'KittiMetric.result_dir = {self.result_dir!r} cannot be created '
                            f'({error.strerror})') from None
        for name, objects in found.items():
            write_objects(folder / f'{name}.txt', objects)
        print_log(f'{len(found)} result files are written to {folder}', logger='current')

    def _images(self, found: dict[str, KittiObjects]) -> list[str]:
        """Return the names of the images to evaluate, those of the split if there is one."""
        if self._split is None:
            return sorted(found)
        split = set(self._split)
        strange = sorted(found.keys() - split)
        if strange:
            raise UserError(
                f'image {strange[0]!r} was tested, but {self.split_file} of KittiMetric does not '
                'list it: name the split file of the tested data set')
        missing = sorted(split - found.keys())
        if missing:
            raise UserError(
                f'{len(missing)} of the {len(split)} images in {self.split_file} of KittiMetric '
                f'were not tested, such as {missing[0]!r}: test the whole split, or leave '
                'split_file out to evaluate what is tested')
        return self._split

    def _label(self, name: str) -> KittiObjects:
        """Read the labels of an image, once."""
        if name not in self._labels:
            assert self.label_dir is not None
            path = Path(self.label_dir) / f'{name}.txt'
            if not path.is_file():
                raise UserError(
                    f'image {name!r} has no label file {path}: check label_dir of KittiMetric, '
                    'or only write result files with format_only=True')
            self._labels[name] = read_objects(path)
        return self._labels[name]


def _name_of(img_id: int | str) -> str:
    """Return the name of an image's files: KITTI's have six digits."""
    return f'{img_id:06d}' if isinstance(img_id, int) else str(img_id)


def _track(steps: list[tuple[str, int]]) -> Iterable[tuple[str, int]]:
    """Show the progress of the evaluation, unless another progress line is being shown."""
    if isinstance(sys.stderr, FileProxy):
        return steps
    return track(steps, 'evaluating', console=Console(stderr=True), transient=True)
