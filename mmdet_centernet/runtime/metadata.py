"""What an exported model says of itself: one JSON text in the file.

It stands under the key ``mmdet_centernet``: among the properties of an ONNX model, in the
``rt_info`` of an OpenVINO one, beside the program in a ``.pt2`` archive. Reading it takes no
torch. Its entries:

* ``format``: of this text, an int; ``version``: of the package; ``config``: its name.
* ``task``: ``'detection'``, ``'pose'`` or ``'mono3d'``.
* ``classes``, ``palette`` ([r, g, b] each), ``skeleton`` (of joints, null without).
* ``stride``: input pixels per cell; ``divisor``: both sides of the input are multiples of it.
* ``shape``: [height, width] of the input, null for any; ``batch``: images, null for any.
* ``input``: ``kind``, ``'uint8'`` ([B, H, W, 3] in BGR, as OpenCV reads it) or ``'float'``
  ([B, 3, H, W], swapped to RGB if ``to_rgb``, less ``mean``, over ``std``).
* ``transform``: how an image becomes the input, the config's transform with its options.
* ``test_cfg``: what is left to do behind the graph: ``max_per_img``, ``score_thr``,
  ``clip_boxes``, ``nms``, ``shift_sizes``.
* ``flip``: whether the outputs for the mirrored image are averaged inside.
* ``raw``: whether the outputs are the network's branches, not detections.
* ``outputs``: their names.
* ``dcn``: how deformable convolutions are written, ``'grid_sample'`` or ``'deform_conv'``, null
  without any.
* ``opset``: of an ONNX model, or of the one that an OpenVINO model was made of, else null.
* ``precision``: ``'float32'`` or ``'int8'``.
"""
import json

from mmdet_centernet.errors import UserError

KEY = 'mmdet_centernet'
FORMAT = 1
#: Pixels that both sides of the input of a model of any size have at least: its heat map has to
#: hold every peak.
LEAST_SIDE = 64


def dump(fields):
    """The text of a dict of the entries above."""
    return json.dumps(fields)


def parse(text, path):
    """The entries of a text.

    Args:
        text (str | None): None if the file has none.
        path (str): Of the file, for errors.

    Returns:
        dict: Of the entries.

    Raises:
        UserError: If the file is none of ours, or of a newer version.
    """
    try:
        fields = json.loads(text)
        version = fields['format']
    except (TypeError, KeyError, ValueError):
        raise UserError(
            f'{path} does not say what its classes and inputs are, as models do that '
            'tools/deployment/export.py wrote: export the checkpoint with it') from None
    if version != FORMAT:
        raise UserError(
            f'{path} was exported by version {fields.get("version")} of mmdet_centernet, in a '
            f'format ({version}) that this one does not read ({FORMAT}): install that version, '
            'or export the checkpoint again')
    return fields
