"""Accuracy and error of the attributes of detected objects."""
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from mmdet_centernet.errors import UserError
from mmdet_centernet.io.attributes import LABEL_THRESHOLD, Attribute, field_of
from mmdet_centernet.ops.boxes_numpy import box_overlaps
from mmdet_centernet.ops.matching import match_by_class
from mmdet_centernet.registry import METRICS

Floats = NDArray[np.float64]


@METRICS.register_module()
class AttributeMetric(BaseMetric):
    """Accuracy of attributes, and mean absolute error of numbers, of detected objects.

    In each image, detections are matched with annotated objects: best score first, each takes
    the free object of its class with the largest IoU, if that is at least ``iou_thr``. Objects
    that are to be ignored (crowds) are left out. The figures are means over the matched objects
    whose value is known:

    - ``<name>_accuracy``: of a class, the fraction whose most probable value is the annotated
      one; of several labels, the mean over all labels of the fraction of right answers;
    - ``<name>_f1`` of several labels: the mean over labels of the F1 score, without labels that
      are neither annotated nor predicted;
    - ``<name>_mae`` of a number: mean absolute error;
    - ``<name>_objects``: number of objects behind these figures. Without any they are NaN;
    - ``matched``: number of matched objects.

    Detections and annotations meet in pixels of the original image, whatever the test pipeline
    does: annotations are the data set's own, ``instances``, as in ``mmdet.CocoMetric`` without
    ``ann_file``. ``mmdet_centernet.PackInputs`` hands them over for the test samples of a
    ``mmdet_centernet.CocoDataset`` with attributes.

    Args:
        iou_thr (float): least IoU of a detection and its object, in (0, 1].
        score_thr (float): detections must score more. By default all are matched, so that an
            attribute counts of all objects that are found at all, as in nuScenes; with that of
            your application (0.3 in drawings), of those that would be shown.
        attributes (Sequence[str], optional): names of those to evaluate. By default all of the
            data set.
        collect_device, prefix, collect_dir: MMEngine's.

    Raises:
        UserError: if an option is out of range, or data set or model lack an attribute.
    """

    default_prefix = 'attribute'

    def __init__(
        self,
        iou_thr: float = 0.5,
        score_thr: float = 0.0,
        attributes: Sequence[str] | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        if not 0 < iou_thr <= 1:
            raise UserError(f'AttributeMetric.iou_thr = {iou_thr} must be in (0, 1]')
        self.iou_thr = iou_thr
        self.score_thr = score_thr
        self.names = attributes

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict[str, Any]) -> None:
        """Take the description of the attributes."""
        self._dataset_meta = dataset_meta
        known = dataset_meta.get('attributes') or {}
        names = list(known) if self.names is None else self.names
        missing = [name for name in names if name not in known]
        if missing or not names:
            raise UserError(
                f'AttributeMetric evaluates {missing[0] if missing else "attributes"!r}, but the '
                f'data set has the attributes {list(known)}: describe them in '
                'metainfo.attributes of the data set')
        self.attributes: dict[str, Attribute] = {name: known[name] for name in names}

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Match the detections of one batch.

        Args:
            data_batch: not used.
            data_samples (Sequence[dict]): as MMEngine's loops give them: ``pred_instances`` with
                ``bboxes`` [N, 4] in original px, ``scores``, ``labels`` [N] and the attributes;
                ``instances``, the annotated objects.
        """
        for sample in data_samples:
            image = sample.get('img_path', f'image {sample.get("img_id")!r}')
            truth = self._truth(sample, image)
            pred = self._predictions(sample['pred_instances'], image)
            pairs = match_by_class(box_overlaps(pred['bboxes'], truth['bboxes']),
                                   pred['labels'], truth['labels'], self.iou_thr)
            found = pairs >= 0
            result: dict[str, Any] = dict(objects=len(truth['labels']), matched=int(found.sum()))
            for name in self.attributes:
                values, annotated = pred[name][found], truth[name][pairs[found]]
                known = np.isfinite(annotated)
                known = known if known.ndim == 1 else known.all(axis=1)
                result[name] = (values[known], annotated[known])
            self.results.append(result)

    def _truth(self, sample: dict[str, Any], image: str) -> dict[str, NDArray[Any]]:
        """Return the annotated objects of an image by field."""
        instances = sample.get('instances')
        if instances is None or any('attributes' not in each for each in instances):
            raise UserError(
                f'AttributeMetric finds no annotated attributes for {image}: test on a '
                'mmdet_centernet.CocoDataset with test_mode=True and metainfo.attributes, whose '
                'pipeline ends in mmdet_centernet.PackInputs')
        instances = [each for each in instances if not each['ignore_flag']]
        truth = dict(
            bboxes=np.array([each['bbox'] for each in instances], float).reshape(-1, 4),
            labels=np.array([each['bbox_label'] for each in instances], np.int64))
        for name, attribute in self.attributes.items():
            truth[name] = np.array(
                [each['attributes'][name] for each in instances], float).reshape(
                    len(instances), *_columns(attribute))
        return truth

    def _predictions(self, instances: Any, image: str) -> dict[str, NDArray[Any]]:
        """Return the detections that score enough, best first, by field.

        Attributes become what is annotated: indices of values, 0 and 1, or numbers.
        """
        scores = instances['scores'].double().cpu().numpy()
        order = np.argsort(-scores, kind='stable')
        order = order[scores[order] > self.score_thr]
        pred = dict(bboxes=instances['bboxes'].double().cpu().numpy()[order],
                    labels=instances['labels'].cpu().numpy()[order])
        for name, attribute in self.attributes.items():
            field = field_of(name)
            if field not in instances:
                raise UserError(
                    f'the model does not predict {field}, which AttributeMetric evaluates: add '
                    f"dict(type='mmdet_centernet.Attribute', name={name!r}, ...) to the "
                    'properties of model.bbox_head, let a property of yours decode it, or name '
                    "the others in AttributeMetric's attributes")
            values = instances[field].double().cpu().numpy()[order]
            wanted = () if attribute['kind'] == 'number' else (len(attribute['values']), )
            if values.shape[1:] != wanted:
                raise UserError(
                    f'the model predicts {field} of shape {values.shape}, but the data set has '
                    f'{attribute}: set num_classes of the attribute in model.bbox_head')
            if not np.isfinite(values).all():
                raise UserError(
                    f'the model predicts values of {field} that are not finite numbers for '
                    f'{image}: its training diverged, so test an earlier checkpoint or train at '
                    'a lower lr')
            if attribute['kind'] == 'class':
                values = values.argmax(axis=1)
            elif attribute['kind'] == 'multi_label':
                values = values > LABEL_THRESHOLD
            pred[name] = values.astype(float)
        return pred

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Average over the matched objects and log a table.

        Args:
            results (list[dict]): of all images, from all processes.

        Returns:
            dict[str, float]: figures by name.
        """
        figures: dict[str, float] = {}
        table = Table('attribute', 'kind', 'objects', 'figure', 'model', 'constant', box=None)
        for name, attribute in self.attributes.items():
            pred, truth = (
                np.concatenate([np.zeros((0, *_columns(attribute)))] + [
                    result[name][part] for result in results]) for part in (0, 1))
            constant = np.broadcast_to(_constant(truth, attribute), truth.shape)
            for figure, measure in FIGURES[attribute['kind']].items():
                values = [measure(each, truth) if len(truth) else float('nan')
                          for each in (pred, constant)]
                figures[f'{name}_{figure}'] = values[0]
                table.add_row(name, attribute['kind'], str(len(truth)), figure, *(
                    '-' if np.isnan(value) else f'{value:.4f}' for value in values))
            figures[f'{name}_objects'] = float(len(truth))
        objects, matched = (sum(result[key] for result in results)
                            for key in ('objects', 'matched'))
        figures['matched'] = float(matched)
        text = io.StringIO()
        Console(file=text, width=100).print(table)
        print_log(
            f'attributes of the {matched} of {objects} objects that were matched (IoU of at least '
            f'{self.iou_thr}, scores above {self.score_thr}); "constant" always answers the most '
            f'frequent value or the median:\n{text.getvalue()}', logger='current')
        return figures


