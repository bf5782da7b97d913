"""Metadata of an exported model: one JSON text in the file.

The text has the key ``mmdet_centernet``: among the properties of an ONNX model, in the
``rt_info`` of an OpenVINO model, beside the program in a ``.pt2`` archive. Its entries are those
of :class:`Metadata`, and ``format``, the version of the text itself.
"""
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mmdet_centernet.errors import UserError

KEY = 'mmdet_centernet'
FORMAT = 2
#: Least side, in pixels, of the input of a model of any size: its heatmap must be able to hold
#: every peak.
LEAST_SIDE = 64

Description = dict[str, Any]


@dataclass(frozen=True)
class InputFormat:
    """Format of the images that a model takes.

    Attributes:
        kind (str): ``'uint8'``, [B, H, W, 3] in BGR as OpenCV reads it, or ``'float'``,
            [B, 3, H, W], normalized.
        to_rgb (bool): of ``'float'``: channels are swapped to RGB first.
        mean, std (tuple[float, ...] | None): then the mean is subtracted and the result divided
            by the standard deviation, channel by channel. None: pixels keep their values.
    """

    kind: str
    to_rgb: bool
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None


@dataclass(frozen=True)
class Metadata:
    """Everything that a program has to know to use an exported model.

    Attributes:
        version (str): version of the package that wrote the file.
        config (str): name of the config.
        task (str): ``'detection'``, ``'pose'`` or ``'mono3d'``: how detections are drawn.
        classes (tuple[str, ...]): names of the labels.
        palette (tuple[tuple[int, ...], ...]): (r, g, b) of each class.
        dataset (dict): what else the data set says, such as its skeletons.
        properties (tuple[dict, ...]): for each property of the detections its ``type`` and what
            its ``describe`` returns: ``points``, outputs whose last dimension is a position
            (x, y) in pixels; ``attributes``, name -> ``kind`` and ``values``; ``shift_sizes``,
            the option of :class:`Box`; and entries of its own.
        stride (int): input pixels per cell of the heatmap.
        divisor (int): both sides of the input are multiples of it.
        shape (tuple[int, int] | None): (height, width) of the input; None: any.
        batch (int | None): number of images; None: any.
        inputs (tuple[str, ...]): names of the inputs: ``image``, and ``cam2img`` [B, 3, 4] if
            detections depend on the camera of the input.
        outputs (tuple[str, ...]): names of the outputs.
        input (InputFormat): format of the images.
        transform (dict): how an image becomes the input: ``type`` and options of the config's
            transform.
        test_cfg (dict): what remains to be done with the outputs: ``max_per_img``,
            ``score_thr``, ``clip_boxes``, ``nms``.
        flip (bool): the graph averages the outputs for the image and its flip.
        raw (bool): the outputs are the network's branches, not detections.
        dcn (str | None): how deformable convolutions are written, ``'grid_sample'`` or
            ``'deform_conv'``; None: there are none.
        opset (int | None): operator set of the ONNX model, or of the one that the OpenVINO model
            was converted from.
        precision (str): ``'float32'`` or ``'int8'``.
    """

    version: str
    config: str
    task: str
    classes: tuple[str, ...]
    palette: tuple[tuple[int, ...], ...]
    dataset: dict[str, Any]
    properties: tuple[Description, ...]
    stride: int
    divisor: int
    shape: tuple[int, int] | None
    batch: int | None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    input: InputFormat
    transform: dict[str, Any]
    test_cfg: dict[str, Any]
    flip: bool
    raw: bool
    dcn: str | None
    opset: int | None
    precision: str

    @property
    def points(self) -> tuple[str, ...]:
        """Names of the outputs whose last dimension is x, y or x, y, x, y in pixels."""
        named = ['bboxes', *(name for each in self.properties for name in each.get('points', ()))]
        return tuple(name for name in dict.fromkeys(named) if name in self.outputs)

    @property
    def shifts_sizes(self) -> bool:
        """True if box sizes are shifted with the image; see ``shift_sizes`` of :class:`Box`."""
        return any(each.get('shift_sizes') for each in self.properties)

    @property
    def attributes(self) -> dict[str, Description]:
        """Kind and value names of each attribute of the objects."""
        return merge_attributes(self.properties)

    @property
    def needs_camera(self) -> bool:
        """True if detections depend on the camera."""
        return 'cam2img' in self.inputs

    @property
    def dataset_meta(self) -> dict[str, Any]:
        """The data set's metainfo as in MMDetection: classes, palette and what else it says."""
        return dict(self.dataset, classes=self.classes, palette=list(self.palette))


def merge_attributes(descriptions: Iterable[Description]) -> dict[str, Description]:
    """Return kind and value names by attribute from what properties' ``describe`` returns."""
    return {name: each for description in descriptions
            for name, each in description.get('attributes', {}).items()}


def dump(metadata: Metadata) -> str:
    """Write metadata as text."""
    return json.dumps(dict(format=FORMAT, **asdict(metadata)))


def parse(text: str | None, path: str | Path) -> Metadata:
    """Read metadata from text.

    Args:
        text (str | None): text in the file; None: it has none.
        path (str | Path): path of the file, for errors.

    Raises:
        UserError: if the text was not written by this package, or in another format.
    """
    unknown = UserError(
        f'{path} does not say what its classes and inputs are, unlike models that '
        'tools/deployment/export.py wrote: export the checkpoint with it')
    try:
        fields = json.loads(text or '')
        version = fields.pop('format')
    except (AttributeError, KeyError, TypeError, ValueError):
        raise unknown from None
    if version != FORMAT:
        raise UserError(
            f'{path} was exported by version {fields.get("version")} of mmdet_centernet in format '
            f'{version}, but this version reads format {FORMAT}: install that version, or export '
            'the checkpoint again')
    try:
        fields['input'] = InputFormat(**_restore(fields['input'], 'mean', 'std'))
        fields['palette'] = tuple(map(tuple, fields['palette']))
        fields['dataset'] = _restore_dataset(fields['dataset'])
        return Metadata(**_restore(
            fields, 'classes', 'properties', 'shape', 'inputs', 'outputs'))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise unknown from None


def _restore(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    """Return entries with tuples in place of the named lists."""
    return {name: tuple(value) if name in names and isinstance(value, list) else value
            for name, value in fields.items()}


def _restore_dataset(value: Any) -> Any:
    """Undo what JSON changes in metainfo: keys of dictionaries by id, and tuples in lists."""
    if isinstance(value, dict):
        return {name: {int(key): each for key, each in entry.items()}
                if name == 'keypoint_id2name' else _restore_dataset(entry)
                for name, entry in value.items()}
    if isinstance(value, list):
        return [tuple(each) if isinstance(each, list) else each for each in value]
    return value
