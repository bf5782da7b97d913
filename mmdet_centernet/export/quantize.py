"""Quantise exported models to 8 bits, calibrated on images.

NNCF's post-training quantisation of the ONNX model, for both formats: the ONNX file has
QuantizeLinear and DequantizeLinear in it, and OpenVINO's is translated from that. Tried on a
trained pose model (lite0; AP of joints 0.621, of boxes 0.694): NNCF 0.622 and 0.701 in ONNX
Runtime, 0.620 and 0.698 in OpenVINO; NNCF on OpenVINO's model 0.624 and 0.701, no faster; ONNX
Runtime's ``quantize_static`` 0.595 and 0.678. NNCF mends the layers' means (fast bias correction)
and knows where quantised values may pass on unchanged; its scales are symmetric, which processors
multiply fastest.

In float stay what comes before the first convolution, all behind the branches' last convolutions,
and of deformable convolutions where they read and the reading itself: positions need more than
256 steps. The last convolutions gain no AP in float (joints 0.620 instead of 0.626), and ONNX
Runtime, which fuses only what is quantised on both sides, is 1.2 times faster with them.
"""
import logging
import os
import re
from pathlib import Path

import numpy as np
import onnx
import onnxscript.optimizer

from mmdet_centernet.errors import UserError
from mmdet_centernet.export.evaluate import evaluate
from mmdet_centernet.export.onnx import with_property
from mmdet_centernet.io.inputs import images_of, read_image
from mmdet_centernet.ops.boxes_numpy import box_overlaps
from mmdet_centernet.runtime import metadata
from mmdet_centernet.runtime.detector import Detector

# NNCF reports each use to Google Analytics, unless this is set before it is imported.
os.environ.setdefault('NNCF_CI', '1')
import nncf  # noqa: E402

#: Fewer images give scales that hold for these images only.
FEWEST_IMAGES = 8
#: More change the scales no more, and take time; they are taken from all of the folder.
MOST_IMAGES = 128
#: Images that a quantised model is compared on.
CHECKED_IMAGES = 8
#: Detections that score so much have to be found again, ...
CONFIDENT = 0.3
#: ... that is, a box of their class that overlaps this much, ...
SAME_IOU = 0.5
#: ... and as many of them. A wrong quantisation finds hardly any; scores near the threshold and
#: crowded objects make some differ.
FOUND_AGAIN = 0.7

CONVOLUTIONS = ('Conv', 'ConvTranspose')
#: Operators that read at computed positions -> which of their inputs are no features.
READERS = {'GridSample': (1,), 'DeformConv': (2, 4)}


def calibration_images(folder):
    """The images of a folder that a model is calibrated on.

    Args:
        folder (str | Path): Its images, subfolders left out, are listed by name and
            ``MOST_IMAGES`` of them taken at equal distances.

    Returns:
        list[str]: Paths.

    Raises:
        UserError: If it is no folder or has fewer than ``FEWEST_IMAGES``.
    """
    if not os.path.isdir(folder):
        raise UserError(f'--int8 {folder} is no folder: give one with images such as the model '
                        'will see')
    files = images_of(folder)
    if len(files) < FEWEST_IMAGES:
        raise UserError(f'--int8 {folder} holds {len(files)} image(s), but calibration needs at '
                        f'least {FEWEST_IMAGES}: add some such as the model will see')
    if len(files) > MOST_IMAGES:
        places = np.linspace(0, len(files) - 1, MOST_IMAGES).round().astype(int)
        files = [files[place] for place in places]
    return files


def quantize_file(source, place, files, say=print):
    """Quantise a model, and see that it still finds what it found.

    Args:
        source (Path): ``*.onnx``, in float32.
        place (Path): ``*.onnx`` or ``*.xml``, to write.
        files (list[str]): Images, of :func:`calibration_images`.
        say (callable): Gets a line of text about what was found again.

    Returns:
        dict: The metadata of the new file.

    Raises:
        UserError: If an image cannot be read, or the quantised model finds other things.
    """
    before = Detector(source)
    model = quantize(onnx.load(source), _Inputs(before, files))
    meta = dict(before.metadata, precision='int8')
    text = metadata.dump(meta)
    if place.suffix == '.xml':
        from mmdet_centernet.export import openvino
        openvino.write(model, place, text)
    else:
        model = with_property(model, metadata.KEY, text)
        place.write_bytes(model.SerializeToString())
    after = Detector(place)
    images = [read_image(file) for file in files[:CHECKED_IMAGES]]
    cameras = [neutral_camera(image) for image in images] if before.needs_camera else None
    wrong, seen = fault(before.detect(images, cameras), after.detect(images, cameras))
    if wrong:
        raise UserError(f'the model was not written, because quantised with the {len(files)} '
                        f'images of {Path(files[0]).parent} {wrong}: calibrate on images such as '
                        'the model was trained on, or export without --int8')
    say(f'quantised with {len(files)} images: {seen}')
    return meta


def quantize(model, inputs):
    """Quantise an ONNX model.

    Args:
        model (onnx.ModelProto): Of :mod:`onnx_file`. Changed.
        inputs (iterable[dict[str, ndarray]]): For calibration, one after the other.

    Returns:
        onnx.ModelProto
    """
    # A deformable convolution's weights are reshaped: constants, if that is done now.
    model = onnxscript.optimizer.optimize(
        model, input_size_limit=2**31, output_size_limit=2**31)
    for node in model.graph.node:  # some have no name
        node.name = node.output[0]
    nncf.set_log_level(logging.ERROR)
    quantised = nncf.quantize(
        model, nncf.Dataset(inputs), subset_size=len(inputs),
        target_device=nncf.TargetDevice.CPU,
        ignored_scope=nncf.IgnoredScope(names=float_nodes(model.graph)))
    onnx.checker.check_model(quantised)
    return quantised


