"""8-bit quantization of exported models, calibrated on images.

NNCF's post-training quantization is applied to the ONNX model, for both formats: the ONNX file
contains QuantizeLinear and DequantizeLinear, and OpenVINO's is converted from it. Measured on a
trained pose model (lite0; AP of keypoints 0.621, of boxes 0.694): NNCF 0.622 and 0.701 in ONNX
Runtime, 0.620 and 0.698 in OpenVINO; NNCF on OpenVINO's model 0.624 and 0.701, not faster; ONNX
Runtime's ``quantize_static`` 0.595 and 0.678. NNCF corrects the means of the layers (fast bias
correction) and knows where quantized values may pass unchanged. Its scales are symmetric, which
processors multiply fastest.

These stay in float: everything before the first convolution, everything after the last
convolution of each branch, and the offsets and sampling of deformable convolutions, because
positions need more than 256 steps. The last convolutions gain no AP in float (keypoints 0.620
instead of 0.626), and ONNX Runtime, which only fuses what is quantized on both sides, is 1.2
times faster with them.
"""
import logging
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxscript.optimizer
from mmengine.config import Config
from numpy.typing import NDArray

from mmdet_centernet.errors import UserError
from mmdet_centernet.export.evaluate import evaluate
from mmdet_centernet.export.onnx import with_property
from mmdet_centernet.io.inputs import images_of, read_image
from mmdet_centernet.ops.boxes_numpy import box_overlaps
from mmdet_centernet.runtime.detector import Detections, Detector, Prepared
from mmdet_centernet.runtime.metadata import KEY, Metadata, dump

# NNCF reports each use to Google Analytics, unless this is set before it is imported.
os.environ.setdefault('NNCF_CI', '1')
import nncf  # noqa: E402

#: With fewer images the scales fit these images only.
FEWEST_IMAGES = 8
#: More images take time and do not change the scales. They are spread over the folder.
MOST_IMAGES = 128
#: Images that a quantized model is compared on.
CHECKED_IMAGES = 8
#: Detections that score at least this much must be found again: ...
CONFIDENT = 0.3
#: ... a box of their class must overlap more than this, ...
SAME_IOU = 0.5
#: ... for this fraction of them. A wrong quantization finds hardly any. Scores near the threshold
#: and crowded objects account for some differences.
FOUND_AGAIN = 0.7

CONVOLUTIONS = ('Conv', 'ConvTranspose')
#: Operators that read at computed positions -> those of their inputs that are not features.
READERS = {'GridSample': (1,), 'DeformConv': (2, 4)}

Links = dict[str, list[onnx.NodeProto]]


def calibration_images(folder: str | os.PathLike[str]) -> list[str]:
    """Return paths of the images of a folder that a model is calibrated on.

    Args:
        folder (str | Path): its images, without subfolders, are listed by name, and
            ``MOST_IMAGES`` of them selected at equal distances.

    Raises:
        UserError: if it is not a folder, or has fewer than ``FEWEST_IMAGES``.
    """
    if not os.path.isdir(folder):
        raise UserError(f'--int8 {folder} is not a directory: give one with images such as the '
                        'model will see')
    files = [file for file in images_of(folder) if isinstance(file, str)]
    if len(files) < FEWEST_IMAGES:
        raise UserError(f'--int8 {folder} has {len(files)} image(s), but calibration needs at '
                        f'least {FEWEST_IMAGES}: add some such as the model will see')
    if len(files) > MOST_IMAGES:
        places = np.linspace(0, len(files) - 1, MOST_IMAGES).round().astype(int)
        files = [files[place] for place in places]
    return files


def quantize_file(
    source: Path, place: Path, files: Sequence[str], say: Callable[[str], object] = print
) -> Metadata:
    """Quantize a model, and check that it still detects the same.

    Args:
        source (Path): ``*.onnx``, in float32.
        place (Path): ``*.onnx`` or ``*.xml``, to write.
        files (list[str]): images, of :func:`calibration_images`.
        say (Callable): gets a line of text about what was found again.

    Returns:
        Metadata: of the new file.

    Raises:
        UserError: if an image cannot be read, or the quantized model detects something else.
    """
    before = Detector(source)
    model = quantize(onnx.load(source), _Inputs(before, files))
    metadata = replace(before.metadata, precision='int8')
    if place.suffix == '.xml':
        from mmdet_centernet.export import openvino
        openvino.write(model, place, dump(metadata))
    else:
        model = with_property(model, KEY, dump(metadata))
        place.write_bytes(model.SerializeToString())
    after = Detector(place)
    images = [read_image(file) for file in files[:CHECKED_IMAGES]]
    cameras = [neutral_camera(image) for image in images] if metadata.needs_camera else None
    fault, seen = find_fault(before.detect(images, cameras), after.detect(images, cameras))
    if fault:
        raise UserError(
            f'the model was not written, because after quantization with the {len(files)} images '
            f'of {Path(files[0]).parent} {fault}: calibrate on images such as the model was '
            'trained on, or export without --int8')
    say(f'quantized with {len(files)} images: {seen}')
    return metadata


