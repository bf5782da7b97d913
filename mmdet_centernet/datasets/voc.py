"""Pascal VOC data sets whose annotations are checked."""
import math
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import Any

from mmdet.datasets import VOCDataset as MMDetVOCDataset

from mmdet_centernet.datasets.checks import CheckedDataset, box_fault, list_names
from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import DATASETS

BOX_KEYS = ('xmin', 'ymin', 'xmax', 'ymax')


@DATASETS.register_module()
class VOCDataset(CheckedDataset, MMDetVOCDataset):
    """MMDetection's ``VOCDataset`` with error messages for invalid annotations.

    Its options and samples are the same: ``difficult`` objects are ignored in training and
    evaluation, and so are small ones with ``filter_cfg.bbox_min_size``. An object that cannot be
    used (of another class, without a box of four finite numbers, of zero or negative size, outside
    the image) is left out and counted by reason in one log line that names the first few.

    Raises:
        UserError: while loading, if a file is missing or broken, or no file has an object of the
            classes.
    """

    def load_data_list(self) -> list[dict[str, Any]]:
        """Load the samples, and check that their classes occur."""
        self._names: set[str] = set()
        try:
            data_list: list[dict[str, Any]] = super().load_data_list()
        except FileNotFoundError:
            raise UserError(
                f'image list {self.ann_file} does not exist: check data_root and ann_file of '
                'the data set') from None
        classes = self._metainfo['classes']
        if self._names and self._names.isdisjoint(classes):
            raise UserError(
                f'the objects in the files of {self.ann_file} are '
                f'{list_names(sorted(self._names))}, but metainfo.classes are '
                f'{list_names(classes)}: none agrees, so nothing would be learned; set '
                f'metainfo=dict(classes={list_names(sorted(self._names))}) in each data set '
                f'and num_classes={len(self._names)} in the model\'s bbox_head')
        return data_list

    def parse_data_info(self, img_info: dict[str, Any]) -> Any:
        """Read the sample of an image, and name its file in errors."""
        self._xml_path = img_info['xml_path']
        try:
            return super().parse_data_info(img_info)
        except FileNotFoundError as error:
            raise UserError(
                f'{error.filename or self._xml_path} does not exist, but {self.ann_file} lists '
                f'{img_info["img_id"]!r}') from None
        except ET.ParseError as error:
            raise UserError(f'annotation {self._xml_path} is not XML ({error})') from None
        except UserError:
            raise
        except (AttributeError, TypeError, ValueError):
            # MMDetection reads <size> before the objects, or the image if there is none.
            raise UserError(
                f'annotation {self._xml_path} has no <size> with a whole width and height, and '
                f'the image of {img_info["file_name"]} cannot be read to learn it') from None

    def _parse_instance_info(self, raw_ann_info: Any, minus_one: bool = True) -> Any:
        """Remove the unusable objects from the XML tree before MMDetection reads it."""
        root = raw_ann_info.getroot()
        size = root.find('size')
        sides = None
        if size is not None:
            sides = [_number(size, key) for key in ('width', 'height')]
            if not all(side >= 1 for side in sides):
                raise UserError(
                    f'annotation {self._xml_path} gives width and height {sides}: both must be '
                    'positive (without <size> they are read from the image)')
        for index, obj in enumerate(root.findall('object')):
            fault = self._fault(obj, sides or (math.inf, math.inf))
            if fault is not None:
                root.remove(obj)
                self.left_out.add(fault, f'object {index} of {self._xml_path}')
        return super()._parse_instance_info(raw_ann_info, minus_one)

    def _fault(self, obj: ET.Element, sides: Sequence[float]) -> str | None:
        """Explain why an object is left out; None if it is not."""
        name = obj.findtext('name')
        if name is None:
            return 'without a name'
        self._names.add(name)
        if name not in self._metainfo['classes']:
            return 'of classes not asked for'
        if obj.find('difficult') is not None and _number(obj, 'difficult') not in (0, 1):
            return "whose 'difficult' is neither 0 nor 1"
        box = obj.find('bndbox')
        values = [math.nan] if box is None else [_number(box, key) for key in BOX_KEYS]
        if not all(map(math.isfinite, values)):
            return 'whose bndbox is not four finite numbers'
        # Truncated like MMDetection; pixels count from 1.
        x1, y1, x2, y2 = (int(value) - 1 for value in values)
        image_width, image_height = sides
        return box_fault(x1, y1, x2 - x1, y2 - y1, image_width, image_height)


def _number(element: ET.Element, key: str) -> float:
    """Return the number in a child element, NaN if there is none."""
    text: Any = element.findtext(key)
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan
