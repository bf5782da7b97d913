"""Detection with an exported model. It needs numpy, OpenCV and a runtime."""
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from mmdet_centernet.errors import UserError
from mmdet_centernet.ops.affine import camera_view, center_warp, fit_warp, pad_warp
from mmdet_centernet.ops.boxes_numpy import nms
from mmdet_centernet.runtime.backends import Backend, one_line, open_model
from mmdet_centernet.runtime.metadata import LEAST_SIDE, InputFormat, Metadata, parse

EXPORT = 'tools/deployment/export.py'
# OpenCV's flags for the interpolations of mmdet.Resize.
_CV2 = dict(nearest=cv2.INTER_NEAREST, bilinear=cv2.INTER_LINEAR, bicubic=cv2.INTER_CUBIC,
            area=cv2.INTER_AREA, lanczos=cv2.INTER_LANCZOS4)

Array = NDArray[Any]
Detections = dict[str, Array]


class Prepared(NamedTuple):
    """An image as the network takes it.

    Attributes:
        image (ndarray): uint8 [H, W, 3] in BGR, or float32 [3, H, W], normalized.
        homography (ndarray[3, 3]): float32, pixels of the original image -> of the input.
        size (tuple[int, int]): (width, height) of the original image.
        cam2img (ndarray[3, 4] | None): float64, camera of the input.
    """

    image: Array
    homography: NDArray[np.float32]
    size: tuple[int, int]
    cam2img: NDArray[np.float64] | None


