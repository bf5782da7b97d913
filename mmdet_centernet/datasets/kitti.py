"""KITTI's object data, or any in its format: images, labels with 3D boxes, cameras."""
import os
import time
from collections import Counter
from pathlib import Path

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
# Types whose objects look much like those of a class, and the class (None: of every class).
IGNORED_TYPES = {'Van': 'Car', 'Truck': 'Car', 'Person_sitting': 'Pedestrian', CLASSLESS: None}
# Label of what is to be ignored for every class.
EVERY_CLASS = -1
# KITTI's own images are PNG files.
SUFFIXES = ('.png', '.jpg')
# Reading says how far it is whenever it took this long again, seconds.
PROGRESS_INTERVAL = 10


class _FilteredDataset(BaseDetDataset):
    """With the ``filter_cfg`` of MMDetection's COCO and VOC data sets."""

    def filter_data(self):
        config = self.filter_cfg or {}
        if self.test_mode:
            return self.data_list
        return [
            item for item in self.data_list
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
    left colour camera's P2: camera frame, metres, to px), and ``instances``, each with

    * ``bbox`` ([4], px, as in the label), ``bbox_label``, ``ignore_flag``, ``type``;
    * ``bbox_3d`` ([7]: x, y, z of the bottom's centre, h, w, l, rotation_y; metres and radians
      in the camera frame), ``alpha``; both angles in [-pi, pi);
    * ``truncated`` and ``occluded`` as in the label.

    Objects of other types are to be ignored (``ignore_flag`` 1) for the class that
    ``ignored_types`` names (which is their ``bbox_label``) or for every class (-1, as are
    ``DontCare`` regions, whose 3D numbers mean nothing); the rest is left out. What the original
    ignores is the default. A box outside its image is left out. One log line counts all of it.

    Args:
        ann_file (str): file of image numbers, below ``data_root``.
        data_prefix (dict, optional): those of the folders ``img``, ``label`` and ``calib``
            below ``data_root`` that are others than ``training``'s. ``label=None``: there are
            no labels, in ``test_mode`` only.
        ignored_types (dict, optional): type to class or None, see above. A type that is itself
            a class is learnt.
        **kwargs: MMDetection's of ``BaseDetDataset``; ``filter_cfg`` as in its COCO and VOC
            data sets, ``filter_empty_gt`` leaving out images without an object of the classes.

    Raises:
        UserError: naming file and line, if a folder or a file is missing or malformed, if the
            split names images that are not there, or no label has one of the classes.
    """

    METAINFO = dict(
        classes=('Pedestrian', 'Car', 'Cyclist'),
        palette=[(220, 20, 60), (30, 144, 255), (255, 140, 0)])

    def __init__(self, ann_file='', data_prefix=None, ignored_types=None, **kwargs):
        unknown = sorted(set(data_prefix or {}) - set(DATA_PREFIX))
        if unknown:
            raise UserError(
                f'data_prefix of KittiMono3DDataset has the key {unknown[0]!r}: it knows '
                f'{list_names(DATA_PREFIX)}')
        prefix = DATA_PREFIX | (data_prefix or {})
        # MMEngine joins texts only.
        if prefix['label'] is None:
            del prefix['label']
        self.ignored_types = ignored_types
        super().__init__(ann_file, data_prefix=prefix, **kwargs)

    def load_data_list(self):
        self._labels = self._label_types()
        self._unused = Counter()
        self._found = set()
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
        data_list = []
        said = time.monotonic()
        for name, file_name in zip(names, files):
            if time.monotonic() - said > PROGRESS_INTERVAL:
                said = time.monotonic()
                print_log(f'{self.ann_file}: {len(data_list)} of {len(names)} images read',
                          logger='current')
            data_list.append(self._load_sample(name, file_name))
        self._check_classes()
        return data_list

    def _label_types(self):
        """What label and flag each type gets: dict[str, tuple[int, int]]."""
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
                    f'ignored_types={self.ignored_types} names {target!r}, which is none of '
                    f'metainfo.classes {list_names(classes)}: give one of them, or None for '
                    'all')
        labels.update((name, (label, 0)) for label, name in enumerate(classes))
        return labels

    def _image_files(self, names):
        """Names of the image files of ``names``, all of which must be there."""
        for key, folder in self.data_prefix.items():
            if not os.path.isdir(folder):
                raise UserError(
                    f'folder {folder} does not exist: check data_root and data_prefix '
                    f'{key!r} of the data set of {self.ann_file}')
        present = set(os.listdir(self.data_prefix['img']))
        files = [next((name + suffix for suffix in SUFFIXES if name + suffix in present), None)
                 for name in names]
        missing = [name for name, file_name in zip(names, files) if file_name is None]
        if missing:
            lines = Path(self.ann_file).read_text(encoding='utf-8-sig').split('\n')
            line = [text.strip() for text in lines].index(missing[0]) + 1
            raise UserError(
                f'line {line} of {self.ann_file} names {missing[0]!r}, but '
                f'{os.path.join(self.data_prefix["img"], missing[0])}.png does not exist '
                f'({len(missing)} of {len(names)} images are missing)')
        return files

    def _load_sample(self, name, file_name):
        """The sample of an image."""
        img_path = os.path.join(self.data_prefix['img'], file_name)
        width, height = _image_size(img_path)
        label_path = None
        if 'label' in self.data_prefix:
            label_path = os.path.join(self.data_prefix['label'], f'{name}.txt')
        return dict(
            img_path=img_path, label_path=label_path, img_id=name, height=height, width=width,
            cam2img=read_calib(os.path.join(self.data_prefix['calib'], f'{name}.txt')),
            instances=self._load_instances(label_path, width, height) if label_path else [])

    def _load_instances(self, path, width, height):
        """The objects of a label file, without those that are left out."""
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

    def _check_classes(self):
        """Stop if no label has any of the classes."""
        found = sorted(self._found - {CLASSLESS})
        classes = self._metainfo['classes']
        if found and set(found).isdisjoint(classes):
            raise UserError(
                f'the types in the labels of {self.ann_file} are {list_names(found)}, but '
                f'metainfo.classes are {list_names(classes)}: none agrees, so nothing would be '
                f'learnt; set metainfo=dict(classes={list_names(found)}) in each data set and '
                f"num_classes={len(found)} in the model's bbox_head")

    def filter_data(self):
        kept = super().filter_data()
        # The log has the ignored ones by type instead, see _describe.
        self._counts = (*self._counts[:-1], 0)
        return kept

    def _describe(self, kept):
        """Say how many there are of each class and type."""
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
        # A class that is misspelt looks like this; so does a split without one.
        absent = [name for name in classes if name not in self._found]
        if absent and self._found:
            return f'{text}; no label has the type {" or ".join(map(repr, absent))}', True
        return text, False


def _image_size(path):
    """Width and height of an image, from its header."""
    try:
        with Image.open(path) as image:
            return image.size
    except UnidentifiedImageError:
        raise UserError(
            f'image {path} is no image that can be read: replace it, or take it out of the '
            'split file') from None
    except OSError as error:
        raise UserError(f'image {path} cannot be read: {error.strerror or error}') from None
