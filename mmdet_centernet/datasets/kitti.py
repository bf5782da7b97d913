"""KITTI's object data, or other data in its format: images, labels with 3D boxes, cameras."""
import os
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmdet.datasets.base_det_dataset import BaseDetDataset
from mmengine.logging import print_log
from PIL import Image, UnidentifiedImageError

from mmdet_centernet.datasets.checks import CheckedDataset, box_fault, list_names
from mmdet_centernet.errors import UserError
from mmdet_centernet.io.kitti import CLASSLESS, read_calib, read_objects, read_split
from mmdet_centernet.ops.camera import wrap_angle
from mmdet_centernet.registry import DATASETS

DATA_PREFIX = dict(img='training/image_2/', label='training/label_2/', calib='training/calib/')
# Types whose objects look much like those of a class, and the class (None: every class).
IGNORED_TYPES: dict[str, str | None] = {
    'Van': 'Car', 'Truck': 'Car', 'Person_sitting': 'Pedestrian', CLASSLESS: None}
# Label of objects that are ignored for every class.
EVERY_CLASS = -1
# KITTI's own images are PNG files.
SUFFIXES = ('.png', '.jpg')
# Interval of the progress messages while reading, seconds.
PROGRESS_INTERVAL = 10


class _FilteredDataset(BaseDetDataset):
    """Data set with the ``filter_cfg`` of MMDetection's COCO and VOC data sets."""

    def filter_data(self) -> list[dict[str, Any]]:
        """Leave out small images, and those without objects if ``filter_cfg`` says so."""
        config = self.filter_cfg or {}
        data_list: list[dict[str, Any]] = self.data_list
        if self.test_mode:
            return data_list
        return [
            item for item in data_list
            if min(item['width'], item['height']) >= config.get('min_size', 0)
            and not (config.get('filter_empty_gt', False)
                     and all(instance['ignore_flag'] for instance in item['instances']))]


