"""Detection with an exported model: numpy, OpenCV and a runtime are enough."""
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from mmdet_centernet.errors import UserError
from mmdet_centernet.ops.affine import fit_warp, pad_warp
from mmdet_centernet.ops.boxes_numpy import nms
from mmdet_centernet.runtime.backends import one_line, open_model
from mmdet_centernet.runtime.metadata import LEAST_SIDE, parse

EXPORT = 'tools/deployment/export.py'
# What OpenCV and Pillow call the interpolations of mmdet.Resize.
_CV2 = dict(nearest=cv2.INTER_NEAREST, bilinear=cv2.INTER_LINEAR, bicubic=cv2.INTER_CUBIC,
            area=cv2.INTER_AREA, lanczos=cv2.INTER_LANCZOS4)


class Prepared(NamedTuple):
    """An image as the network takes it.

    Attributes:
        image (ndarray): uint8 [H, W, 3] in BGR, or float32 [3, H, W], normalised.
        homography (ndarray[3, 3]): float32, pixels of the original -> of the input.
        size (tuple[int, int]): (width, height) of the original.
        cam2img (ndarray[3, 4] | None): float64, camera of the input.
    """

    image: Any
    homography: Any
    size: tuple
    cam2img: Any


class Detector:
    """An exported model that detects in images in memory.

    Args:
        model (str | Path): ``*.onnx``, ``*.xml`` or ``*.pt2`` of ``tools/deployment/export.py``.
        backend, device, threads, precision: See
            :func:`mmdet_centernet.runtime.backends.open_model`.
        tta (str, optional): ``'flip'`` insists that the model averages with the flipped image,
            which is decided when it is exported. None: as it was exported.
        clip_boxes (bool, optional): Clip boxes to the image. None: as the config's
            ``test_cfg`` said.

    Attributes:
        metadata (dict): See :mod:`mmdet_centernet.runtime.metadata`.
        dataset_meta (dict): ``classes`` (tuple of str), ``palette`` (list of RGB), and of a
            pose model its skeleton, as far as known.

    Raises:
        UserError: If the file is not an exported model, cannot be loaded or is not what is
            asked for, or the runtime or device is missing.
    """

    def __init__(self, model, backend=None, device='cpu', threads=None, tta=None,
                 clip_boxes=None, precision=None):
        self.path = Path(model)
        self._runtime = open_model(self.path, backend, device, threads, precision)
        meta = self.metadata = parse(self._runtime.metadata, self.path)
        if meta['raw']:
            raise UserError(f'model {self.path} was exported with --raw, so it puts out heat maps '
                            f'and no detections: export it with {EXPORT} without it')
        if tta not in (None, 'flip'):
            raise UserError(f'tta={tta!r} is not what exported models do: export with --flip and '
                            "give tta='flip', or use CenterNetInferencer")
        if tta == 'flip' and not meta['flip']:
            raise UserError(f"tta='flip', but model {self.path} does not see images mirrored: "
                            f'export it with {EXPORT} --flip')
        self._test_cfg = dict(meta['test_cfg'])
        if clip_boxes is not None:
            self._test_cfg['clip_boxes'] = clip_boxes
        self.dataset_meta = _dataset_meta(meta)

    @property
    def needs_camera(self):
        """Whether the model finds boxes in space."""
        return self.metadata['task'] == 'mono3d'

    def detect(self, images, cameras=None, names=None):
        """Detections of images in memory, all of them as one batch.

        Args:
            images (list[ndarray]): uint8 [H, W, 3], BGR.
            cameras (list[ndarray[3, 4]], optional): Of a 3D model: that of each image.
            names (list[str], optional): Of the images in errors.

        Returns:
            list[dict[str, ndarray]]: What :meth:`__call__` gives, float32 and int64.
        """
        return self._detect([
            self.prepare(image, None if cameras is None else cameras[place],
                         f'images[{place}]' if names is None else names[place])
            for place, image in enumerate(images)])

    # From images to inputs.

    def prepare(self, image, cam2img=None, name='the image'):
        """An image as the network takes it.

        Args:
            image (ndarray[H, W, 3]): uint8, BGR.
            cam2img (ndarray[3, 4], optional): Its camera.
            name (str): Of the image in errors.

        Returns:
            Prepared: Of the model's one size, or of its own, but with a wider border than the
            inferencer's if that is less than 64 px.

        Raises:
            UserError: If its size cannot be one that the model takes.
        """
        size = image.shape[1::-1]
        options = self.metadata['transform']
        if options['type'] == 'Resize':
            image, matrix = _stretch(image, options)
        else:
            image, matrix = _warp(image, options, name)
        if self.metadata['shape'] is None:
            image = self._at_least(image)
        self._check_shape(image.shape[:2], name)
        if cam2img is not None:
            cam2img = matrix @ cam2img
        kind = self.metadata['input']
        if kind['kind'] == 'float':
            image = _normalise(image, kind)
        return Prepared(image, matrix.astype(np.float32), size, cam2img)

    def _at_least(self, image):
        """An input with a wider border to the right and below, if it is too small."""
        divisor = self.metadata['divisor']
        least = -(-LEAST_SIDE // divisor) * divisor
        height, width = image.shape[:2]
        if min(height, width) >= least:
            return image
        return cv2.copyMakeBorder(
            image, 0, max(least - height, 0), 0, max(least - width, 0), cv2.BORDER_CONSTANT,
            value=self.metadata['transform'].get('pad_value', 0))

    def _check_shape(self, shape, name):
        """Raise UserError unless the model takes inputs of a shape (H, W)."""
        wanted, divisor = self.metadata['shape'], self.metadata['divisor']
        if wanted is not None and tuple(shape) != tuple(wanted):
            raise UserError(
                f'{name} becomes an input of {shape[1]} x {shape[0]} px, but model {self.path} '
                f'takes {wanted[1]} x {wanted[0]} px: export it with {EXPORT} --dynamic')
        if wanted is None and self.metadata['input']['kind'] == 'uint8' and any(
                side % divisor for side in shape):
            raise UserError(
                f'{name} becomes an input of {shape[1]} x {shape[0]} px, but model {self.path} '
                f'takes multiples of {divisor} px: let the test pipeline of the config give '
                'these, and export it again')

    def chunk_size(self, batch_size):
        """How many images are detected together: ``batch_size``, and whole batches."""
        fixed = self.metadata['batch'] or 1
        return -(-batch_size // fixed) * fixed

    # From inputs to detections.

    def _detect(self, prepared):
        """Detections of some images, in pixels of the originals.

        Args:
            prepared (list[Prepared])

        Returns:
            list[dict[str, ndarray]]: One for each.
        """
        groups = {}
        pads = self.metadata['input']['kind'] == 'float'
        for place, sample in enumerate(prepared):
            groups.setdefault(() if pads else sample.image.shape, []).append(place)
        found = [None] * len(prepared)
        for places in groups.values():
            count = self.metadata['batch'] or len(places)
            for start in range(0, len(places), count):
                part = places[start:start + count]
                filled = part + part[-1:] * (count - len(part)) if (
                    self.metadata['batch']) else part
                outputs = self._run([prepared[place] for place in filled])
                for row, place in enumerate(part):
                    found[place] = self._finish(
                        {name: values[row] for name, values in outputs.items()},
                        prepared[place])
        return found

    def _run(self, prepared):
        """The model's outputs [B, K, ...] by name for one batch."""
        images = [sample.image for sample in prepared]
        pads = self.metadata['input']['kind'] == 'float'
        if pads:
            images = self._padded(images)
        feeds = dict(image=np.stack(images))
        if self.needs_camera:
            feeds['cam2img'] = np.stack(
                [sample.cam2img for sample in prepared]).astype(np.float32)
        try:
            outputs = self._runtime(feeds)
            if any(len(values) != len(images) for values in outputs):  # OpenVINO's way to fail
                raise RuntimeError('its outputs are not as many')
        except Exception as error:  # the runtimes' own, which have no class in common
            height, width = images[0].shape[-2:] if pads else images[0].shape[:2]
            raise UserError(f'model {self.path} cannot run on {len(images)} input(s) of {width} x '
                            f'{height} px: {one_line(error)}') from error
        return dict(zip(self.metadata['outputs'], outputs, strict=True))

    def _padded(self, images):
        """Normalised images [3, H, W], each in the upper left of the largest multiple."""
        divisor = self.metadata['divisor']
        height, width = (
            -(-max(image.shape[axis] for image in images) // divisor) * divisor
            for axis in (1, 2))
        if self.metadata['shape'] is not None:
            height, width = self.metadata['shape']
        return [np.pad(image, ((0, 0), (0, height - image.shape[1]), (0, width - image.shape[2])))
                for image in images]

    def _finish(self, decoded, sample):
        """One image's detections [K, ...]: to the original image, and those that count.

        As :meth:`CenterHead.predict_by_feat`.
        """
        cfg = self._test_cfg
        inverse = np.linalg.inv(sample.homography.astype(np.float64)).astype(np.float32)
        # Images are scaled and shifted and no more, so that corners of boxes move as points do.
        zoom, shift = inverse.diagonal()[:2], inverse[:2, 2]
        decoded = dict(decoded, bboxes=decoded['bboxes'] * np.tile(zoom, 2) + np.tile(shift, 2))
        if 'keypoints' in decoded:
            decoded['keypoints'] = decoded['keypoints'] * zoom + shift
        if cfg.get('shift_sizes'):
            decoded['bboxes'] = decoded['bboxes'] + np.concatenate((-shift, shift)) / 2
        if cfg.get('clip_boxes'):
            decoded['bboxes'] = decoded['bboxes'].clip(
                0, np.array(sample.size * 2, np.float32))
        # Scores fall, so that counting is selecting.
        count = int((decoded['scores'] > (cfg.get('score_thr') or 0)).sum())
        decoded = {name: values[:count] for name, values in decoded.items()}
        kept = np.arange(count)
        if cfg.get('nms'):
            kept = nms_by_config(
                decoded['bboxes'], decoded['scores'], decoded['labels'], cfg['nms'])
        kept = kept[:cfg.get('max_per_img') or 100]
        return {name: values[kept] for name, values in decoded.items()}

def _warp(image, options, name):
    """An image padded or fitted, and the matrix [3, 3] (float64) from its pixels.

    As :class:`CenterPad` and :class:`CenterResize` do.
    """
    size, scale = image.shape[1::-1], options.get('scale') or 1
    try:
        if options['type'] == 'CenterPad':
            scaled, matrix, out_size = pad_warp(size, options['pad_mask'], scale)
        else:
            scaled, matrix, out_size = fit_warp(
                size, tuple(options['size']), options['fit'], scale)
    except ValueError:
        raise UserError(f'{name} is {size[0]} x {size[1]} px, of which the test scale {scale:g} '
                        'leaves nothing: leave out the image') from None
    if scale != 1:
        image = cv2.resize(image, scaled)
    if options['type'] == 'CenterPad':
        # A shift by whole pixels, which needs no interpolation.
        left, top = (int(shift) for shift in matrix[:2, 2])
        image = cv2.copyMakeBorder(
            image, top, out_size[1] - scaled[1] - top, left, out_size[0] - scaled[0] - left,
            cv2.BORDER_CONSTANT, value=options['pad_value'])
    else:
        image = cv2.warpAffine(
            image, matrix[:2], out_size, flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT, borderValue=options['pad_value'])
    return image, matrix @ np.diag((scale, scale, 1))


def _stretch(image, options):
    """An image stretched to a size, and the matrix [3, 3] (float64) from its pixels.

    As ``mmdet.Resize(keep_ratio=False)`` does.
    """
    height, width = image.shape[:2]
    size = tuple(options['size'])
    matrix = np.diag((size[0] / width, size[1] / height, 1))
    if options['backend'] == 'pillow':
        try:
            from PIL import Image
        except ImportError:
            raise UserError('the model was trained on images resized by Pillow, which is not '
                            'installed: pip install pillow') from None
        how = Image.Resampling[options['interpolation'].upper()]
        return np.array(Image.fromarray(image).resize(size, how)), matrix
    return cv2.resize(image, size, interpolation=_CV2[options['interpolation']]), matrix


def _normalise(image, options):
    """uint8 BGR [H, W, 3] -> float32 [3, H, W]: swapped to RGB, less ``mean``, over ``std``."""
    image = image.astype(np.float32)
    if options['to_rgb']:
        image = image[..., ::-1]
    if options['mean'] is not None:
        image = (image - np.array(options['mean'], np.float32)) / np.array(
            options['std'], np.float32)
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def nms_by_config(bboxes, scores, labels, cfg):
    """Suppress one image's boxes as the ``nms`` of a ``test_cfg`` says.

    Args:
        bboxes (ndarray[N, 4]): xyxy.
        scores (ndarray[N]): best first.
        labels (ndarray[N]): each class by itself.
        cfg (dict): ``type='nms'``, ``iou_threshold``; ``class_agnostic`` takes all classes as
            one.

    Returns:
        ndarray[K]: int64, what is left, best first.

    Raises:
        UserError: for another type.
    """
    if cfg.get('type') != 'nms':
        raise UserError(f"nms of type {cfg.get('type')!r} is not for exported models: export a "
                        "config with dict(type='nms', iou_threshold=0.5), or without")
    return nms(bboxes, scores, cfg['iou_threshold'],
               None if cfg.get('class_agnostic') else labels)


def _dataset_meta(metadata):
    """The classes, palette and skeleton of a model, as MMDetection's ``dataset_meta``."""
    skeleton = dict(metadata.get('skeleton') or {})
    for name in ('keypoint_id2name', ):
        if isinstance(skeleton.get(name), dict):  # the keys of JSON are texts
            skeleton[name] = {int(key): value for key, value in skeleton[name].items()}
    for name, values in skeleton.items():
        if isinstance(values, list) and values and isinstance(values[0], list):
            skeleton[name] = [tuple(value) for value in values]
    return dict(skeleton, classes=tuple(metadata['classes']),
                palette=[tuple(color) for color in metadata['palette']])
