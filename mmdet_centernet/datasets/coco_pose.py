"""COCO-format data sets of objects with joints, checked."""
import numpy as np

from mmdet_centernet.datasets.checks import list_names
from mmdet_centernet.datasets.coco import CocoDataset
from mmdet_centernet.datasets.skeleton import COCO_SKELETON, parse_skeleton
from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import DATASETS

# What a config may say of the skeleton: the options of parse_skeleton.
GIVEN_KEYS = ('keypoint_info', 'skeleton_info', 'flip_pairs', 'sigmas')
# x, y and visibility: numbers of a joint in an annotation.
NUMBERS = 3
# Not labelled; labelled but hidden; labelled and visible.
VISIBILITIES = (0, 1, 2)


@DATASETS.register_module()
class CocoPoseDataset(CocoDataset):
    """COCO's person keypoints, or any objects whose joints are annotated in that format.

    A sample is that of :class:`CocoDataset`; each instance has in addition ``keypoints``
    (float32 [K, 2], px of the image, (x, y)) and ``keypoints_visible`` (float32 [K], COCO's
    0, 1 and 2), and the sample has ``flip_indices`` (K ints, where each joint is after
    mirroring).

    The skeleton is the one that ``metainfo`` describes in MMPose's words (``keypoint_info``,
    ``skeleton_info``, ``sigmas``; see :func:`parse_skeleton`), else the one of the file's
    categories. ``dataset.metainfo`` has it in the form that :func:`parse_skeleton` returns.
    All classes share one skeleton.

    An annotation without labelled joints is legal: only its box is learnt. One without any
    ``keypoints`` counts as such, and in training a labelled joint outside its image counts
    as not labelled; the log line says how many there are, and where ``num_keypoints`` is not
    the number of labelled joints. Joints of the wrong number, that are not finite, or of
    another visibility than 0, 1 and 2 stop with the file and the annotation's id.

    Args:
        crowd_as_objects (bool): see :class:`CocoDataset`; true as in the original.
        metainfo (dict, optional): ``classes`` and, if wanted, the skeleton.
        **kwargs: :class:`CocoDataset`'s.
    """

    # The first colour is the person's; the others are for data with more classes.
    METAINFO = dict(
        classes=('person', ), palette=CocoDataset.METAINFO['palette'], **COCO_SKELETON)

    def __init__(self, ann_file='', metainfo=None, crowd_as_objects=True, **kwargs):
        self._given = self._given_skeleton(metainfo)
        super().__init__(
            ann_file, metainfo=metainfo, crowd_as_objects=crowd_as_objects, **kwargs)

    @classmethod
    def _given_skeleton(cls, metainfo):
        """What the config, or a subclass in MMPose's words, says of the skeleton."""
        own = cls.METAINFO if 'keypoint_info' in cls.METAINFO else {}
        known = {**own, **(metainfo or {})}
        return {key: known[key] for key in GIVEN_KEYS if known.get(key) is not None}

    @classmethod
    def _load_metainfo(cls, metainfo=None):
        """What is known without the file."""
        loaded = super()._load_metainfo(metainfo)
        given = cls._given_skeleton(metainfo)
        if 'keypoint_info' in given:
            loaded.update(parse_skeleton(**given))
        elif given or list(loaded['classes']) != list(cls.METAINFO['classes']):
            # Not COCO's person: what the class has by default is not this data's.
            for key in COCO_SKELETON:
                if key not in (metainfo or {}):
                    loaded.pop(key, None)
        for key in ('keypoint_info', 'skeleton_info'):
            loaded.pop(key, None)
        return loaded

    def _check_categories(self, content):
        """Check classes and take the skeleton from the file or compare it."""
        categories = super()._check_categories(content)
        used = [category for category in content['categories'] if categories[category['id']]]
        annotations = content.get('annotations') or []
        bare = [category for category in used if not category.get('keypoints')]
        if annotations:
            # Other people's files may leave the names to the config.
            usable = 'keypoint_info' in self._given and any(
                annotation.get('keypoints') for annotation in annotations)
        else:
            # COCO's test files have neither names nor annotations.
            usable = self.test_mode and 'num_keypoints' in self._metainfo
        if bare and not usable:
            raise UserError(
                f'category {bare[0]["name"]!r} of {self.ann_file} lists no keypoints: give a '
                "file with joints (COCO's are person_keypoints_*.json, not instances_*.json), "
                'or, if its annotations have some, their names in metainfo.keypoint_info')
        named = [category for category in used if category.get('keypoints')]
        for category in named[1:]:
            if category['keypoints'] != named[0]['keypoints']:
                raise UserError(
                    f'the classes of {self.ann_file} have different joints, '
                    f'{named[0]["name"]!r} {list_names(named[0]["keypoints"])} and '
                    f'{category["name"]!r} {list_names(category["keypoints"])}: all must share '
                    'one skeleton, so train one model for each')
        if named:
            self._metainfo.update(parse_skeleton(
                category=named[0], source=f'category {named[0]["name"]!r} in {self.ann_file}',
                **self._given))
        return categories

    def _check_annotations(self, annotations, images, categories):
        kept = super()._check_annotations(annotations, images, categories)
        self._check_joints(kept, images)
        return kept

    def _check_joints(self, annotations, images):
        """Check the joints of annotations and replace them by arrays.

        Args:
            annotations (list[dict]): each gets ``keypoints`` (float32 [K, 2]) and
                ``keypoints_visible`` (float32 [K]).
            images (dict): by id.

        Raises:
            UserError: naming the file and the annotation.
        """
        names = self._metainfo['keypoint_id2name']

        def name(row, joint=None):
            annotation = annotations[row]
            place = (f'annotation {annotation["id"]} of '
                     f'{images[annotation["image_id"]]["file_name"]}')
            return place if joint is None else f'{names[joint]} of {place}'

        joints = np.zeros((len(annotations), len(names), NUMBERS))
        for row, annotation in enumerate(annotations):
            given = annotation.get('keypoints')
            if given:
                joints[row] = self._numbers(given, name(row)).reshape(len(names), NUMBERS)
            else:
                self.noted.add('without keypoints, taken as not labelled', name(row))
        xy, visible = joints[..., :2], joints[..., 2]
        labelled = np.count_nonzero(visible, axis=1).tolist()
        for faulty, words in (
                (~np.isfinite(xy).all(axis=2), 'must be finite numbers'),
                (~np.isin(visible, VISIBILITIES),
                 'needs the visibility 0 (not labelled), 1 (hidden) or 2 (visible)')):
            if faulty.any():
                row, joint = np.argwhere(faulty)[0]
                raise UserError(
                    f'joint {name(row, joint)} in {self.ann_file} is '
                    f'{annotations[row]["keypoints"][joint * NUMBERS:][:NUMBERS]} (x, y, '
                    f'visibility): it {words}')
        for row, annotation in enumerate(annotations):
            if annotation.get('num_keypoints') not in (None, labelled[row]):
                self.noted.add('with a num_keypoints that is not the number of labelled joints',
                               name(row))
        if not self.test_mode:
            sizes = np.array([[images[annotation['image_id']][side]
                               for side in ('width', 'height')] for annotation in annotations])
            outside = (visible > 0) & (
                (xy < 0) | (xy > sizes.reshape(-1, 1, 2))).any(axis=2)
            visible[outside] = 0
            for row, joint in np.argwhere(outside):
                self.noted.add('labelled outside the image, taken as not labelled',
                               name(row, joint))
        for annotation, points, flags in zip(
                annotations, xy.astype(np.float32), visible.astype(np.float32)):
            annotation['keypoints'], annotation['keypoints_visible'] = points, flags

    def _numbers(self, given, place):
        """Return the numbers of an annotation's ``keypoints`` as an array."""
        count = self._metainfo['num_keypoints']
        try:
            numbers = np.array(given)
        except ValueError:  # lists of different lengths
            numbers = np.array(None)
        if numbers.shape != (count * NUMBERS, ) or numbers.dtype.kind not in 'iuf':
            found = f'{len(given)} entries' if hasattr(given, '__len__') else repr(given)
            raise UserError(
                f'{place} in {self.ann_file} has {found} in its keypoints, but {count} joints '
                f'need {count * NUMBERS} numbers (x, y, visibility of each)')
        return numbers

    def parse_data_info(self, raw_data_info):
        """MMDetection's, with joints."""
        data_info = super().parse_data_info(raw_data_info)
        data_info['flip_indices'] = self._metainfo['flip_indices']
        # What MMDetection would leave out, the checks have left out before.
        for instance, annotation in zip(
                data_info['instances'], raw_data_info['raw_ann_info'], strict=True):
            for key in ('keypoints', 'keypoints_visible'):
                instance[key] = annotation[key]
        return data_info

    def _describe(self, kept):
        """Say what skeleton it is and how many objects have joints."""
        posed = sum(bool(instance['keypoints_visible'].any())
                    for item in kept for instance in item['instances'])
        meta = self._metainfo
        text = (f', {posed} objects with labelled ones among {meta["num_keypoints"]} joints '
                f'({len(meta["flip_pairs"])} pairs of left and right)')
        if posed or self.test_mode:
            return text, False
        return f'{text} (no pose can be learnt from them)', True