@DATASETS.register_module()
class KittiMono3DDataset(CheckedDataset, _FilteredDataset):
    """Images with 3D boxes and cameras, in KITTI's own folders and files.

    Below ``data_root`` are ``training/{image_2,label_2,calib}`` and, if wanted,
    ``testing/{image_2,calib}``, each with a file for every image number (``000123.png``, or
    ``.jpg``, and ``000123.txt``). No conversion is needed. Images are not decoded to learn
    their sizes, which may differ.

    A sample has ``img_path``, ``label_path`` (None without labels), ``img_id`` (str, the number
    as the split file has it), ``height`` and ``width`` (px), ``cam2img`` (float64 [3, 4], the
    left color camera's P2: camera frame, meters, to px), and ``instances``, each with

    * ``bbox`` ([4], px, as in the label), ``bbox_label``, ``ignore_flag``, ``type``;
    * ``bbox_3d`` ([7]: x, y, z of the bottom's center, h, w, l, rotation_y; meters and radians
      in the camera frame), ``alpha``; both angles in [-pi, pi);
    * ``truncated`` and ``occluded`` as in the label.

    Objects of the types in ``ignored_types`` are ignored (``ignore_flag`` 1) for the class that it
    names (which is their ``bbox_label``) or for every class (-1, like ``DontCare`` regions, whose
    3D numbers mean nothing). Objects of other types are left out, and so are boxes outside their
    image. The default ignores the types that the original implementation ignores. One log line
    counts all of these.

    Args:
        ann_file (str): file of image numbers, below ``data_root``.
        data_prefix (dict, optional): folders ``img``, ``label`` and ``calib`` below
            ``data_root`` that replace those of ``training``. ``label=None`` means no labels,
            in ``test_mode`` only.
        ignored_types (dict, optional): type to class or None, see above. A type that is itself
            a class is learned.
        **kwargs: arguments of MMDetection's ``BaseDetDataset``; ``filter_cfg`` as in its COCO and
            VOC data sets: ``filter_empty_gt`` leaves out images without an object of the
            classes.

    Raises:
        UserError: naming file and line, if a folder or a file is missing or malformed, if the
            split names images that do not exist, or no label has one of the classes.
    """

    METAINFO = dict(
        classes=('Pedestrian', 'Car', 'Cyclist'),
        palette=[(220, 20, 60), (30, 144, 255), (255, 140, 0)])

    def __init__(
        self,
        ann_file: str = '',
        data_prefix: Mapping[str, str | None] | None = None,
        ignored_types: Mapping[str, str | None] | None = None,
        **kwargs: Any,
    ) -> None:
        unknown = sorted(set(data_prefix or {}) - set(DATA_PREFIX))
        if unknown:
            raise UserError(
                f'data_prefix of KittiMono3DDataset has the key {unknown[0]!r}: it knows '
                f'{list_names(DATA_PREFIX)}')
        prefix: dict[str, str | None] = {**DATA_PREFIX, **(data_prefix or {})}
        # MMEngine joins strings only.
        if prefix['label'] is None:
            del prefix['label']
        self.ignored_types = ignored_types
        super().__init__(ann_file, data_prefix=prefix, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the labels and cameras of all images of the split."""
        self._labels = self._label_types()
        self._unused: Counter[str] = Counter()
        self._found: set[str] = set()
        if 'label' not in self.data_prefix and not self.test_mode:
            raise UserError(
                f'the data set of {self.ann_file} has data_prefix label=None, so there is '
                'nothing to learn from: give the folder of labels, or set test_mode=True')
        if not self.ann_file:
            raise UserError(
                'KittiMono3DDataset needs ann_file, a file of image numbers below data_root '
                "such as 'ImageSets/train.txt'")
        names = read_split(self.ann_file)
        files = self._image_files(names)
        data_list: list[dict[str, Any]] = []
        logged = time.monotonic()
        for name, file_name in zip(names, files):
            if time.monotonic() - logged > PROGRESS_INTERVAL:
                logged = time.monotonic()
                print_log(f'{self.ann_file}: {len(data_list)} of {len(names)} images read',
                          logger='current')
            data_list.append(self._load_sample(name, file_name))
        self._check_classes()
        return data_list

    def _label_types(self) -> dict[str, tuple[int, int]]:
        """Return the label and the ignore flag of each type."""
        classes = list(self._metainfo['classes'])
        given = IGNORED_TYPES if self.ignored_types is None else self.ignored_types
        labels = {}
        for name, target in given.items():
            if target is None:
                labels[name] = (EVERY_CLASS, 1)
            elif target in classes:
                labels[name] = (classes.index(target), 1)
            elif self.ignored_types is not None:
                raise UserError(
                    f'ignored_types={self.ignored_types} names {target!r}, which is not one '
                    f'of metainfo.classes {list_names(classes)}: give one of them, or None for '
                    'all')
        labels.update((name, (label, 0)) for label, name in enumerate(classes))
        return labels

    def _image_files(self, names: list[str]) -> list[str]:
        """Return the names of the image files of ``names``, all of which must exist."""
        for key, folder in self.data_prefix.items():
            if not os.path.isdir(folder):
                raise UserError(
                    f'folder {folder} does not exist: check data_root and data_prefix '
                    f'{key!r} of the data set of {self.ann_file}')
        present = set(os.listdir(self.data_prefix['img']))
        files = {name: name + suffix for name in names for suffix in reversed(SUFFIXES)
                 if name + suffix in present}
        missing = [name for name in names if name not in files]
        if missing:
            lines = Path(self.ann_file).read_text(encoding='utf-8-sig').split('\n')
            line = [text.strip() for text in lines].index(missing[0]) + 1
            raise UserError(
                f'line {line} of {self.ann_file} names {missing[0]!r}, but '
                f'{os.path.join(self.data_prefix["img"], missing[0])}.png does not exist '
                f'({len(missing)} of {len(names)} images are missing)')
        return [files[name] for name in names]

    def _load_sample(self, name: str, file_name: str) -> dict[str, Any]:
        """Read the sample of an image."""
        img_path = os.path.join(self.data_prefix['img'], file_name)
        width, height = _image_size(img_path)
        label_path = None
        if 'label' in self.data_prefix:
            label_path = os.path.join(self.data_prefix['label'], f'{name}.txt')
        return dict(
            img_path=img_path, label_path=label_path, img_id=name, height=height, width=width,
            cam2img=read_calib(os.path.join(self.data_prefix['calib'], f'{name}.txt')),
            instances=self._load_instances(label_path, width, height) if label_path else [])

    def _load_instances(self, path: str, width: int, height: int) -> list[dict[str, Any]]:
        """Read the objects of a label file, without those that are left out."""
        objects = read_objects(path)
        self._found.update(objects.types)
        angles = wrap_angle(torch.from_numpy(objects.rotation_y)).tolist()
        alphas = wrap_angle(torch.from_numpy(objects.alpha)).tolist()
        bboxes = objects.bboxes.tolist()
        instances = []
        for row, name in enumerate(objects.types):
            if name not in self._labels:
                self._unused[name] += 1
                continue
            x1, y1, x2, y2 = bboxes[row]
            fault = box_fault(x1, y1, x2 - x1, y2 - y1, width, height)
            if fault is not None:
                self.left_out.add(fault, f'line {row + 1} of {path}')
                continue
            label, ignored = self._labels[name]
            instances.append(dict(
                bbox=bboxes[row], bbox_label=label, ignore_flag=ignored, type=name,
                bbox_3d=[*objects.locations[row].tolist(), *objects.dims[row].tolist(),
                         angles[row]],
                alpha=alphas[row], truncated=float(objects.truncated[row]),
                occluded=int(objects.occluded[row])))
        return instances

    def _check_classes(self) -> None:
        """Raise UserError if no label has any of the classes."""
        found = sorted(self._found - {CLASSLESS})
        classes = self._metainfo['classes']
        if found and set(found).isdisjoint(classes):
            raise UserError(
                f'the types in the labels of {self.ann_file} are {list_names(found)}, but '
                f'metainfo.classes are {list_names(classes)}: none agrees, so nothing would be '
                f'learned; set metainfo=dict(classes={list_names(found)}) in each data set and '
                f"num_classes={len(found)} in the model's bbox_head")

    def filter_data(self) -> list[dict[str, Any]]:
        """Filter, and count ignored objects by type only, see :meth:`_describe`."""
        kept = super().filter_data()
        self._counts = (*self._counts[:-1], 0)
        return kept

    def _describe(self, kept: list[dict[str, Any]]) -> tuple[str, bool]:
        """Return the numbers of each class and type, and whether this is a warning."""
        if 'label' not in self.data_prefix:
            return ' (no labels)', False
        kinds = Counter((instance['ignore_flag'], instance['type'])
                        for item in kept for instance in item['instances'])
        classes = self._metainfo['classes']
        text = f' ({", ".join(f"{kinds[0, name]} {name}" for name in classes)})'
        ignored = [f'{count} {name}' for (flag, name), count in sorted(kinds.items()) if flag]
        if ignored:
            text += f', to ignore {", ".join(ignored)}'
        if self._unused:
            text += ', of other types ' + ', '.join(
                f'{count} {name}' for name, count in sorted(self._unused.items()))
        # A misspelled class looks like this, but so does a split without the class.
        absent = [name for name in classes if name not in self._found]
        if absent and self._found:
            return f'{text}; no label has the type {" or ".join(map(repr, absent))}', True
        return text, False


def _image_size(path: str) -> tuple[int, int]:
    """Read the width and height of an image from its header."""
    try:
        with Image.open(path) as image:
            width, height = image.size
    except UnidentifiedImageError:
        raise UserError(
            f'image {path} is not an image that can be read: replace it, or take it out of the '
            'split file') from None
    except OSError as error:
        raise UserError(f'image {path} cannot be read: {error.strerror or error}') from None
    return width, height
