"""Pascal VOC data sets whose annotations are checked."""
import math
import xml.etree.ElementTree as ET

from mmdet.datasets import VOCDataset as MMDetVOCDataset

from mmdet_centernet.datasets.checks import CheckedDataset, box_fault, list_names
from mmdet_centernet.errors import UserError
from mmdet_centernet.registry import DATASETS

BOX_KEYS = ('xmin', 'ymin', 'xmax', 'ymax')


@DATASETS.register_module()
class VOCDataset(CheckedDataset, MMDetVOCDataset):
    """MMDetection's ``VOCDataset`` that says what is wrong with an annotation.

    It takes the same options and gives the same samples: ``difficult`` objects are to be
    ignored, and with ``filter_cfg.bbox_min_size`` small ones too. An object that cannot be
    used (of a class not asked for, without a box of four finite numbers, of zero or negative
    size, outside the image) is left out, counted by reason in one log line that names the
    first few; a broken file, or classes of which the files hold none, stop with a sentence.
    """

    def load_data_list(self):
        self._names = set()
        try:
            data_list = super().load_data_list()
        except FileNotFoundError:
            raise UserError(
                f'image list {self.ann_file} does not exist: check data_root and ann_file of '
                'the data set') from None
        classes = self._metainfo['classes']
        if self._names and self._names.isdisjoint(classes):
            raise UserError(
                f'the objects in the files of {self.ann_file} are '
                f'{list_names(sorted(self._names))}, but metainfo.classes are '
                f'{list_names(classes)}: none agrees, so nothing would be learnt; set '
                f'metainfo=dict(classes={list_names(sorted(self._names))}) in each data set '
                f'and num_classes={len(self._names)} in the model\'s bbox_head')
        return data_list

    def parse_data_info(self, img_info):
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

    def _parse_instance_info(self, raw_ann_info, minus_one=True):
        """Take the unusable objects out of the XML tree before MMDetection reads it."""
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

    def _fault(self, obj, sides):
        """Why an object is left out, or None."""
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
        # Truncated as MMDetection does; pixels count from 1.
        x1, y1, x2, y2 = (int(value) - 1 for value in values)
        return box_fault(x1, y1, x2 - x1, y2 - y1, *sides)


def _number(element, key):
    """The number in a child element, NaN if there is none."""
    try:
        return float(element.findtext(key))
    except (TypeError, ValueError):
        return math.nan