def _columns(attribute: Attribute) -> tuple[int, ...]:
    """Return the shape of one object's value."""
    return (len(attribute['values']), ) if attribute['kind'] == 'multi_label' else ()


def _constant(truth: Floats, attribute: Attribute) -> Floats | float:
    """Return the answer that is best for all objects: the most frequent value or the median."""
    if not len(truth):
        return 0.0
    if attribute['kind'] == 'class':
        found, counts = np.unique(truth, return_counts=True)
        return float(found[counts.argmax()])
    return np.median(truth, axis=0) if attribute['kind'] == 'number' else truth.mean(axis=0) > 0.5


def _accuracy(pred: Floats, truth: Floats) -> float:
    """Return the fraction of equal values."""
    return float((pred == truth).mean())


def _f1(pred: Floats, truth: Floats) -> float:
    """Return the mean over labels of the F1 score of 0 and 1 [N, V]; NaN if no label is used."""
    used = pred.sum(axis=0) + truth.sum(axis=0)
    scores = 2 * (pred * truth).sum(axis=0)[used > 0] / used[used > 0]
    return float(scores.mean()) if len(scores) else float('nan')


def _mean_absolute_error(pred: Floats, truth: Floats) -> float:
    """Return the mean absolute difference."""
    return float(np.abs(pred - truth).mean())


# Kind of attribute -> its figures.
FIGURES: dict[str, dict[str, Callable[[Floats, Floats], float]]] = {
    'class': dict(accuracy=_accuracy),
    'multi_label': dict(accuracy=_accuracy, f1=_f1),
    'number': dict(mae=_mean_absolute_error)}
