"""Checks that the data sets share: they count what they leave out and never skip silently."""
import logging
import math
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeGuard

from mmengine import fileio
from mmengine.logging import print_log

from mmdet_centernet.errors import UserError

if TYPE_CHECKING:
    from mmdet.datasets.base_det_dataset import BaseDetDataset as _Base
else:
    _Base = object

# Number of examples of each reason in the log.
MAX_EXAMPLES = 3
# Number of class names in a message.
MAX_NAMES = 8


class Report:
    """Counts of left-out items by reason, with the first few named."""

    def __init__(self) -> None:
        self.counts: defaultdict[str, int] = defaultdict(int)
        self.examples: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, reason: str, example: str) -> None:
        """Count one more item; ``example`` (str) names it."""
        self.counts[reason] += 1
        if len(self.examples[reason]) < MAX_EXAMPLES:
            self.examples[reason].append(example)

    def __str__(self) -> str:
        return '; '.join(
            f'{count} {reason} ({", ".join(self.examples[reason])}'
            f'{", ..." if count > MAX_EXAMPLES else ""})'
            for reason, count in self.counts.items())


def list_names(names: Iterable[str]) -> str:
    """Format class names for a message, as a Python tuple with only the first few of many."""
    names = list(names)
    shown = ', '.join(repr(name) for name in names[:MAX_NAMES])
    if len(names) > MAX_NAMES:
        return f'({shown}, ... {len(names)} in all)'
    return f'({shown}{"," if len(names) == 1 else ""})'


def is_number(value: object) -> TypeGuard[float]:
    """Return whether ``value`` is a finite int or float."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def box_fault(
    x: float,
    y: float,
    width: float,
    height: float,
    image_width: float,
    image_height: float,
    min_side: float = 0,
) -> str | None:
    """Explain why a box cannot be used.

    Args:
        x, y, width, height (float): the box, px; finite.
        image_width, image_height (int): px.
        min_side (float): a width or height below this is a fault, px.

    Returns:
        str | None: the reason, to follow a count; None if the box can be used.
    """
    if width <= 0 or height <= 0:
        return 'with zero or negative width or height'
    if width < min_side or height < min_side:
        return f'with a side below {min_side} px'
    if x >= image_width or y >= image_height or x + width <= 0 or y + height <= 0:
        return 'outside the image'
    return None


class CheckedDataset(_Base):
    """Mixin that adds checks, counts and one log line to a data set of MMDetection.

    It comes before MMDetection's class. While loading, a subclass adds to ``self.left_out`` what
    it leaves out, and to ``self.noted`` what it keeps but interprets differently than declared.
    """

    def full_init(self) -> None:
        """Check the options, load, filter and log."""
        if self._fully_initialized:
            return
        classes = self._metainfo.get('classes')
        if isinstance(classes, str):
            raise UserError(
                f"metainfo.classes is the text '{classes}', which is neither a file of class "
                f"names nor a tuple of them: write metainfo=dict(classes=('{classes}', )), "
                'with the comma')
        if not classes:
            raise UserError(
                f'the data set of {self.ann_file} has no classes: set metainfo=dict(classes='
                '(...))')
        if self.backend_args and not hasattr(
                fileio.get_file_backend(self.ann_file, backend_args=self.backend_args),
                'get_local_path'):
            raise UserError(
                f'the back end {self.backend_args} of the data set cannot hold annotation files '
                f'such as {self.ann_file}: give backend_args to LoadImage alone, and keep '
                'annotations in local files')
        self.left_out = Report()
        self.filtered = Report()
        self.noted = Report()
        super().full_init()
        self._log()

    def filter_data(self) -> list[dict[str, Any]]:
        """Filter like MMDetection, and count."""
        if not self.data_list:
            raise UserError(f'{self.ann_file} lists no image at all')
        kept: list[dict[str, Any]] = super().filter_data()
        kept_ids = {id(item) for item in kept}
        min_size = (self.filter_cfg or {}).get('min_size', 0)
        for item in self.data_list:
            if id(item) not in kept_ids:
                small = min(item['width'], item['height']) < min_size
                self.filtered.add(
                    f'smaller than {min_size} px' if small else 'without objects',
                    item['img_path'])
        if not kept:
            raise UserError(
                f'no image of {self.ann_file} is left by filter_cfg={self.filter_cfg}: '
                f'{self.filtered}' + (f'; boxes left out: {self.left_out}'
                                      if self.left_out.counts else ''))
        crowds = self._take_crowds(kept)
        self._counts = (
            len(kept),
            sum(not instance['ignore_flag'] for item in kept for instance in item['instances']),
            crowds,
            sum(instance['ignore_flag'] for item in kept for instance in item['instances']))
        self._details = self._describe(kept)
        return kept

    def _take_crowds(self, kept: list[dict[str, Any]]) -> int:
        """Turn crowds into objects if an option says so; return their number."""
        return 0

    def _describe(self, kept: list[dict[str, Any]]) -> tuple[str, bool]:
        """Return a further log message about the samples, and whether it is a warning."""
        return '', False

    def _log(self) -> None:
        """Log what was read and what was left out, in one line."""
        images, boxes, crowds, ignored = self._counts
        parts = [f'{self.ann_file}: {images} images, {boxes} boxes']
        if crowds:
            parts.append(f', {crowds} of them crowds')
        if ignored:
            parts.append(f' and {ignored} to ignore (crowd, difficult or too small)')
        if not boxes and not self.test_mode:
            parts.append(' (there is nothing to learn from)')
        details, warn = self._details
        parts.append(details)
        if self.filtered.counts:
            parts.append(f'. Images left out by filter_cfg: {self.filtered}')
        if self.left_out.counts:
            parts.append(f'. Boxes left out: {self.left_out}')
        if self.noted.counts:
            parts.append(f'. Noted: {self.noted}')
        warn = bool(warn or self.left_out.counts or self.noted.counts or not (
            boxes or self.test_mode))
        print_log(''.join(parts), logger='current',
                  level=logging.WARNING if warn else logging.INFO)

    def prepare_data(self, idx: int) -> Any:
        """Run the pipeline on one image, and warn if it drops the image.

        MMEngine then uses another image in its place without a message.
        """
        data = super().prepare_data(idx)
        if data is None and not getattr(self, '_said_dropped', False):
            self._said_dropped = True
            print_log(
                f'a transform of the pipeline dropped {self.get_data_info(idx)["img_path"]} '
                '(it returned None); a random other image takes its place. Further images '
                'are not reported.', logger='current', level=logging.WARNING)
        return data