def quantize(
    model: onnx.ModelProto, inputs: 'Sequence[Mapping[str, NDArray[Any]]] | _Inputs'
) -> onnx.ModelProto:
    """Quantize an ONNX model.

    Args:
        model (onnx.ModelProto): of :mod:`mmdet_centernet.export.onnx`. It is changed.
        inputs (Sequence[dict[str, ndarray]]): for calibration, one after the other.
    """
    # The reshaped weights of deformable convolutions become constants.
    model = onnxscript.optimizer.optimize(
        model, input_size_limit=2**31, output_size_limit=2**31)
    for node in model.graph.node:  # some have no name
        node.name = node.output[0]
    nncf.set_log_level(logging.ERROR)
    quantized: onnx.ModelProto = nncf.quantize(
        model, nncf.Dataset(inputs), subset_size=len(inputs),
        target_device=nncf.TargetDevice.CPU,
        ignored_scope=nncf.IgnoredScope(names=float_nodes(model.graph)))
    onnx.checker.check_model(quantized)
    return quantized


def compare(
    config: Config, before: Path, after: Path, say: Callable[[str], object] = print
) -> None:
    """Test a model before and after quantization on the config's test data.

    Args:
        config (Config): with test data and evaluator.
        before, after (Path): models.
        say (Callable): gets a line of text with the main figure of each metric.

    Raises:
        UserError: if the data cannot be read, or have other classes than the model.
    """
    figures = [evaluate(config, Detector(path)) for path in (before, after)]
    for name in main_figures(figures[0]):
        one, other = (each[name] for each in figures)
        say(f'{name}: {one:.4f} in float32, {other:.4f} in int8, {one - other:+.4f} lost')


def main_figures(figures: Mapping[str, float]) -> list[str]:
    """Return the names of the figures that models are compared by.

    They are COCO's ``bbox_mAP`` and ``AP``, VOC's ``mAP``, and KITTI's of all classes at
    moderate difficulty; all figures if there are none of these.

    Args:
        figures (dict[str, float]): of :func:`evaluate`.
    """
    return [name for name in figures if re.fullmatch(
        r'((bbox_)?m?AP|mean_moderate_.*)', name.split('/')[-1])] or list(figures)


def float_nodes(graph: onnx.GraphProto) -> list[str]:
    """Return the sorted names of the nodes that are not quantized.

    Args:
        graph (onnx.GraphProto): of a detector, every node with a name.
    """
    makers: Links = {}
    users: Links = {}
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


def _walk(values: Iterable[str], links: Links, side: str) -> tuple[set[str], set[str]]:
    """Walk from values along links to the nearest convolutions.

    Returns:
        tuple[set[str], set[str]]: names of the nodes on the way; of the convolutions.
    """
    names: set[str] = set()
    convolutions: set[str] = set()
    waiting = list(values)
    while waiting:
        for node in links.get(waiting.pop(), ()):
            if node.op_type in CONVOLUTIONS:
                convolutions.add(node.name)
            elif node.name not in names:
                names.add(node.name)
                waiting += getattr(node, side)
    return names, convolutions


def neutral_camera(image: NDArray[Any]) -> NDArray[np.float64]:
    """Return a camera [3, 4] that looks at the middle of an image [H, W, 3].

    It stands in for the real one, because only what stays in float depends on it.
    """
    height, width = image.shape[:2]
    focal = max(height, width)
    return np.array([[focal, 0, width / 2, 0], [0, focal, height / 2, 0], [0, 0, 1, 0]], float)


def find_fault(
    expected: Sequence[Detections], found: Sequence[Detections]
) -> tuple[str | None, str]:
    """Compare the detections of a quantized model with those of the model in float.

    Args:
        expected, found (list[dict[str, ndarray]]): detections in some images, of the model in
            float and in 8 bits.

    Returns:
        tuple[str | None, str]: what is wrong with the model, if anything; what was seen, for the
        user.
    """
    again = total = 0
    for one, other in zip(expected, found, strict=True):
        for name, values in other.items():
            if not np.isfinite(values).all() and np.isfinite(one[name]).all():
                return f'its {name} have values that are not finite', ''
        near = np.ones((len(one['scores']), len(other['scores'])), bool)
        if 'bboxes' in one:
            near = box_overlaps(one['bboxes'], other['bboxes']) > SAME_IOU
        near &= one['labels'][:, None] == other['labels']
        near &= other['scores'] >= CONFIDENT / 2
        confident = one['scores'] >= CONFIDENT
        total += int(confident.sum())
        again += int(near[confident].any(axis=1).sum())
    if not total:
        return None, (f'none of them has a detection that scores {CONFIDENT}, so that there was '
                      'nothing to compare')
    seen = f'{again} of {total} detections that score {CONFIDENT} were found again'
    return (f'only {seen}' if again < FOUND_AGAIN * total else None), seen


class _Inputs:
    """Inputs of a model for each of some images, read when they are needed."""

    def __init__(self, detector: Detector, files: Sequence[str]) -> None:
        self._detector, self._files = detector, files

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        for file in self._files:
            image = read_image(file)
            camera = neutral_camera(image) if self._detector.metadata.needs_camera else None
            yield self._feeds(self._detector.prepare(image, camera, file))

    def _feeds(self, prepared: Prepared) -> dict[str, NDArray[Any]]:
        metadata = self._detector.metadata
        image, count = prepared.image, metadata.batch or 1
        if metadata.input.kind == 'float':  # padded as in detection
            image = np.pad(image, [(0, 0), *(
                (0, -side % metadata.divisor) for side in image.shape[1:])])
        feeds = dict(image=np.stack([image] * count))
        if metadata.needs_camera:
            feeds['cam2img'] = np.array([prepared.cam2img] * count, np.float32)
        return feeds