class Detector:
    """An exported model that detects in images in memory.

    Args:
        model (str | Path): ``*.onnx``, ``*.xml`` or ``*.pt2`` of ``tools/deployment/export.py``.
        backend, device, threads, precision: see
            :func:`mmdet_centernet.runtime.backends.open_model`.
        tta (str, optional): ``'flip'`` requires a model that averages with the flipped image,
            which is decided when it is exported. None: as it was exported.
        clip_boxes (bool, optional): clip boxes to the image. None: as the config's
            ``test_cfg`` says.

    Attributes:
        metadata (Metadata): what the file says about itself.
        dataset_meta (dict): ``classes`` (tuple of str), ``palette`` (list of RGB), and what else
            the data set says, such as skeletons.

    Raises:
        UserError: if the file is not an exported model, cannot be loaded or is not what is
            asked for, or the runtime or device is missing.
    """

    def __init__(
        self,
        model: str | Path,
        backend: str | None = None,
        device: str = 'cpu',
        threads: int | None = None,
        tta: str | None = None,
        clip_boxes: bool | None = None,
        precision: str | None = None,
    ) -> None:
        self.path = Path(model)
        self._runtime: Backend = open_model(self.path, backend, device, threads, precision)
        self.metadata: Metadata = parse(self._runtime.metadata, self.path)
        if self.metadata.raw:
            raise UserError(f'model {self.path} was exported with --raw, so it outputs heatmaps '
                            f'instead of detections: export it with {EXPORT} without --raw')
        if tta not in (None, 'flip'):
            raise UserError(f'tta={tta!r} is not available in exported models: export with --flip '
                            "and give tta='flip', or use CenterNetInferencer")
        if tta == 'flip' and not self.metadata.flip:
            raise UserError(f"tta='flip', but model {self.path} does not look at flipped images: "
                            f'export it with {EXPORT} --flip')
        self._test_cfg = dict(self.metadata.test_cfg)
        if clip_boxes is not None:
            self._test_cfg['clip_boxes'] = clip_boxes
        self.dataset_meta: dict[str, Any] = self.metadata.dataset_meta

    def detect(
        self,
        images: Sequence[Array],
        cameras: Sequence[Array] | None = None,
        names: Sequence[str] | None = None,
    ) -> list[Detections]:
        """Detect in images in memory, all of them as one batch.

        Args:
            images (list[ndarray]): uint8 [H, W, 3], BGR.
            cameras (list[ndarray[3, 4]], optional): camera of each image, for a 3D model.
            names (list[str], optional): names of the images in errors.

        Returns:
            list[dict[str, ndarray]]: for each image the model's outputs [N, ...] (float32 or
            int64) of the detections that count, best first, in pixels of the image.
        """
        return self._detect([
            self.prepare(image, None if cameras is None else cameras[place],
                         f'images[{place}]' if names is None else names[place])
            for place, image in enumerate(images)])

    # From images to inputs.

    def prepare(
        self, image: Array, cam2img: Array | None = None, name: str = 'the image'
    ) -> Prepared:
        """Prepare an image for the network.

        The input has the model's size. If the model takes any size, it is the inferencer's
        input, with a wider border if that is smaller than 64 px.

        Args:
            image (ndarray[H, W, 3]): uint8, BGR.
            cam2img (ndarray[3, 4], optional): its camera.
            name (str): name of the image in errors.

        Raises:
            UserError: if the model cannot take an input of its size.
        """
        size = (image.shape[1], image.shape[0])
        options = self.metadata.transform
        if options['type'] == 'Resize':
            image, matrix = _stretch(image, options)
        else:
            image, matrix = _warp(image, options, name, cam2img)
        if self.metadata.shape is None:
            image = self._widen(image)
        self._check_shape(image.shape[:2], name)
        if cam2img is not None:
            cam2img = matrix @ cam2img
        if self.metadata.input.kind == 'float':
            image = _normalize(image, self.metadata.input)
        return Prepared(image, matrix.astype(np.float32), size, cam2img)

    def _widen(self, image: Array) -> Array:
        """Add a border to the right and below an input that is too small."""
        divisor = self.metadata.divisor
        least = -(-LEAST_SIDE // divisor) * divisor
        height, width = image.shape[:2]
        if min(height, width) >= least:
            return image
        return cv2.copyMakeBorder(
            image, 0, max(least - height, 0), 0, max(least - width, 0), cv2.BORDER_CONSTANT,
            value=self.metadata.transform.get('pad_value', 0))

    def _check_shape(self, shape: tuple[int, ...], name: str) -> None:
        """Raise a UserError unless the model takes inputs of a shape (H, W)."""
        wanted, divisor = self.metadata.shape, self.metadata.divisor
        if wanted is not None and shape != wanted:
            raise UserError(
                f'{name} becomes an input of {shape[1]} x {shape[0]} px, but model {self.path} '
                f'takes {wanted[1]} x {wanted[0]} px: export it with {EXPORT} --dynamic')
        if wanted is None and self.metadata.input.kind == 'uint8' and any(
                side % divisor for side in shape):
            raise UserError(
                f'{name} becomes an input of {shape[1]} x {shape[0]} px, but model {self.path} '
                f'takes multiples of {divisor} px: change the test pipeline of the config to '
                'sizes like that, and export it again')

    def chunk_size(self, batch_size: int) -> int:
        """Return how many images are detected at a time: ``batch_size`` in whole batches."""
        fixed = self.metadata.batch or 1
        return -(-batch_size // fixed) * fixed

    # From inputs to detections.

    def _detect(self, prepared: Sequence[Prepared]) -> list[Detections]:
        """Return the detections in each image, in pixels of the original."""
        groups: dict[tuple[int, ...], list[int]] = {}
        # Like CenterNetTTAModel, a model that flips does not get padded images.
        mixes_sizes = self.metadata.input.kind == 'float' and not self.metadata.flip
        for place, sample in enumerate(prepared):
            groups.setdefault(() if mixes_sizes else sample.image.shape, []).append(place)
        found: dict[int, Detections] = {}
        for places in groups.values():
            count = self.metadata.batch or len(places)
            for start in range(0, len(places), count):
                part = places[start:start + count]
                # A fixed batch is filled up.
                filled = part + part[-1:] * (count - len(part) if self.metadata.batch else 0)
                outputs = self._run([prepared[place] for place in filled])
                for row, place in enumerate(part):
                    found[place] = self._finish(
                        {name: values[row] for name, values in outputs.items()},
                        prepared[place])
        return [found[place] for place in range(len(prepared))]

    def _run(self, prepared: Sequence[Prepared]) -> Detections:
        """Return the model's outputs [B, K, ...] by name for one batch."""
        images = [sample.image for sample in prepared]
        pads = self.metadata.input.kind == 'float'
        if pads:
            images = self._pad(images)
        feeds = dict(image=np.stack(images))
        if self.metadata.needs_camera:
            feeds['cam2img'] = np.array([sample.cam2img for sample in prepared], np.float32)
        try:
            outputs = self._runtime(feeds)
            if any(len(values) != len(images) for values in outputs):  # OpenVINO does not raise
                raise RuntimeError('the number of its outputs differs')
        except Exception as error:  # the runtimes' errors have no class in common
            height, width = images[0].shape[-2:] if pads else images[0].shape[:2]
            raise UserError(f'model {self.path} cannot run on {len(images)} input(s) of {width} x '
                            f'{height} px: {one_line(error)}') from error
        return dict(zip(self.metadata.outputs, outputs, strict=True))

    def _pad(self, images: Sequence[Array]) -> list[Array]:
        """Pad normalized images [3, H, W] to the right and below, to one size."""
        if self.metadata.shape is not None:
            height, width = self.metadata.shape
        else:
            divisor = self.metadata.divisor
            height, width = (
                -(-max(image.shape[axis] for image in images) // divisor) * divisor
                for axis in (1, 2))
        return [np.pad(image, ((0, 0), (0, height - image.shape[1]), (0, width - image.shape[2])))
                for image in images]

    def _finish(self, decoded: Detections, sample: Prepared) -> Detections:
        """Map one image's detections [K, ...] to the original image, and select those that count.

        The counterpart of :meth:`CenterHead.predict_by_feat`.
        """
        cfg = self._test_cfg
        inverse = np.linalg.inv(sample.homography.astype(np.float64)).astype(np.float32)
        decoded = to_image(decoded, self.metadata, inverse)
        if cfg.get('clip_boxes') and 'bboxes' in decoded:
            decoded['bboxes'] = decoded['bboxes'].clip(0, np.array(sample.size * 2, np.float32))
        # Scores descend, so that counting is selecting.
        count = int((decoded['scores'] > (cfg.get('score_thr') or 0)).sum())
        decoded = {name: values[:count] for name, values in decoded.items()}
        kept: Array = np.arange(count)
        if cfg.get('nms'):
            kept = nms_by_config(
                decoded['bboxes'], decoded['scores'], decoded['labels'], cfg['nms'])
        kept = kept[:cfg.get('max_per_img') or 100]
        return {name: values[kept] for name, values in decoded.items()}


def to_image(
    detections: Mapping[str, Array], metadata: Metadata, matrix: NDArray[np.float32]
) -> Detections:
    """Map detections from pixels of the input to pixels of the original image.

    Args:
        detections (dict[str, ndarray]): outputs [K, ...] by name.
        metadata (Metadata): its ``points`` are mapped.
        matrix (ndarray[3, 3]): scale and shift, input pixels -> original pixels.
    """
    zoom, shift = matrix.diagonal()[:2], matrix[:2, 2]
    moved = dict(detections)
    for name in metadata.points:
        values = detections[name]
        # A box is two points, because images are neither flipped nor rotated here.
        points = values.reshape(*values.shape[:-1], values.shape[-1] // 2, 2)
        moved[name] = (points * zoom + shift).reshape(values.shape)
    if metadata.shifts_sizes:
        moved['bboxes'] = moved['bboxes'] + np.concatenate((-shift, shift)) / 2
    return moved


def _warp(
    image: Array, options: Mapping[str, Any], name: str, cam2img: Array | None
) -> tuple[Array, NDArray[np.float64]]:
    """Pad or fit an image, and return the matrix [3, 3] from its pixels, too.

    The counterpart of :class:`CenterPad` and :class:`CenterResize`.
    """
    size, scale = (image.shape[1], image.shape[0]), options.get('scale') or 1
    try:
        if options['type'] == 'CenterPad':
            scaled, matrix, out_size = pad_warp(size, options['pad_mask'], scale)
        elif options.get('camera'):
            if cam2img is None:
                raise UserError(f'{name} has no camera, which sizes the input of the model')
            out_size = tuple(options['size'])
            center, zoom = camera_view(cam2img, options['camera'], out_size)
            scaled, matrix = size, center_warp(center, zoom, out_size)
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


def _stretch(image: Array, options: Mapping[str, Any]) -> tuple[Array, NDArray[np.float64]]:
    """Stretch an image to a size, and return the matrix [3, 3] from its pixels, too.

    The counterpart of ``mmdet.Resize(keep_ratio=False)``.
    """
    height, width = image.shape[:2]
    size = tuple(options['size'])
    matrix = np.diag((size[0] / width, size[1] / height, 1))
    if options['backend'] == 'pillow':
        try:
            from PIL import Image
        except ImportError:
            raise UserError('the model was trained on images that Pillow resized, but it is not '
                            'installed: pip install pillow') from None
        how = Image.Resampling[options['interpolation'].upper()]
        return np.array(Image.fromarray(image).resize(size, how)), matrix
    return cv2.resize(image, size, interpolation=_CV2[options['interpolation']]), matrix


def _normalize(image: Array, options: InputFormat) -> Array:
    """Convert uint8 BGR [H, W, 3] to normalized float32 [3, H, W]."""
    image = image.astype(np.float32)
    if options.to_rgb:
        image = image[..., ::-1]
    if options.mean is not None:
        image = (image - np.array(options.mean, np.float32)) / np.array(options.std, np.float32)
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def nms_by_config(
    bboxes: Array, scores: Array, labels: Array, cfg: Mapping[str, Any]
) -> NDArray[np.int64]:
    """Suppress one image's detections as the ``nms`` of a ``test_cfg`` says.

    Args:
        bboxes (ndarray[N, 4]): xyxy.
        scores (ndarray[N]): best first.
        labels (ndarray[N]): class of each.
        cfg (dict): ``type='nms'``, ``iou_threshold``; ``class_agnostic``.

    Returns:
        ndarray[K]: int64, indices of the remaining detections, best first.

    Raises:
        UserError: for another type.
    """
    if cfg.get('type') != 'nms':
        raise UserError(f"nms of type {cfg.get('type')!r} is not available in exported models: "
                        "export a config with dict(type='nms', iou_threshold=0.5), or without "
                        'nms')
    return nms(bboxes, scores, cfg['iou_threshold'],
               None if cfg.get('class_agnostic') else labels)
