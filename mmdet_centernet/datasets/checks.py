"""What the data sets share: count what they leave out, and never skip in silence."""
import logging
import math
from collections import defaultdict

from mmengine import fileio
from mmengine.logging import print_log

from mmdet_centernet.errors import UserError

# How many examples of each reason the log names.
MAX_EXAMPLES = 3
# How many class names a sentence lists.
MAX_NAMES = 8


class Report:
    """Counts of left-out items by reason, with the first few named."""

    def __init__(self):
        self.counts = defaultdict(int)
        self.examples = defaultdict(list)

    def add(self, reason, example):
        """Count one more item; ``example`` (str) names it."""
        self.counts[reason] += 1
        if len(self.examples[reason]) < MAX_EXAMPLES:
            self.examples[reason].append(example)

    def __str__(self):
        return '; '.join(
            f'{count} {reason} ({", ".join(self.examples[reason])}'
            f'{", ..." if count > MAX_EXAMPLES else ""})'
            for reason, count in self.counts.items())


def list_names(names):
    """Class names for a sentence, as Python would have them, the first few of many."""
    names = list(names)
    shown = ', '.join(repr(name) for name in names[:MAX_NAMES])
    if len(names) > MAX_NAMES:
        return f'({shown}, ... {len(names)} in all)'
    return f'({shown}{"," if len(names) == 1 else ""})'


def is_number(value):
    """Whether ``value`` is a finite int or float."""
    return isinstance(value, (int, float)) and math.isfinite(value)


def box_fault(x, y, width, height, image_width, image_height, min_side=0):
    """Why a box cannot be used.

    Args:
        x, y, width, height (float): the box, px; finite.
        image_width, image_height (int): px.
        min_side (float): a width and height below this is a fault, px.

    Returns:
        str | None: the reason, to follow a count; None if there is none.
    """
    if width <= 0 or height <= 0:
        return 'with zero or negative width or height'
    if width < min_side or height < min_side:
        return f'with a side below {min_side} px'
    if x >= image_width or y >= image_height or x + width <= 0 or y + height <= 0:
        return 'outside the image'
    return None


class CheckedDataset:
    """Mixin before one of MMDetection's data sets: checks, counts, one log line.

    The subclass adds to ``self.left_out`` what it leaves out while it loads, and to
    ``self.noted`` what it keeps but takes for something else than it says.
    """

    def full_init(self):
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

    def filter_data(self):
        """Filter as MMDetection does, and count."""
        if not self.data_list:
            raise UserError(f'{self.ann_file} lists no image at all')
        kept = super().filter_data()
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

    def _take_crowds(self, kept):
        """Make objects of crowds where a data set is asked to; return how many there were."""
        return 0

    def _describe(self, kept):
        """What else the log is to say of the samples, and whether it is a warning."""
        return '', False

    def _log(self):
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
        warn = warn or self.left_out.counts or self.noted.counts or not (
            boxes or self.test_mode)
        print_log(''.join(parts), logger='current',
                  level=logging.WARNING if warn else logging.INFO)

    def prepare_data(self, idx):
        """Run the pipeline on one image; say so when it drops the image.

        MMEngine then takes another image in its place, without a word.
        """
        data = super().prepare_data(idx)
        if data is None and not getattr(self, '_said_dropped', False):
            self._said_dropped = True
            print_log(
                f'a transform of the pipeline dropped {self.get_data_info(idx)["img_path"]} '
                '(it returned None); a random other image takes its place. Further images '
                'are not reported.', logger='current', level=logging.WARNING)
        return data
