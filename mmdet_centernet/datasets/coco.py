"""COCO-format data sets whose annotations are checked."""
import contextlib
import io
import json
from collections.abc import Mapping
from typing import Any

from mmdet.datasets import CocoDataset as MMDetCocoDataset
from mmdet.datasets.api_wrappers import COCO

from mmdet_centernet.datasets.attributes import count_known, parse_attributes, read_attributes
from mmdet_centernet.datasets.checks import CheckedDataset, box_fault, is_number, list_names
from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import DATASETS

# Annotations this narrow are left out, as MMDetection does, px.
MIN_SIDE = 1


@DATASETS.register_module()
class CocoDataset(CheckedDataset, MMDetCocoDataset):
    """MMDetection's ``CocoDataset`` that says what is wrong with an annotation file.

    It takes the same options and gives the same samples. An annotation that cannot be used
    (a box that is not four finite numbers, of zero or negative size, under 1 px, outside its
    image, of no area; of an unknown image or category; marked ``ignore``) is left out as
    there, but counted by reason in one log line that names the first few. What would ruin
    the whole training stops it with a sentence: an unreadable file, images or categories
    that are incomplete or given twice, and classes that are not the file's.

    MMDetection numbers labels in the order of the file's categories, whatever the order of
    ``metainfo.classes``, and closes gaps. So both must agree, or names and (between the
    training and the validation file) labels would be mixed up without a word; this is
    checked.

    Objects may have named attributes. ``metainfo.attributes`` describes them (see
    :func:`parse_attributes`), and the annotations' dictionaries ``attributes`` have their values,
    as CVAT writes them; a value may be missing. Each instance then has ``attributes`` (see
    :func:`read_attributes`), and the sample has the description as ``attributes``. An unknown
    value and, in training, an attribute that no annotation has are errors.

    Args:
        crowd_as_objects (bool): train on crowd boxes (``iscrowd``) as on any other, as the
            original does. False: they are to be ignored, as in MMDetection. In
            ``test_mode`` they always are, so that no evaluation changes.
        **kwargs: MMDetection's.
    """

    def __init__(self, *args: Any, crowd_as_objects: bool = False, **kwargs: Any) -> None:
        # Before the rest, which may load the data.
        self.crowd_as_objects = crowd_as_objects
        super().__init__(*args, **kwargs)

    @classmethod
    def _load_metainfo(cls, metainfo: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Complete the description of the attributes."""
        loaded: dict[str, Any] = super()._load_metainfo(metainfo)
        attributes = loaded.pop('attributes', None)
        if attributes:
            loaded['attributes'] = parse_attributes(attributes)
        return loaded

    def COCOAPI(self, local_path: str) -> COCO:
        """Read, check and index the annotation file.

        MMDetection's ``load_data_list`` calls it where it has the class of its COCO API.

        Args:
            local_path (str): path of the file, fetched if it was remote.

        Returns:
            COCO: index over images and over those annotations that can be used.

        Raises:
            UserError: if the file as a whole cannot be used.
        """
        content = self._read(local_path)
        images = self._check_images(content['images'])
        categories = self._check_categories(content)
        content['annotations'] = self._check_annotations(
            content.get('annotations', []), images, categories)
        coco = COCO()
        coco.dataset = content
        with contextlib.redirect_stdout(io.StringIO()):
            coco.createIndex()
        coco.img_ann_map, coco.cat_img_map = coco.imgToAnns, coco.catToImgs
        return coco

    def _take_crowds(self, kept: list[dict[str, Any]]) -> int:
        """Make objects of the crowds in training data; return how many there were."""
        if not self.crowd_as_objects or self.test_mode:
            return 0
        # In COCO's format nothing but crowds is to be ignored.
        crowds = [instance for item in kept for instance in item['instances']
                  if instance['ignore_flag']]
        for instance in crowds:
            instance['ignore_flag'] = 0
        return len(crowds)

    def _read(self, local_path: str) -> dict[str, Any]:
        """Read the JSON file and check its outline."""
        try:
            with open(local_path, encoding='utf-8') as file:
                content = json.load(file)
        except FileNotFoundError:
            raise UserError(
                f'annotation file {self.ann_file} does not exist: check data_root and '
                'ann_file of the data set') from None
        except OSError as error:
            raise UserError(
                f'annotation file {self.ann_file} cannot be read: {error.strerror}') from None
        except ValueError as error:
            raise UserError(
                f'annotation file {self.ann_file} is not JSON ({error})') from None
        needed = ['images', 'categories'] + ['annotations'] * (not self.test_mode)
        missing = [key for key in needed
                   if not (isinstance(content, dict) and isinstance(content.get(key), list))]
        if missing:
            what = (f'an object with the keys {list_names(content)}'
                    if isinstance(content, dict) else f'a {type(content).__name__}')
            raise UserError(
                f'annotation file {self.ann_file} is not in COCO format: it is {what}, without '
                f'a list {" and ".join(repr(key) for key in missing)}')
        for key in needed:
            odd = [index for index, item in enumerate(content[key])
                   if not isinstance(item, dict)]
            if odd:
                raise UserError(f'{key}[{odd[0]}] of {self.ann_file} is not a JSON object')
        if not content['images']:
            raise UserError(f'annotation file {self.ann_file} lists no image at all')
        checked: dict[str, Any] = content
        return checked

    def _check_images(self, images: list[dict[str, Any]]) -> dict[Any, dict[str, Any]]:
        """Return the images by id."""
        by_id: dict[Any, dict[str, Any]] = {}
        for index, image in enumerate(images):
            missing = [key for key in ('id', 'file_name', 'width', 'height')
                       if image.get(key) is None]
            if missing:
                raise UserError(
                    f'images[{index}] of {self.ann_file} ({image.get("file_name")!r}) has no '
                    f'{" and no ".join(missing)}')
            if not all(is_number(image[key]) and image[key] >= 1 for key in ('width', 'height')):
                raise UserError(
                    f'image {image["file_name"]!r} in {self.ann_file} has width '
                    f'{image["width"]!r} and height {image["height"]!r}: both must be positive')
            if image['id'] in by_id:
                raise UserError(
                    f'images {by_id[image["id"]]["file_name"]!r} and {image["file_name"]!r} in '
                    f'{self.ann_file} have the same id {image["id"]!r}')
            by_id[image['id']] = image
        return by_id

    def _check_categories(self, content: dict[str, Any]) -> dict[Any, bool]:
        """Return by category id whether it is asked for; stop if classes do not agree."""
        names: dict[Any, str] = {}
        for index, category in enumerate(content['categories']):
            if 'id' not in category or 'name' not in category:
                raise UserError(f'categories[{index}] of {self.ann_file} has no id or no name')
            if category['id'] in names:
                raise UserError(
                    f'two categories of {self.ann_file} have the id {category["id"]!r}: '
                    f'{names[category["id"]]!r} and {category["name"]!r}')
            names[category['id']] = category['name']
        classes = list(self._metainfo['classes'])
        in_file = list(names.values())
        used = [name for name in in_file if name in classes]
        where = f'{list_names(in_file)} in {self.ann_file}'
        theirs = list(self.METAINFO['classes'])
        given = (f'the {len(theirs)} of COCO, as the config sets none'
                 if classes == theirs and len(theirs) > 1 else list_names(classes))
        if not used:
            raise UserError(
                f'the categories are {where}, but metainfo.classes are {given}: none agrees, so '
                f'nothing would be learned; set metainfo=dict(classes={list_names(in_file)}) in '
                f'each data set and num_classes={len(in_file)} in the model\'s bbox_head')
        twice = sorted({name for name in used if used.count(name) > 1})
        if twice:
            raise UserError(f'category {twice[0]!r} is given twice in {self.ann_file}')
        lost = [name for name in classes if name not in used]
        if lost:
            raise UserError(
                f'metainfo.classes {list_names(lost)} are missing from the categories {where}: '
                'the labels of the others would shift; add them to the file (with no '
                'annotation), or take them out of metainfo.classes and num_classes')
        if used != classes:
            raise UserError(
                f'metainfo.classes {list_names(classes)} are in another order than the '
                f'categories {where}: labels follow the file, so names would be mixed up; set '
                f'metainfo=dict(classes={list_names(used)})')
        return {category_id: name in used for category_id, name in names.items()}

    def _check_annotations(
        self,
        annotations: list[dict[str, Any]],
        images: dict[Any, dict[str, Any]],
        categories: dict[Any, bool],
    ) -> list[dict[str, Any]]:
        """Return the annotations that can be used and count the others by reason."""
        kept, seen = [], set()
        for index, annotation in enumerate(annotations):
            ann_id = annotation.get('id')
            if ann_id is None or ann_id in seen:
                raise UserError(
                    f'annotations[{index}] of {self.ann_file} has '
                    + ('no id' if ann_id is None else f'the id {ann_id!r} of another one'))
            seen.add(ann_id)
            fault = self._fault(annotation, images, categories)
            if fault is None:
                kept.append(annotation)
            else:
                image = images.get(annotation.get('image_id'), {})
                self.left_out.add(
                    fault, f'annotation {ann_id} of {image.get("file_name", "no image")}')
        if 'attributes' in self._metainfo:
            read_attributes(kept, self._metainfo['attributes'], self.ann_file,
                            required=not self.test_mode)
        return kept

    def _fault(
        self,
        annotation: dict[str, Any],
        images: dict[Any, dict[str, Any]],
        categories: dict[Any, bool],
    ) -> str | None:
        """Why an annotation is left out, or None; fills in a missing area."""
        image = images.get(annotation.get('image_id'))
        if image is None:
            return 'of an image that the file does not list'
        category_id = annotation.get('category_id')
        if category_id not in categories:
            return 'of a category that the file does not list'
        if not categories[category_id]:
            return 'of classes not asked for'
        if annotation.get('ignore'):
            return "marked 'ignore'"
        box = annotation.get('bbox')
        if not (isinstance(box, (list, tuple)) and len(box) == 4 and all(map(is_number, box))):
            return 'whose bbox is not four finite numbers'
        x, y, width, height = box
        fault = box_fault(x, y, width, height, image['width'], image['height'], MIN_SIDE)
        if fault is None:
            area = annotation.get('area')
            if not is_number(area):
                if self.test_mode:
                    raise UserError(
                        f'annotation {annotation["id"]} in {self.ann_file} has the area '
                        f'{area!r}, which the COCO evaluation needs: write width * height')
                annotation['area'] = width * height
            elif area <= 0:
                return 'with zero or negative area'
        return fault

    def parse_data_info(self, raw_data_info: dict[str, Any]) -> dict[str, Any]:
        """Parse as MMDetection does, and add attributes."""
        data_info: dict[str, Any] = super().parse_data_info(raw_data_info)
        if 'attributes' in self._metainfo:
            # The checks have left out what MMDetection would leave out.
            for instance, annotation in zip(
                    data_info['instances'], raw_data_info['raw_ann_info'], strict=True):
                instance['attributes'] = annotation['attributes']
        return data_info

    def get_data_info(self, idx: int) -> dict[str, Any]:
        """Return a sample's entry, with the description of attributes that all samples have."""
        data_info: dict[str, Any] = super().get_data_info(idx)
        if 'attributes' in self._metainfo:
            # PackInputs hands the ground truth of test images to AttributeMetric.
            data_info.update(attributes=self._metainfo['attributes'], test_mode=self.test_mode)
        return data_info

    def _describe(self, kept: list[dict[str, Any]]) -> tuple[str, bool]:
        """Say how many objects have a value of each attribute."""
        text, warn = super()._describe(kept)
        attributes = self._metainfo.get('attributes')
        if not attributes:
            return text, warn
        instances = [instance for item in kept for instance in item['instances']
                     if not instance['ignore_flag']]
        counts = {name: count_known(instances, name) for name in attributes}
        text += '. Objects with attributes: ' + ', '.join(
            f'{name} {count}' for name, count in counts.items())
        return text, warn or not (all(counts.values()) or self.test_mode)
