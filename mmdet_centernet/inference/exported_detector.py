"""Detection with an exported model, called as the inferencer is; torch is not needed for it."""
import contextlib
import json
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from mmdet_centernet.errors import UserError
from mmdet_centernet.io.inputs import (
    cameras_of,
    check_batch_size,
    check_output,
    images_of,
    read_image,
)
from mmdet_centernet.runtime.detector import Detector


class ExportedDetector(Detector):
    """Detect objects, people and their joints, or objects in space, with an exported model.

    Is called as :class:`CenterNetInferencer` is, and gives what that gives. Neither torch nor
    mmdet is needed (but torch for ``*.pt2``), unless data samples or pictures are asked for.

    ``detector('photo.jpg')['predictions'][0]`` is a dictionary of lists: ``bboxes`` (xyxy,
    pixels of the original image), ``scores`` best first and ``labels``, which
    ``detector.dataset_meta['classes']`` names; of a pose model ``keypoints`` (pixels of the
    original image) and ``keypoint_scores``; of a 3D model, which needs the images' cameras,
    ``bboxes_3d`` (x, y, z of the bottom's centre, h, w, l, rotation_y in the camera frame;
    metres, radians), ``alpha`` and ``depth``.

    Args:
        model (str | Path): ``*.onnx``, ``*.xml`` or ``*.pt2`` of ``tools/deployment/export.py``.
        backend, device, threads, precision: See
            :func:`mmdet_centernet.runtime.backends.open_model`.
        tta (str, optional): ``'flip'`` insists that the model averages with the mirrored image,
            which is decided when it is exported. None: as it was exported.
        clip_boxes (bool, optional): Cut boxes off at the image's border. None: as the config's
            ``test_cfg`` said.
        show_progress (bool): Show a progress bar.

    Attributes:
        metadata (dict): See :mod:`mmdet_centernet.runtime.metadata`.
        dataset_meta (dict): ``classes`` (tuple of str), ``palette`` (list of RGB), and of a
            pose model its skeleton, as far as known.

    Raises:
        UserError: If the file is no exported model, cannot be loaded or is not what is asked
            for, or the runtime or device is not there.
    """

    def __init__(self, model, backend=None, device='cpu', threads=None, tta=None,
                 clip_boxes=None, precision=None, show_progress=False):
        super().__init__(model, backend, device, threads, tta, clip_boxes, precision)
        if show_progress and find_spec('rich') is None:
            raise UserError('show_progress=True needs rich: pip install rich, or leave it out')
        self._show_progress = show_progress
        self._number = 0  # of the next image, which an array's picture and result have

    def __call__(self, inputs, batch_size=1, out_dir='', return_datasamples=False,
                 return_vis=False, pred_score_thr=0.3, kpt_thr=None, no_save_vis=False,
                 no_save_pred=True, print_result=False, cam2img=None):
        """Detect.

        An image that turns out to be broken stops the run with an error that names it. What
        ``out_dir`` holds of earlier batches is complete.

        Args:
            inputs (str | Path | ndarray | list): A file, an address, a folder (its images by
                name, subfolders left out), a uint8 array [H, W, 3] in BGR, [H, W] in grey or
                [H, W, 4] with alpha, which is dropped; or a list of files and arrays.
            batch_size (int): Images at a time. A model of a fixed batch takes always so many:
                ``batch_size`` is rounded up to a multiple of it, and the last batch filled up.
                Images of different sizes are padded to the largest where the model takes
                normalised images; where it normalises itself nothing could be written there
                that it takes for no image, so that each size is a batch of its own.
            out_dir (str | Path): Pictures go to ``vis/`` in it and, with
                ``no_save_pred=False``, results to ``preds/*.json``.
            return_datasamples (bool): Predictions as ``DetDataSample``.
            return_vis (bool): Return pictures.
            pred_score_thr (float): Of what is drawn.
            kpt_thr (float, optional): Of a pose model: joints that score less are not drawn.
                None: 0.3.
            no_save_vis, no_save_pred (bool): Write no pictures, or no results.
            print_result (bool): Print each batch's predictions.
            cam2img (ndarray | str | Path | list, optional): Of a 3D model, which needs it; see
                :func:`inputs.cameras_of`.

        Returns:
            dict: ``predictions``, one per input, and ``visualization``, the pictures (RGB) if
            any were asked for.

        Raises:
            UserError: If an input, its camera, or where it is to be written, is none that will
                do, or drawing needs what is not installed.
        """
        check_batch_size(batch_size)
        inputs = images_of(inputs)
        cameras = self._cameras(cam2img, inputs)
        if kpt_thr is not None and self.metadata['task'] != 'pose':
            raise UserError(f'kpt_thr is for joints, but model {self.path} predicts none: leave '
                            'it out')
        if out_dir:
            check_output(inputs, out_dir, no_save_pred)
        draws = return_vis or bool(out_dir and not no_save_vis)
        if draws or return_datasamples:
            _check_mmdet('return_vis and pictures in out_dir (see no_save_vis)' if draws
                         else 'return_datasamples')
        writes = bool(out_dir and not no_save_pred)
        results = dict(predictions=[], visualization=[])
        for start in self._starts(len(inputs), batch_size):
            items = inputs[start:start + self.chunk_size(batch_size)]
            images = [read_image(item) for item in items]
            prepared = [
                self.prepare(image, None if cameras is None else cameras[start + place],
                             item if isinstance(item, str) else f'inputs[{start + place}]')
                for place, (image, item) in enumerate(zip(images, items))]
            batch = []
            for item, image, sample, found in zip(
                    items, images, prepared, self._detect(prepared)):
                plain = {name: values.tolist() for name, values in found.items()}
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

    def _cameras(self, cam2img, inputs):
        """The camera of each input, or None if the model needs none."""
        if not self.needs_camera:
            if cam2img is not None:
                raise UserError('cam2img is the camera that boxes in space need, but model '
                                f'{self.path} finds none: leave it out')
            return None
        if cam2img is None:
            raise UserError(
                f"model {self.path} finds boxes in space, which takes the images' camera: give "
                'cam2img, a 3 x 4 matrix, the path of a KITTI calib file, or a list with one for '
                'each input')
        return cameras_of(cam2img, inputs)

    def _starts(self, count, batch_size):
        """Where each batch begins, with a progress bar if it is wanted."""
        starts = range(0, count, self.chunk_size(batch_size))
        if not self._show_progress:
            return starts
        from rich.progress import track
        return track(starts, description='Inference')

    # What becomes of them.

    def data_sample(self, item, sample, found):
        """A ``DetDataSample`` of what was found.

        Args:
            item (str | ndarray): The input.
            sample (Prepared): It, prepared.
            found (dict[str, ndarray]): What :meth:`detect` gives for it.
        """
        import torch
        from mmdet.structures import DetDataSample
        from mmengine.structures import InstanceData
        meta = dict(
            ori_shape=sample.size[::-1], homography_matrix=sample.homography,
            img_shape=sample.image.shape[-2:] if self.metadata['input']['kind'] == 'float'
            else sample.image.shape[:2])
        if isinstance(item, str):
            meta['img_path'] = item
        if sample.cam2img is not None:
            meta['cam2img'] = sample.cam2img
        result = DetDataSample(metainfo=meta)
        result.pred_instances = InstanceData(
            **{name: torch.from_numpy(values) for name, values in found.items()})
        return result

    def _write(self, plain, item, out_dir):
        """One input's result as json."""
        name = Path(item).stem if isinstance(item, str) else str(self._number)
        path = Path(out_dir) / 'preds' / f'{name}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(plain), encoding='utf-8')

    @cached_property
    def _visualizer(self):
        """What draws the model's task."""
        from mmdet.visualization import DetLocalVisualizer

        from mmdet_centernet.visualization import Mono3DLocalVisualizer, PoseLocalVisualizer
        kind = dict(pose=PoseLocalVisualizer, mono3d=Mono3DLocalVisualizer).get(
            self.metadata['task'], DetLocalVisualizer)
        visualizer = kind()
        visualizer.dataset_meta = self.dataset_meta
        return visualizer

    def _draw(self, item, image, sample, found, score_thr, kpt_thr, out_dir):
        """The picture (RGB) of one input, which goes into a folder if there is one."""
        if self.metadata['task'] == 'detection':
            found = _drawable(found, sample.size)
        name = Path(item).name if isinstance(item, str) else f'{self._number:08d}.jpg'
        with self._joints_above(kpt_thr):
            self._visualizer.add_datasample(
                name, image[..., ::-1], self.data_sample(item, sample, found), draw_gt=False,
                pred_score_thr=score_thr,
                out_file=str(Path(out_dir) / 'vis' / name) if out_dir else None)
        return self._visualizer.get_image()

    @contextlib.contextmanager
    def _joints_above(self, kpt_thr):
        """Have joints drawn so for one picture."""
        if kpt_thr is None:
            yield
            return
        before = self._visualizer.kpt_thr
        self._visualizer.kpt_thr = kpt_thr
        try:
            yield
        finally:
            self._visualizer.kpt_thr = before


def _check_mmdet(purpose):
    """Raise UserError unless what makes data samples and pictures is installed."""
    missing = [name for name in ('torch', 'mmengine', 'mmdet') if find_spec(name) is None]
    if missing:
        raise UserError(f'{purpose} need {missing[0]}, which is not installed here: leave them '
                        'out, or install it')


def _drawable(found, size):
    """Detections whose boxes lie in an image of a size (width, height) and have an area."""
    boxes = found['bboxes'].clip(0, np.array(size * 2, np.float32) - 1)
    shown = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return {name: values[shown] for name, values in dict(found, bboxes=boxes).items()}
