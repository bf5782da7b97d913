"""COCO's keypoint evaluation: OKS AP of predicted poses, for any skeleton."""
import contextlib
import io
import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.fileio import dump, get_local_path
from mmengine.logging import print_log
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import METRICS

# Entries of annotations that are kept; COCO's masks are most of its files.
ANNOTATION_KEYS = ('id', 'image_id', 'category_id', 'keypoints', 'num_keypoints', 'bbox', 'area',
                   'iscrowd')
# Names of pycocotools' figures, in its order: MMPose's for poses, MMDetection's for boxes (which
# names the first six).
NAMES = dict(
    keypoints=('AP', 'AP .5', 'AP .75', 'AP (M)', 'AP (L)',
               'AR', 'AR .5', 'AR .75', 'AR (M)', 'AR (L)'),
    bbox=('bbox_mAP', 'bbox_mAP_50', 'bbox_mAP_75', 'bbox_mAP_s', 'bbox_mAP_m', 'bbox_mAP_l'))


@METRICS.register_module()
class CocoKeypointMetric(BaseMetric):
    """Average precision and recall of poses by object keypoint similarity (OKS).

    Poses of the classes with keypoints are evaluated, each class with the sigmas of its own
    skeleton, and averaged; objects of other classes do not count. (Their boxes are evaluated by
    ``metric='bbox'``, as all boxes are, or by ``mmdet.CocoMetric`` in the same list of
    evaluators.)

    The figures are those of pycocotools, unrounded: the 20 best predictions of an image and
    class count, the area ranges are medium (32² to 96² px) and large, crowds and objects
    without labeled keypoints are ignored, and a range without objects gives -1. A pose's score
    is its box's. Image and annotation ids may be anything: pycocotools is given numbers in
    their place, in the order in which it would have taken the ids (its own matching takes an
    annotation of id 0 for a missed one).

    The annotation file is read once, and checked when the data set's ``metainfo`` is set,
    which MMEngine does before any training.

    Args:
        ann_file (str): COCO-format file of keypoint annotations.
        metric (str | list[str]): ``'keypoints'``, ``'bbox'`` or both.
        sigmas (list[float] | dict[str, list[float]], optional): of each keypoint, > 0: how far,
            in parts of the square root of the object's area, people's labels of it scatter
            (cocodataset.org); for all classes with keypoints, or by class. By default those of
            the data set.
        classwise (bool): give the figures of each class with keypoints as well, ``<class>_AP``
            and so on. The log always has them if there are several.
        format_only (bool): write the results files and evaluate nothing; ``ann_file`` then
            needs no annotations.
        outfile_prefix (str, optional): results go to ``<prefix>.keypoints.json`` and
            ``<prefix>.bbox.json``, in the format that COCO's server takes: a pose has no
            ``bbox`` there, because pycocotools would take its area from it. By default they
            are not written.
        backend_args (dict, optional): where ``ann_file`` lies, as in MMDetection.
        collect_device, prefix, collect_dir: MMEngine's.

    Raises:
        UserError: if an option, the annotation file or the predictions cannot be used.
    """

    default_prefix = 'coco'

    def __init__(
        self,
        ann_file: str,
        metric: str | Sequence[str] = 'keypoints',
        sigmas: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
        format_only: bool = False,
        outfile_prefix: str | None = None,
        backend_args: dict[str, Any] | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
        collect_dir: str | None = None,
        classwise: bool = False,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix, collect_dir=collect_dir)
        self.metrics = [metric] if isinstance(metric, str) else list(metric)
        unknown = [name for name in self.metrics if name not in NAMES]
        if unknown or not self.metrics:
            raise UserError(
                f"CocoKeypointMetric.metric = {metric!r} must be 'keypoints', 'bbox' or a list "
                'of both')
        if format_only and outfile_prefix is None:
            raise UserError(
                'CocoKeypointMetric.format_only writes files and nothing else: set '
                'outfile_prefix to where they are to go')
        self.ann_file = ann_file
        self.sigmas = sigmas
        self.classwise = classwise
        self.format_only = format_only
        self.outfile_prefix = outfile_prefix
        with get_local_path(ann_file, backend_args=backend_args) as local_path:
            self._content = self._read(local_path)

    @BaseMetric.dataset_meta.setter
    def dataset_meta(self, dataset_meta: dict[str, Any]) -> None:
        """Take ``classes`` and their skeletons, and check the annotations by them."""
        self._dataset_meta = dataset_meta
        classes = dataset_meta['classes']
        self.category_ids = self._find_categories(classes)
        skeletons = dataset_meta.get('skeletons')
        if skeletons is None:  # one for all
            skeletons = dict.fromkeys(classes, dataset_meta)
        #: Sigmas [K] by label, of the classes with keypoints.
        self._sigmas = {label: self._choose_sigmas(name, skeletons[name])
                        for label, name in enumerate(classes) if name in skeletons}
        counts = [len(sigmas) for sigmas in self._sigmas.values()]
        self.num_keypoints = max(counts, default=0)
        if not self.format_only:
            self._truth = self._index()

    def _choose_sigmas(self, name: str, skeleton: Mapping[str, Any]) -> np.ndarray:
        """Return the sigmas of a class: those given, else the data set's."""
        sigmas = self.sigmas.get(name) if isinstance(self.sigmas, Mapping) else self.sigmas
        sigmas = skeleton.get('sigmas') if sigmas is None else sigmas
        if sigmas is None:
            raise UserError(
                'CocoKeypointMetric has no sigmas, and the data set of '
                f'{self.ann_file} brings none: set sigmas=[...], one for each keypoint')
        # Not a numpy truth value: a NaN fails as well.
        if not all(0 < sigma < math.inf for sigma in sigmas):
            raise UserError(f'the sigmas {list(sigmas)} of {self.ann_file} must be positive')
        count = skeleton.get('num_keypoints', len(sigmas))
        if len(sigmas) != count:
            raise UserError(
                f'CocoKeypointMetric has {len(sigmas)} sigmas, but {name!r} in the data set of '
                f'{self.ann_file} has {count} keypoints: give one for each')
        return np.array(sigmas, dtype=float)

    def process(self, data_batch: Any, data_samples: Sequence[dict[str, Any]]) -> None:
        """Keep the predictions of one batch.

        Args:
            data_batch: not used.
            data_samples (list[dict]): as MMEngine's loops give them: ``img_id`` and
                ``pred_instances`` with ``keypoints`` [N, K, 2] and ``bboxes`` [N, 4] in
                original px, ``keypoint_scores`` [N, K], ``scores`` and ``labels`` [N]. K is that
                of the largest skeleton; what is beyond a class's own keypoints is not read.
        """
        for sample in data_samples:
            predicted = sample['pred_instances']
            image_id = sample['img_id']
            if 'keypoints' not in predicted:
                raise UserError(
                    'the model predicts no keypoints, which CocoKeypointMetric evaluates: '
                    'give it a pose head, or evaluate its boxes with mmdet.CocoMetric')
            count = predicted['keypoints'].shape[1]
            if count != self.num_keypoints:
                raise UserError(
                    f'the model predicts {count} keypoints, but the data set of '
                    f'{self.ann_file} has {self.num_keypoints}: set '
                    f'model.bbox_head.num_keypoints={self.num_keypoints}, or that of its '
                    'Keypoints')
            result = dict(
                image_id=image_id, labels=predicted['labels'].cpu().numpy(),
                scores=_numbers(predicted['scores'], image_id),
                keypoints=_numbers(torch.cat(
                    [predicted['keypoints'], predicted['keypoint_scores'][..., None]],
                    dim=-1).flatten(1), image_id))
            if 'bbox' in self.metrics:
                result['bboxes'] = _numbers(predicted['bboxes'], image_id)
            self.results.append(result)

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, float]:
        """Write the results files if asked to, and evaluate.

        Args:
            results (list[dict]): of all images, from all processes.

        Returns:
            dict[str, float]: pycocotools' figures by name; empty with ``format_only``.
        """
        figures: dict[str, float] = {}
        for metric in self.metrics:
            records = self._records(results, metric)
            if self.outfile_prefix is not None:
                path = f'{self.outfile_prefix}.{metric}.json'
                dump(records, path)
                print_log(f'{len(records)} results are written to {path}', logger='current')
            if not self.format_only:
                figures.update(self._evaluate(records, metric))
        return figures

    def _records(self, results: list[dict[str, Any]], metric: str) -> list[dict[str, Any]]:
        """Return predictions in COCO's results format.

        Args:
            results (list[dict]): what ``process`` kept.
            metric (str): a key of ``NAMES``.

        Returns:
            list[dict]: one for each prediction, with ``image_id``, ``category_id``, ``score``
            and either ``keypoints`` (x, y, score of each in turn) or ``bbox`` (xywh).
        """
        lengths = {label: 3 * len(sigmas) for label, sigmas in self._sigmas.items()}
        if metric == 'bbox':
            lengths = dict.fromkeys(range(len(self.category_ids)), 4)
        records = []
        for result in results:
            if metric == 'bbox':
                boxes = result['bboxes'].astype(float)
                values = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
            else:
                values = result['keypoints']
            records += [
                {'image_id': result['image_id'], 'category_id': self.category_ids[label],
                 metric: value[:lengths[label]], 'score': score}
                for label, value, score in zip(
                    result['labels'].tolist(), values.tolist(), result['scores'].tolist(),
                    strict=True)
                if label in lengths]
        return records

    def _evaluate(self, records: list[dict[str, Any]], metric: str) -> dict[str, float]:
        """Run pycocotools and log its table.

        Args:
            records (list[dict]): predictions in COCO's results format.
            metric (str): a key of ``NAMES``.

        Returns:
            dict[str, float]: pycocotools' ``stats`` by name.
        """
        numbered = []
        for record in records:
            if record['image_id'] not in self._image_numbers:
                raise UserError(
                    f'image {record["image_id"]!r} was tested, but {self.ann_file} of '
                    'CocoKeypointMetric does not list it: name the ann_file of the tested data '
                    'set')
            numbered.append(dict(record, image_id=self._image_numbers[record['image_id']]))
        with contextlib.redirect_stdout(io.StringIO()):
            if numbered:
                found = self._truth.loadRes(numbered)
            else:
                print_log(
                    f'nothing at all was predicted for the {len(self._image_numbers)} images '
                    f'of {self.ann_file}', logger='current', level=logging.WARNING)
                # loadRes looks at the first result.
                found = _index(dict(self._truth.dataset, annotations=[]))
            evaluation = COCOeval(self._truth, found, metric)
            if metric == 'keypoints':
                classes = self._evaluate_classes(evaluation)
            else:
                classes = {}
                evaluation.evaluate()
                evaluation.accumulate()
        figures, table = _summarize(evaluation)
        if len(classes) > 1:
            table += _class_table(classes)
        print_log(f'{metric} of {self.ann_file}:\n{table}', logger='current')
        if self.classwise:
            figures.update({f'{name}_{key}': value for name, theirs in classes.items()
                            for key, value in theirs.items()})
        return figures

    def _evaluate_classes(self, evaluation: COCOeval) -> dict[str, dict[str, float]]:
        """Evaluate the classes with keypoints one by one, since each has its own sigmas.

        Args:
            evaluation (COCOeval): of keypoints. Afterwards it has what ``accumulate`` gives for
                all of these classes together.

        Returns:
            dict[str, dict[str, float]]: the figures of each class.
        """
        tables, classes = [], {}
        for label, sigmas in self._sigmas.items():
            evaluation.params.catIds = [self.category_ids[label]]
            evaluation.params.kpt_oks_sigmas = sigmas
            evaluation.evaluate()
            evaluation.accumulate()
            tables.append(evaluation.eval)
            classes[self._dataset_meta['classes'][label]] = _summarize(evaluation)[0]
        evaluation.params.catIds = [self.category_ids[label] for label in self._sigmas]
        # [T, R, K, A, M] and [T, K, A, M], K of the classes
        evaluation.eval = dict(
            tables[0], params=evaluation.params,
            counts=[*tables[0]['counts'][:2], len(tables), *tables[0]['counts'][3:]],
            **{name: np.concatenate([table[name] for table in tables], axis=axis)
               for name, axis in (('precision', 2), ('scores', 2), ('recall', 1))})
        return classes

    def _read(self, local_path: str) -> dict[str, Any]:
        """Read the annotation file and check its outline."""
        try:
            with open(local_path, encoding='utf-8') as file:
                content = json.load(file)
        except OSError as error:
            raise UserError(
                f'annotation file {self.ann_file} of CocoKeypointMetric cannot be read '
                f'({error.strerror}): check its ann_file') from None
        except ValueError as error:
            raise UserError(
                f'annotation file {self.ann_file} of CocoKeypointMetric is not JSON ({error})'
            ) from None
        needed = ['images', 'categories'] + ['annotations'] * (not self.format_only)
        missing = [key for key in needed
                   if not (isinstance(content, dict) and isinstance(content.get(key), list))]
        if missing:
            raise UserError(
                f'annotation file {self.ann_file} of CocoKeypointMetric is not in COCO format: '
                f'it has no list {" and no list ".join(map(repr, missing))}')
        content['annotations'] = [
            {key: annotation[key] for key in ANNOTATION_KEYS if key in annotation}
            for annotation in content.get('annotations', [])]
        checked: dict[str, Any] = content
        return checked

    def _find_categories(self, classes: Sequence[str]) -> list[int]:
        """Return the ids of the file's categories by label.

        Labels follow the file's order, as in MMDetection's data sets.
        """
        names = [category['name'] for category in self._content['categories']]
        missing = [name for name in classes if name not in names]
        if missing:
            raise UserError(
                f'class {missing[0]!r} of the data set is missing from the categories {names} '
                f'of {self.ann_file}, which CocoKeypointMetric evaluates by: name the ann_file '
                'of the tested data set')
        return [category['id'] for category in self._content['categories']
                if category['name'] in classes]

    def _index(self) -> COCO:
        """Check the annotations of the classes and number them.

        Returns:
            COCO: pycocotools' index of what its evaluation reads, with image numbers for
            image ids and numbers from 1 for annotation ids.
        """
        ids = sorted((image['id'] for image in self._content['images']),
                     key=lambda image_id: (type(image_id).__name__, image_id))
        self._image_numbers = {image_id: number for number, image_id in enumerate(ids)}
        counts = {self.category_ids[label]: len(sigmas) for label, sigmas in self._sigmas.items()}
        evaluated = self.category_ids if 'bbox' in self.metrics else counts
        used = [annotation for annotation in self._content['annotations']
                if annotation['category_id'] in evaluated
                and annotation['image_id'] in self._image_numbers]
        posed = [annotation for annotation in used if annotation['category_id'] in counts]
        if posed and not any(annotation.get('keypoints') for annotation in posed):
            raise UserError(
                f'no annotation of {self.ann_file} has keypoints: give CocoKeypointMetric the '
                'file of keypoint annotations (of COCO, person_keypoints_*.json)')
        annotations: list[dict[str, Any]] = []
        for annotation in used:
            count = counts.get(annotation['category_id'], 0)
            keypoints = annotation.get('keypoints') if count else []
            # As in the data set, an annotation without keypoints has none labeled.
            labeled = sum(flag > 0 for flag in (keypoints or [])[2::3])
            number = annotation.get('num_keypoints', labeled) if keypoints else 0
            keypoints = keypoints or [0] * (3 * count)
            self._check(annotation, keypoints, count)
            annotations.append(dict(
                id=len(annotations) + 1,
                image_id=self._image_numbers[annotation['image_id']],
                category_id=annotation['category_id'], keypoints=keypoints,
                num_keypoints=number, bbox=annotation['bbox'], area=annotation['area'],
                iscrowd=annotation.get('iscrowd', 0)))
        return _index(dict(
            images=[dict(id=number) for number in self._image_numbers.values()],
            categories=[dict(id=category_id) for category_id in self.category_ids],
            annotations=annotations))

    def _check(self, annotation: dict[str, Any], keypoints: list[Any], count: int) -> None:
        """Stop at an annotation that pycocotools cannot evaluate by."""
        where = f'annotation {annotation.get("id")!r} of {self.ann_file}'
        if len(keypoints) != 3 * count:
            raise UserError(
                f'{where} has {len(keypoints)} numbers for keypoints, not x, y and visibility '
                f'of {count}: the file and the skeleton in the data set\'s '
                'metainfo must have the same keypoints')
        if not _are_numbers(annotation.get('area')):
            raise UserError(
                f'{where} has no area, by which OKS is scaled: write that of the object\'s '
                'mask in px, or, as MMPose does without masks, 0.53 * width * height of its box')
        box = annotation.get('bbox')
        if not (isinstance(box, list) and len(box) == 4 and _are_numbers(*box)):
            raise UserError(f'{where} has the bbox {box!r}: write x, y, width and height')


