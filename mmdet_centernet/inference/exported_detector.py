"""Detection with an exported model, called as the inferencer is. torch is not needed for it."""
import json
from collections.abc import Iterable
from functools import cached_property
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmdet_centernet.errors import UserError
from mmdet_centernet.io.attributes import name_attributes
from mmdet_centernet.io.inputs import (
    check_batch_size,
    check_output,
    images_of,
    read_image,
    select_cameras,
)
from mmdet_centernet.runtime.detector import Detections, Detector, Prepared

Item = str | NDArray[np.uint8]


class ExportedDetector(Detector):
    """Detector of objects, their keypoints, attributes or 3D boxes with an exported model.

    It is called like :class:`CenterNetInferencer` and returns the same results. Neither torch
    nor mmdet is needed (except torch for ``*.pt2``) unless data samples or drawn images are asked
    for.

    ``detector('photo.jpg')['predictions'][0]`` is a dictionary of lists: ``bboxes`` (xyxy, pixels
    of the original image), ``scores`` best first and ``labels``, which
    ``detector.dataset_meta['classes']`` names; of a pose model ``keypoints`` (pixels of the
    original image) and ``keypoint_scores``; of a 3D model, which needs the images' cameras,
    ``bboxes_3d`` (x, y, z of the bottom center, h, w, l, rotation_y in the camera frame; meters,
    radians), ``alpha`` and ``depth``; of a model with attributes ``attribute_<name>``, raw
    values, and ``attributes``, their values by name; and what else its properties predict.

    Args:
        model (str | Path): ``*.onnx``, ``*.xml`` or ``*.pt2`` of ``tools/deployment/export.py``.
        backend, device, threads, tta, clip_boxes, precision: see
            :class:`mmdet_centernet.runtime.detector.Detector`.
        show_progress (bool): show a progress bar.

    Attributes:
        metadata (Metadata): what the file says about itself.
        dataset_meta (dict): ``classes`` (tuple of str), ``palette`` (list of RGB), and what else
            the data set says, such as skeletons.

    Raises:
        UserError: if the file is not an exported model, cannot be loaded or is not what is asked
            for, or the runtime or device is missing.
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
        show_progress: bool = False,
    ) -> None:
        super().__init__(model, backend, device, threads, tta, clip_boxes, precision)
        if show_progress and find_spec('rich') is None:
            raise UserError('show_progress=True needs rich: pip install rich, or leave it out')
        self._show_progress = show_progress
        self._number = 0  # of the next image: names the drawn image and the result of an array

    def __call__(
        self,
        inputs: Any,
        batch_size: int = 1,
        out_dir: str | PathLike[str] = '',
        return_datasamples: bool = False,
        return_vis: bool = False,
        pred_score_thr: float = 0.3,
        kpt_thr: float | None = None,
        no_save_vis: bool = False,
        no_save_pred: bool = True,
        print_result: bool = False,
        cam2img: Any = None,
    ) -> dict[str, Any]:
        """Detect.

        A broken image stops the run with an error that names it. What ``out_dir`` holds of
        earlier batches is complete.

        Args:
            inputs (str | Path | ndarray | list): a file, an address, a folder (its images by
                name, without subfolders), a uint8 array [H, W, 3] in BGR, [H, W] in gray or
                [H, W, 4] with alpha, which is dropped; or a list of files and arrays.
            batch_size (int): images at a time. A model exported with a fixed batch size always
                receives that many images: ``batch_size`` is rounded up to a multiple of it, and
                the last batch is filled up. Images of different sizes are padded to the largest
                if the model takes normalized images and does not flip them. (A model that
                normalizes images itself has no neutral value to pad with.) Otherwise each size is
                a batch of its own.
            out_dir (str | Path): drawn images go to ``vis/`` in it and, with
                ``no_save_pred=False``, results to ``preds/*.json``.
            return_datasamples (bool): return predictions as ``DetDataSample``.
            return_vis (bool): return drawn images.
            pred_score_thr (float): least score of what is drawn.
            kpt_thr (float, optional): of a pose model: least score of keypoints that are drawn.
                None: 0.3.
            no_save_vis, no_save_pred (bool): write no drawn images, or no results.
            print_result (bool): print each batch's predictions.
            cam2img (ndarray | str | Path | list, optional): of a 3D model, which requires it; see
                :func:`mmdet_centernet.io.inputs.cameras_of`.

        Returns:
            dict: ``predictions``, one per input, and ``visualization``, the drawn images (RGB) if
            any were asked for.

        Raises:
            UserError: if an input, its camera or the output path is invalid, or drawing needs a
                package that is not installed.
        """
        check_batch_size(batch_size)
        inputs = images_of(inputs)
        cameras = select_cameras(
            cam2img, inputs, self.metadata.needs_camera, f'model {self.path}')
        if kpt_thr is not None and 'keypoints' not in self.metadata.outputs:
            raise UserError(f'kpt_thr is for keypoints, but model {self.path} predicts none: '
                            'leave it out')
        if out_dir:
            check_output(inputs, out_dir, no_save_pred)
        draws = return_vis or bool(out_dir and not no_save_vis)
        if draws or return_datasamples:
            _check_mmdet('return_vis and drawn images in out_dir (see no_save_vis)' if draws
                         else 'return_datasamples')
        writes = bool(out_dir and not no_save_pred)
        results: dict[str, Any] = dict(predictions=[], visualization=[])
        for start in self._starts(len(inputs), batch_size):
            items = inputs[start:start + self.chunk_size(batch_size)]
            images = [read_image(item) for item in items]
            prepared = [
                self.prepare(image, None if cameras is None else cameras[start + place],
                             item if isinstance(item, str) else f'inputs[{start + place}]')
                for place, (image, item) in enumerate(zip(images, items))]
            batch: list[Any] = []
            for item, image, sample, found in zip(
                    items, images, prepared, self._detect(prepared)):
                plain = self._to_plain(found)
                if draws:
                    results['visualization'].append(self._draw(
                        item, image, sample, found, pred_score_thr, kpt_thr,
                        '' if no_save_vis else out_dir))
                if writes:
                    self._write(plain, item, out_dir)
                self._number += draws or writes
                batch.append(self.data_sample(item, sample, found) if return_datasamples
                             else plain)
            if print_result:
                print(dict(predictions=batch))
            results['predictions'] += batch
        return results

    def _starts(self, count: int, batch_size: int) -> Iterable[int]:
        """Return the start of each batch, with a progress bar if it is wanted."""
        starts = range(0, count, self.chunk_size(batch_size))
        if not self._show_progress:
            return starts
        from rich.progress import track
        return track(starts, description='Inference')

    # From detections to results.

    def _to_plain(self, found: Detections) -> dict[str, Any]:
        """Convert detections to plain lists, and name the values of attributes."""
        plain: dict[str, Any] = {name: values.tolist() for name, values in found.items()}
        if self.metadata.attributes:
            plain['attributes'] = name_attributes(found, self.metadata.attributes)
        return plain

    def data_sample(self, item: Item, sample: Prepared, found: Detections) -> Any:
        """Return detections as a ``DetDataSample``.

        Args:
            item (str | ndarray): the input.
            sample (Prepared): the prepared input.
            found (dict[str, ndarray]): its detections, see :meth:`detect`.
        """
        import torch
        from mmdet.structures import DetDataSample
        from mmengine.structures import InstanceData
        is_float = self.metadata.input.kind == 'float'
        meta: dict[str, Any] = dict(
            ori_shape=sample.size[::-1], homography_matrix=sample.homography,
            img_shape=sample.image.shape[-2:] if is_float else sample.image.shape[:2])
        if isinstance(item, str):
            meta['img_path'] = item
        if sample.cam2img is not None:
            meta['cam2img'] = sample.cam2img
        result = DetDataSample(metainfo=meta)
        result.pred_instances = InstanceData(
            **{name: torch.from_numpy(values) for name, values in found.items()})
        return result

    def _write(self, plain: dict[str, Any], item: Item, out_dir: str | PathLike[str]) -> None:
        """Write one input's result as JSON."""
        name = Path(item).stem if isinstance(item, str) else str(self._number)
        path = Path(out_dir) / 'preds' / f'{name}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plain), encoding='utf-8')

    @cached_property
    def _visualizer(self) -> Any:
        """The visualizer that draws the model's detections."""
        from mmdet_centernet.inference.drawing import choose_visualizer
        visualizer = choose_visualizer(self.metadata.task, bool(self.metadata.attributes))()
        visualizer.dataset_meta = self.dataset_meta
        return visualizer

    def _draw(
        self,
        item: Item,
        image: NDArray[np.uint8],
        sample: Prepared,
        found: Detections,
        score_thr: float,
        kpt_thr: float | None,
        out_dir: str | PathLike[str],
    ) -> NDArray[np.uint8]:
        """Draw one input's detections (RGB), into a folder if there is one."""
        from mmdet_centernet.inference.drawing import drawable, keypoints_above
        name = Path(item).name if isinstance(item, str) else f'{self._number:08d}.jpg'
        shown = drawable(self.data_sample(item, sample, found), self._visualizer)
        with keypoints_above(self._visualizer, kpt_thr):
            self._visualizer.add_datasample(
                name, image[..., ::-1], shown, draw_gt=False, pred_score_thr=score_thr,
                out_file=str(Path(out_dir) / 'vis' / name) if out_dir else None)
        drawn: NDArray[np.uint8] = self._visualizer.get_image()
        return drawn


def _check_mmdet(purpose: str) -> None:
    """Raise a UserError unless what makes data samples and drawn images is installed."""
    missing = [name for name in ('torch', 'mmengine', 'mmdet') if find_spec(name) is None]
    if missing:
        raise UserError(f'{purpose} need {missing[0]}, which is not installed here: leave them '
                        'out, or install it')