def compare(config, before, after, say=print):
    """Test a model before and after it was quantised, on the config's test data.

    Args:
        config (Config): With test data and evaluator.
        before, after (Path): Models.
        say (callable): Gets a line of text with the main figure of each metric.

    Raises:
        UserError: If the data cannot be read, or have other classes than the model.
    """
    figures = [evaluate(config, Detector(path)) for path in (before, after)]
    for name in main_figures(figures[0]):
        one, other = (each[name] for each in figures)
        say(f'{name}: {one:.4f} in float32, {other:.4f} in int8, {one - other:+.4f} lost')


def main_figures(figures):
    """Names of those that metrics are compared by.

    Args:
        figures (dict[str, float]): Of :func:`evaluate`.

    Returns:
        list[str]: COCO's ``bbox_mAP`` and ``AP``, VOC's ``mAP``, KITTI's of all classes at
        moderate difficulty; all if there are none.
    """
    return [name for name in figures if re.fullmatch(
        r'((bbox_)?m?AP|mean_moderate_.*)', name.split('/')[-1])] or list(figures)


def float_nodes(graph):
    """Nodes that are not quantised.

    Args:
        graph (onnx.GraphProto): Of a detector, every node with a name.

    Returns:
        list[str]: Names, sorted.
    """
    makers, users = {}, {}
    for node in graph.node:
        for links, values in ((makers, node.output), (users, node.input)):
            for value in values:
                links.setdefault(value, []).append(node)
    readers = [node for node in graph.node if node.op_type in READERS]
    positions = [node.input[index] for node in readers for index in READERS[node.op_type]
                 if index < len(node.input)]
    read = [value for node in readers for value in node.output]
    reading, shifts = _walk(positions, makers, 'input')
    decoding, _ = _walk([value.name for value in graph.output], makers, 'input')
    before, _ = _walk([value.name for value in graph.input], users, 'output')
    after, _ = _walk(read, users, 'output')
    return sorted({node.name for node in readers}.union(reading, shifts, decoding, before, after))


def _walk(values, links, side):
    """Names of the nodes from some values up or down to convolutions; of these convolutions."""
    names, convolutions, waiting = set(), set(), list(values)
    while waiting:
        for node in links.get(waiting.pop(), ()):
            if node.op_type in CONVOLUTIONS:
                convolutions.add(node.name)
            elif node.name not in names:
                names.add(node.name)
                waiting += getattr(node, side)
    return names, convolutions


def neutral_camera(image):
    """A camera that looks at the middle of an image, for models that ask for one: it enters only
    what is not quantised.

    Args:
        image (ndarray[H, W, 3])

    Returns:
        ndarray[3, 4]: float64.
    """
    height, width = image.shape[:2]
    focal = max(height, width)
    return np.array([[focal, 0, width / 2, 0], [0, focal, height / 2, 0], [0, 0, 1, 0]], float)


def fault(expected, found):
    """What is wrong with a quantised model, if anything.

    Args:
        expected, found (list[dict[str, ndarray]]): Detections of some images, of the model in
            float and in 8 bits.

    Returns:
        tuple[str | None, str]: The fault; what was seen, for the user.
    """
    again = total = 0
    for one, other in zip(expected, found, strict=True):
        for name, values in other.items():
            if not np.isfinite(values).all() and np.isfinite(one[name]).all():
                return f'its {name} have values that are no numbers', ''
        sure = one['scores'] >= CONFIDENT
        total += int(sure.sum())
        for box, label in zip(one['bboxes'][sure], one['labels'][sure], strict=True):
            same = other['bboxes'][(other['labels'] == label)
                                   & (other['scores'] >= CONFIDENT / 2)]
            again += bool((box_overlaps(box[None], same) > SAME_IOU).any())
    if not total:
        return None, (f'nothing scores {CONFIDENT} in them, so that there was nothing to compare '
                      'by')
    seen = f'{again} of {total} detections that score {CONFIDENT} were found again'
    if again < FOUND_AGAIN * total:
        return f'only {again} of {total} detections that score {CONFIDENT} were found again', seen
    return None, seen


class _Inputs:
    """What a model takes for each of some images, read when they are needed."""

    def __init__(self, detector, files):
        self._detector, self._files = detector, files

    def __len__(self):
        return len(self._files)

    def __iter__(self):
        for file in self._files:
            image = read_image(file)
            camera = neutral_camera(image) if self._detector.needs_camera else None
            yield self._feeds(self._detector.prepare(image, camera, file))

    def _feeds(self, prepared):
        meta = self._detector.metadata
        image, count = prepared.image, meta['batch'] or 1
        if meta['input']['kind'] == 'float':  # as such an image is padded when it is detected on
            image = np.pad(image, [(0, 0)] + [
                (0, -side % meta['divisor']) for side in image.shape[1:]])
        feeds = dict(image=np.stack([image] * count))
        if self._detector.needs_camera:
            feeds['cam2img'] = np.stack([prepared.cam2img] * count).astype(np.float32)
        return feeds
