"""COCO-format data sets of objects with keypoints, checked."""
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmdet_centernet.datasets.checks import list_names
from mmdet_centernet.datasets.coco import CocoDataset
from mmdet_centernet.datasets.skeleton import (
    COCO_SKELETON,
    GIVEN_KEYS,
    Skeleton,
    merge_skeletons,
    pad_flip_indices,
    parse_skeleton,
)
from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import DATASETS

# x, y and visibility: numbers of a keypoint in an annotation.
NUMBERS = 3
# Not labeled; labeled but hidden; labeled and visible.
VISIBILITIES = (0, 1, 2)


@DATASETS.register_module()
class CocoPoseDataset(CocoDataset):
    """COCO's person keypoints, or any objects with keypoints annotated in that format.

    Each class has a skeleton of its own, shares one with others, or has no keypoints: then its
    objects are plain boxes. At least one class has keypoints.

    A sample is that of :class:`CocoDataset`; each instance has in addition ``keypoints``
    (float32 [K, 2], px of the image, (x, y)) and ``keypoints_visible`` (float32 [K], COCO's
    0, 1 and 2), K of the largest skeleton. They are 0 beyond the keypoints of the class. The
    sample has ``flip_indices``, the place of each keypoint in a flipped image: a list of K ids if
    all skeletons agree on them, else ndarray[C, K], K ids for each class.

    A class's skeleton is the one that ``metainfo`` describes in MMPose's words
    (``keypoint_info``, ``skeleton_info``, ``flip_pairs``, ``sigmas``; see
    :func:`parse_skeleton`), else the one of its category in the file. ``dataset.metainfo`` has
    ``skeletons``, a dictionary from the names of the classes with keypoints to their skeletons
    in the form that :func:`parse_skeleton` returns, and the entries in which all of these
    agree, such as ``flip_pairs``, beside it. ``num_keypoints`` beside it is K.

    An annotation without labeled keypoints is legal: only its box is learned. One without any
    ``keypoints`` counts as such, and in training a labeled keypoint outside its image counts as
    not labeled. The log line says how many there are, and where ``num_keypoints`` is not the
    number of labeled keypoints. Keypoints of the wrong number, that are not finite, or of
    another visibility than 0, 1 and 2 stop with the file and the annotation's id.

    Args:
        crowd_as_objects (bool): see :class:`CocoDataset`; true as in the original
            implementation.
        metainfo (dict, optional): ``classes``; a skeleton for all classes with keypoints;
            ``skeletons``, such as ``dict(dog=dict(keypoint_info=...))``, for single classes,
            for which nothing else then counts.
        **kwargs: :class:`CocoDataset`'s.
    """

    # The first color is the person's; the others are for data with more classes.
    METAINFO = dict(
        classes=('person', ), palette=CocoDataset.METAINFO['palette'], **COCO_SKELETON,
        skeletons=dict(person=COCO_SKELETON))

    def __init__(
        self,
        ann_file: str = '',
        metainfo: Mapping[str, Any] | None = None,
        crowd_as_objects: bool = True,
        **kwargs: Any,
    ) -> None:
        self._given = self._read_given(metainfo)
        super().__init__(
            ann_file, metainfo=metainfo, crowd_as_objects=crowd_as_objects, **kwargs)

    @classmethod
    def _read_given(cls, metainfo: Mapping[str, Any] | None) -> dict[str | None, dict[str, Any]]:
        """Return arguments of :func:`parse_skeleton` from the config, or from a subclass.

        Returns:
            dict: by class; None: those of the classes that are not named.
        """
        own = cls.METAINFO if 'keypoint_info' in cls.METAINFO else {}
        given: dict[str | None, dict[str, Any]] = {
            None: _select_given({**own, **(metainfo or {})})}
        for name, skeleton in cls.METAINFO.get('skeletons', {}).items():
            if 'keypoint_info' in skeleton:  # of a subclass, not COCO's
                given[name] = _select_given(skeleton)
        for name, skeleton in _check_skeletons((metainfo or {}).get('skeletons')).items():
            given[name] = dict(
                _select_given(skeleton), setting=f'metainfo.skeletons[{name!r}]')
        return given

    @classmethod
    def _load_metainfo(cls, metainfo: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return what is known without the file."""
        loaded = super()._load_metainfo(metainfo)
        given, theirs = cls._read_given(metainfo), (metainfo or {}).get('skeletons') or {}
        classes = loaded['classes']
        # One text, a common mistake, is reported later.
        classes = [classes] if isinstance(classes, str) else list(classes)
        for name in theirs:
            if name not in classes:
                raise UserError(
                    f'metainfo.skeletons names the class {name!r}, which is none of '
                    f'metainfo.classes {list_names(classes)}')
        skeletons = {}
        for name in classes:
            words = given.get(name, given[None])
            if 'keypoint_info' in words:
                skeletons[name] = parse_skeleton(**words)
            elif 'num_keypoints' in theirs.get(name, ()):  # parsed before
                skeletons[name] = theirs[name]
        if any(given.values()) or classes != list(cls.METAINFO['classes']):
            # Not COCO's person: what the class has by default is not this data's.
            for key in COCO_SKELETON:
                if key not in (metainfo or {}):
                    loaded.pop(key, None)
            loaded.pop('skeletons', None)
        # The file may have keypoints of further classes, unless it has been read before.
        parsed = any('num_keypoints' in each for each in theirs.values())
        if skeletons and (parsed or len(skeletons) == len(classes)):
            loaded.update(merge_skeletons(list(skeletons.values())), skeletons=skeletons)
        for key in ('keypoint_info', 'skeleton_info'):
            loaded.pop(key, None)
        return loaded

    def _check_categories(self, content: dict[str, Any]) -> dict[Any, bool]:
        """Check classes, and take their skeletons from the file or compare them."""
        categories = super()._check_categories(content)
        used = [category for category in content['categories'] if categories[category['id']]]
        annotations = content.get('annotations') or []
        posed = {annotation.get('category_id') for annotation in annotations
                 if annotation.get('keypoints')}
        skeletons, usable = {}, False
        for category in used:
            name = category['name']
            given = self._given.get(name, self._given[None])
            if category.get('keypoints'):
                given = dict(given, category=category,
                             source=f'category {name!r} in {self.ann_file}')
            elif not annotations:
                # COCO's test files have neither names nor annotations.
                known = self._metainfo.get('skeletons', {}).get(name)
                if known is None and 'keypoint_info' in given:
                    known = parse_skeleton(**given)
                if self.test_mode and known:
                    skeletons[name], usable = known, True
                continue
            elif 'keypoint_info' not in given:
                if name in self._given:
                    raise UserError(
                        f'category {name!r} of {self.ann_file} lists no keypoints: give their '
                        f'names in metainfo.skeletons[{name!r}].keypoint_info')
                continue
            # Other people's files may leave the names to the config.
            elif name not in self._given and category['id'] not in posed:
                continue
            usable = usable or 'category' in given or category['id'] in posed
            skeletons[name] = parse_skeleton(**given)
        if not usable:
            raise UserError(
                f'category {used[0]["name"]!r} of {self.ann_file} lists no keypoints: give a '
                "file with keypoints (COCO's are person_keypoints_*.json, not instances_*.json),"
                ' or, if its annotations have some, their names in metainfo.keypoint_info')
        for key in COCO_SKELETON:
            self._metainfo.pop(key, None)
        self._metainfo.update(
            merge_skeletons(list(skeletons.values())), skeletons=skeletons)
        self._flip_indices = self._metainfo.get('flip_indices') or np.array(
            pad_flip_indices([skeletons.get(category['name']) for category in used]))
        self._categories = {category['id']: category['name'] for category in used}
        return categories

    def _check_annotations(
        self,
        annotations: list[dict[str, Any]],
        images: dict[Any, dict[str, Any]],
        categories: dict[Any, bool],
    ) -> list[dict[str, Any]]:
        kept = super()._check_annotations(annotations, images, categories)
        self._check_keypoints(kept, images)
        return kept

    def _check_keypoints(
        self, annotations: list[dict[str, Any]], images: dict[Any, dict[str, Any]]
    ) -> None:
        """Check the keypoints of annotations and replace them by arrays.

        Args:
            annotations (list[dict]): each gets ``keypoints`` (float32 [K, 2]) and
                ``keypoints_visible`` (float32 [K]).
            images (dict): by id.

        Raises:
            UserError: naming the file and the annotation.
        """
        skeletons = self._metainfo['skeletons']

        def describe(row: int, keypoint: int | None = None) -> str:
            annotation = annotations[row]
            place = (f'annotation {annotation["id"]} of '
                     f'{images[annotation["image_id"]]["file_name"]}')
            if keypoint is None:
                return place
            names = skeletons[self._categories[annotation['category_id']]]['keypoint_id2name']
            return f'{names[keypoint]} of {place}'

        keypoints = np.zeros((len(annotations), self._metainfo['num_keypoints'], NUMBERS))
        for row, annotation in enumerate(annotations):
            given, category = annotation.get('keypoints'), annotation['category_id']
            skeleton = skeletons.get(self._categories[category])
            if skeleton is None:
                if given and not (isinstance(given, list) and not any(given)):
                    raise UserError(
                        f'{describe(row)} in {self.ann_file} has keypoints, but its category '
                        f'{self._categories[category]!r} lists none: give their names in the '
                        'category, or in metainfo.skeletons')
            elif given:
                count = skeleton['num_keypoints']
                keypoints[row, :count] = self._read_numbers(given, count, describe(row)).reshape(
                    count, NUMBERS)
            else:
                self.noted.add('without keypoints, taken as not labeled', describe(row))
        xy, visible = keypoints[..., :2], keypoints[..., 2]
        labeled = np.count_nonzero(visible, axis=1).tolist()
        for faulty, words in (
                (~np.isfinite(xy).all(axis=2), 'must be finite numbers'),
                (~np.isin(visible, VISIBILITIES),
                 'needs the visibility 0 (not labeled), 1 (hidden) or 2 (visible)')):
            if faulty.any():
                row, place = np.argwhere(faulty)[0]
                raise UserError(
                    f'keypoint {describe(row, place)} in {self.ann_file} is '
                    f'{annotations[row]["keypoints"][place * NUMBERS:][:NUMBERS]} (x, y, '
                    f'visibility): it {words}')
        for row, annotation in enumerate(annotations):
            if annotation.get('num_keypoints') not in (None, labeled[row]):
                self.noted.add('with a num_keypoints that is not the number of labeled keypoints',
                               describe(row))
        if not self.test_mode:
            sizes = np.array([[images[annotation['image_id']][side]
                               for side in ('width', 'height')] for annotation in annotations])
            outside = (visible > 0) & (
                (xy < 0) | (xy > sizes.reshape(-1, 1, 2))).any(axis=2)
            visible[outside] = 0
            for row, place in np.argwhere(outside):
                self.noted.add('labeled outside the image, taken as not labeled',
                               describe(row, place))
        for annotation, points, flags in zip(
                annotations, xy.astype(np.float32), visible.astype(np.float32), strict=True):
            annotation['keypoints'], annotation['keypoints_visible'] = points, flags

    def _read_numbers(self, given: Any, count: int, place: str) -> np.ndarray:
        """Return the numbers of an annotation's ``keypoints`` as an array."""
        try:
            numbers = np.array(given)
        except ValueError:  # lists of different lengths
            numbers = np.array(None)
        if numbers.shape != (count * NUMBERS, ) or numbers.dtype.kind not in 'iuf':
            found = f'{len(given)} entries' if hasattr(given, '__len__') else repr(given)
            raise UserError(
                f'{place} in {self.ann_file} has {found} in its keypoints, but {count} keypoints '
                f'need {count * NUMBERS} numbers (x, y, visibility of each)')
        return numbers

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Return a sample's entry, with the ``flip_indices`` that all samples have."""
        return dict(super().get_data_info(idx), flip_indices=self._flip_indices)

    def parse_data_info(self, raw_data_info: dict[str, Any]) -> dict[str, Any]:
        """Parse as MMDetection does, and add keypoints."""
        data_info = super().parse_data_info(raw_data_info)
        # What MMDetection would leave out, the checks have left out before.
        for instance, annotation in zip(
                data_info['instances'], raw_data_info['raw_ann_info'], strict=True):
            for key in ('keypoints', 'keypoints_visible'):
                instance[key] = annotation[key]
        return data_info

    def _describe(self, kept: list[dict[str, Any]]) -> tuple[str, bool]:
        """Say how many objects of each class have labeled keypoints."""
        skeletons: dict[str, Skeleton] = self._metainfo['skeletons']
        classes = self._metainfo['classes']
        labeled, objects = dict.fromkeys(classes, 0), dict.fromkeys(classes, 0)
        for item in kept:
            for instance in item['instances']:
                name = classes[instance['bbox_label']]
                objects[name] += 1
                labeled[name] += bool(instance['keypoints_visible'].any())
        parts, warn = [], False
        for name, skeleton in skeletons.items():
            useless = not labeled[name] and not self.test_mode
            warn = warn or useless
            parts.append(
                f'{labeled[name]} of {objects[name]} {name!r} ({skeleton["num_keypoints"]} '
                f'keypoints, {len(skeleton["flip_pairs"])} pairs of left and right)'
                + (' (no pose can be learned from them)' if useless else ''))
        plain = [name for name in classes if name not in skeletons]
        if plain:
            parts.append(f'none of {list_names(plain)}, plain boxes')
        attributes, useless = super()._describe(kept)
        return (f'. Objects with labeled keypoints: {", ".join(parts)}{attributes}',
                warn or useless)


def _select_given(known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of :func:`parse_skeleton` among others."""
    return {key: known[key] for key in GIVEN_KEYS if known.get(key) is not None}


def _check_skeletons(skeletons: Any) -> Mapping[str, Mapping[str, Any]]:
    """Return ``metainfo.skeletons`` if it is a dictionary of skeletons."""
    if skeletons is None:
        return {}
    if not isinstance(skeletons, Mapping) or not all(
            isinstance(each, Mapping) for each in skeletons.values()):
        raise UserError(
            f'metainfo.skeletons is {skeletons!r}: write a dictionary from names of classes to '
            'skeletons, such as dict(dog=dict(keypoint_info={0: dict(name=...), ...}))')
    for name, skeleton in skeletons.items():
        unknown = [key for key in skeleton if key not in (*GIVEN_KEYS, *COCO_SKELETON)]
        if unknown:
            raise UserError(
                f'metainfo.skeletons[{name!r}] has {unknown[0]!r}, which is none of '
                f'{list_names(GIVEN_KEYS)}')
    return skeletons