def _are_numbers(*values: Any) -> bool:
    """Tell if all are finite ints or floats."""
    return all(isinstance(value, (int, float)) and math.isfinite(value) for value in values)


def _numbers(values: torch.Tensor, image_id: Any) -> np.ndarray:
    """Return a prediction on the CPU. A NaN would pass for a match in pycocotools."""
    values = values.float().cpu()
    if not values.isfinite().all():
        raise UserError(
            f'the model predicts values that are not finite numbers for image {image_id!r}: its '
            'training diverged, so test an earlier checkpoint or train at a lower lr')
    return values.numpy()


def _index(content: dict[str, Any]) -> COCO:
    """Return pycocotools' index of a file's content."""
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _summarize(evaluation: COCOeval) -> tuple[dict[str, float], str]:
    """Return pycocotools' figures by name, and the table that it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as table:
        evaluation.summarize()
    names = NAMES[evaluation.params.iouType]
    return dict(zip(names, map(float, evaluation.stats), strict=False)), table.getvalue()


def _class_table(classes: Mapping[str, Mapping[str, float]]) -> str:
    """Return a table of the classes' figures."""
    width = max(map(len, classes))
    lines = [' ' * width + ''.join(f'{name:>9}' for name in NAMES['keypoints'])]
    lines += [f'{name:<{width}}' + ''.join(f'{value:9.3f}' for value in figures.values())
              for name, figures in classes.items()]
    return '\n'.join(lines)
