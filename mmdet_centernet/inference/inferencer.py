"""Detection in images of your own: MMDetection's ``DetInferencer`` around CenterNet."""
import contextlib
import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmdet.apis import DetInferencer
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.fileio import dump
from mmengine.model import BaseModel
from mmengine.registry import VISUALIZERS
from mmengine.visualization import Visualizer
from numpy.typing import NDArray

from mmdet_centernet.datasets.transforms import LoadImage
from mmdet_centernet.engine.config import load_config
from mmdet_centernet.errors import UserError
from mmdet_centernet.inference import drawing
from mmdet_centernet.inference.loading import Palette, load_detector
from mmdet_centernet.inference.optimize import faster
from mmdet_centernet.inference.overrides import apply_test_options
from mmdet_centernet.io.attributes import name_attributes
from mmdet_centernet.io.inputs import (
    check_batch_size,
    check_output,
    describe,
    images_of,
    select_cameras,
)
from mmdet_centernet.models.dense_heads import CenterHead
from mmdet_centernet.models.properties import Keypoints
from mmdet_centernet.runtime.metadata import merge_attributes

_LOADERS = ('LoadImage', 'LoadImageFromFile')
# Fields that DetInferencer puts into the results itself.
_BOX_FIELDS = ('bboxes', 'scores', 'labels')

Item = str | NDArray[np.uint8]


class CenterNetInferencer(DetInferencer):
    """Detector of objects, their keypoints, attributes or 3D boxes in images of your own.

    It has the arguments and results of :class:`mmdet.apis.DetInferencer`, and more: the paper's
    test-time options; checkpoints are read as data and must fit; inputs are checked before the
    model runs, and a broken one raises an error that names it.

    ``inferencer('photo.jpg', return_datasamples=True)['predictions'][0].pred_instances`` holds
    ``bboxes`` [N, 4] (xyxy, pixels of the original image), ``scores`` [N] best first and
    ``labels`` [N]; ``inferencer.model.dataset_meta['classes']`` names the labels. A pose model
    adds ``keypoints`` [N, K, 2] (pixels of the original image) and ``keypoint_scores`` [N, K];
    ``dataset_meta['keypoint_id2name']`` names the keypoints. A 3D model, which needs the images'
    cameras, adds ``bboxes_3d`` [N, 7] (x, y, z of the bottom center, h, w, l, rotation_y in the
    camera frame; meters, radians), ``alpha`` [N] and ``depth`` [N]. Every attribute adds
    ``attribute_<name>``, see :class:`Attribute`; other properties add what they decode.

    Args:
        model (str | Path | Config): the config. It is not changed.
        weights (str | Path, optional): a checkpoint file or its http(s) address. None warns and
            leaves the weights random.
        device (str, optional): None takes the GPU if there is one.
        resolution (str, optional): ``'keep'``: each image at its own resolution, padded;
            ``'fix'``: scaled into a fixed size; None: as the config's test pipeline says.
        tta (str, optional): ``'flip'``: averaged with the flipped image; ``'ms'``: with flips at
            several scales; None: as the config says.
        clip_boxes (bool, optional): clip boxes to the image (the original implementation does
            not). None: as the config's ``test_cfg`` says.
        optimize (bool | str): True: fewer layers and channels-last weights, see
            :func:`optimize_for_inference`, which changes results by rounding only;
            ``'compile'``: ``torch.compile`` too, which takes about a minute at the first image,
            and again at the second size of images.
        precision (str): precision of the network: ``'float32'``, ``'bfloat16'`` or, on a GPU,
            ``'float16'``. Scores and positions change a little.
        palette (str | list): colors for drawing, see ``DetInferencer``. ``'none'``: those of the
            checkpoint or the config.
        show_progress (bool): show a progress bar.

    Raises:
        UserError: if config and checkpoint cannot be read, do not fit each other or the options,
            or the device is missing.
    """

    preprocess_kwargs = {'cameras'}
    num_visualized_imgs: int
    num_predicted_imgs: int

    def __init__(
        self,
        model: str | os.PathLike[str] | Config,
        weights: str | os.PathLike[str] | None = None,
        device: str | None = None,
        resolution: str | None = None,
        tta: str | None = None,
        clip_boxes: bool | None = None,
        optimize: bool | str = False,
        precision: str = 'float32',
        palette: Palette = 'none',
        show_progress: bool = False,
    ) -> None:
        if isinstance(model, (str, os.PathLike)):
            config = load_config(os.fspath(model))
        elif isinstance(model, Config):
            config = copy.deepcopy(model)
        else:
            raise UserError('model must be the path of a config or a Config, not '
                            f'{describe(model)}')
        if clip_boxes is not None:
            detector = config.model.get('module', config.model)
            detector.test_cfg = dict(detector.get('test_cfg') or {}, clip_boxes=clip_boxes)
        apply_test_options(config, resolution, tta)
        self._optimize, self._precision = optimize, precision
        # Backends would write images elsewhere, and complain that they have no folder.
        config.visualizer = dict(
            config.get('visualizer') or dict(type='mmdet.DetLocalVisualizer'), vis_backends=None)
        super().__init__(model=config, weights=weights, device=_check_device(device),
                         scope=config.get('default_scope', 'mmdet'), palette=palette,
                         show_progress=show_progress)

    def _init_model(
        self, cfg: Config, weights: str | os.PathLike[str] | None, device: str = 'cpu'
    ) -> BaseModel:
        """Build the model, load all of its weights and prepare it for prediction."""
        model = load_detector(cfg, weights, device, self.palette)
        return faster(model, self._optimize, self._precision)

    @property
    def _head(self) -> CenterHead:
        """The detector's head, also within a TTA model."""
        model: Any = self.model
        head: CenterHead = getattr(model, 'module', model).bbox_head
        return head

    @property
    def _attributes(self) -> dict[str, dict[str, Any]]:
        """Kind and value names of the attributes that the model predicts."""
        return merge_attributes(each.describe() for each in self._head.properties)

    def _init_visualizer(self, cfg: Config) -> Visualizer | None:
        """Build the config's visualizer, or one that draws what the model detects."""
        wanted = drawing.choose_visualizer(self._head.task, bool(self._attributes))
        kind = cfg.visualizer.type
        kind = VISUALIZERS.get(kind) if isinstance(kind, str) else kind
        if wanted is not DetLocalVisualizer and not (kind and issubclass(kind, wanted)):
            cfg.visualizer = dict(type=wanted)
        return super()._init_visualizer(cfg)

    def _init_pipeline(self, cfg: Config) -> Compose:
        """Build the config's test pipeline, whose loader also takes arrays."""
        dataset = (cfg.get('test_dataloader') or {}).get('dataset') or {}
        while 'pipeline' not in dataset and 'dataset' in dataset:
            dataset = dataset['dataset']
        if 'pipeline' not in dataset:
            raise UserError('the config has no test_dataloader with a pipeline, which says how '
                            'images are prepared')
        pipeline = list(dataset['pipeline'])
        loaders = [index for index, transform in enumerate(pipeline)
                   if _type_name(transform) in _LOADERS]
        if not loaders:
            raise UserError('the test pipeline does not load images: begin it with '
                            'mmdet_centernet.LoadImage')
        pipeline[loaders[0]] = _input_loader(pipeline[loaders[0]])
        return Compose(pipeline)

    def _init_collate(self, cfg: Config) -> Callable[..., Any]:
        """Return the function that collates lists, also of what ``TestTimeAug`` returns."""
        collate: Callable[..., Any] = pseudo_collate
        return collate

    def __call__(
        self,
        inputs: Any,
        batch_size: int = 1,
        out_dir: str | os.PathLike[str] = '',
        kpt_thr: float | None = None,
        draw_heatmap: bool = False,
        cam2img: Any = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Detect.

        A broken image stops the run with an error that names it. What ``out_dir`` holds of
        earlier batches is complete.

        Args:
            inputs (str | Path | ndarray | list): a file, an address, a folder (its images by
                name, without subfolders), a uint8 array [H, W, 3] in BGR, [H, W] in gray or
                [H, W, 4] with alpha, which is dropped; or a list of files and arrays.
            batch_size (int): images at a time. Smaller images of a batch are padded to the
                largest, which changes detections near the new border a little.
            out_dir (str | Path): drawn images go to ``vis/`` in it and, with
                ``no_save_pred=False``, results to ``preds/*.json``.
            kpt_thr (float, optional): of a pose model: least score of keypoints that are drawn.
                None: as the config's visualizer says, 0.3 as a rule.
            draw_heatmap (bool): of a pose model: draw the keypoint heatmaps next to the
                predictions. Data samples then hold them as ``pred_fields``.
            cam2img (ndarray | str | Path | list, optional): of a 3D model, which requires it: the
                camera of all images, [3, 4] from its frame to pixels of the images as they are
                given (or [3, 3], which has no offset); or a KITTI calib file, whose P2 is taken;
                or a folder with a calib file for each image, ``000123.txt`` for ``000123.png``;
                or a list with a matrix or file for each input.
            **options: of ``DetInferencer``: ``return_datasamples``, ``return_vis``,
                ``pred_score_thr`` (of what is drawn), ``no_save_vis``, ``no_save_pred``,
                ``print_result``, ``show``, ``wait_time``, ``draw_pred``.

        Returns:
            dict: ``predictions``, one per input: data samples, or with
            ``return_datasamples=False`` dictionaries with the fields of ``pred_instances`` as
            lists and, if the model predicts attributes, ``attributes``: their values by name for
            each detection; ``visualization``, the drawn images (RGB) if any were asked for.

        Raises:
            UserError: if an input, its camera or the output path is invalid.
        """
        check_batch_size(batch_size)
        inputs = images_of(inputs)
        cameras = select_cameras(cam2img, inputs, 'cam2img' in self._head.image_inputs,
                                 f"the model's {type(self._head).__name__}")
        if out_dir:
            check_output(inputs, out_dir, options.get('no_save_pred', True))
        # Arrays are named by these two; an image and its result get the same number.
        self.num_visualized_imgs = self.num_predicted_imgs = max(
            self.num_visualized_imgs, self.num_predicted_imgs)
        with self._drawing(kpt_thr, draw_heatmap):
            results: dict[str, Any] = super().__call__(
                inputs, batch_size=batch_size, out_dir=str(out_dir or ''), cameras=cameras,
                **options)
        return results

    @contextlib.contextmanager
    def _drawing(self, kpt_thr: float | None, draw_heatmap: bool) -> Iterator[None]:
        """Temporarily override the drawing options."""
        head = self._head
        if (kpt_thr is not None or draw_heatmap) and head.find_property(Keypoints) is None:
            raise UserError('kpt_thr and draw_heatmap are for keypoints, but the model has a '
                            f'{type(head).__name__}, which predicts none: leave them out')
        before = head.test_cfg
        if draw_heatmap:
            head.test_cfg = dict(head.test_cfg or {}, output_heatmaps=True)
        try:
            with drawing.keypoints_above(self.visualizer, kpt_thr):
                yield
        finally:
            head.test_cfg = before

    def preprocess(
        self,
        inputs: Sequence[Item],
        batch_size: int = 1,
        cameras: Sequence[NDArray[np.float64]] | None = None,
        **options: Any,
    ) -> '_Counted':
        """Prepare batches of samples. Their number is known, for the progress bar."""
        count = -(-len(inputs) // batch_size)
        samples: Sequence[Any] = inputs
        if cameras is not None:
            samples = [dict(_as_sample(item), cam2img=camera)
                       for item, camera in zip(inputs, cameras, strict=True)]
        return _Counted(super().preprocess(samples, batch_size, **options), count)

    def visualize(
        self, inputs: Sequence[Item], preds: Sequence[DetDataSample], **options: Any
    ) -> list[NDArray[np.uint8]] | None:
        """Draw detections as ``DetInferencer`` does, which takes arrays for RGB."""
        inputs = [item if isinstance(item, str) else item[..., ::-1] for item in inputs]
        preds = [drawing.drawable(pred, self.visualizer) for pred in preds]
        drawn: list[NDArray[np.uint8]] | None = super().visualize(inputs, preds, **options)
        return drawn

    def pred2dict(
        self, data_sample: DetDataSample, pred_out_dir: str = ''
    ) -> dict[str, Any]:
        """Convert one prediction to plain lists, and write them as JSON if there is a folder."""
        result: dict[str, Any] = super().pred2dict(data_sample)
        instances = data_sample.pred_instances.numpy()
        for name, values in instances.items():
            if name not in _BOX_FIELDS:
                result[name] = values.tolist()
        if self._attributes:
            result['attributes'] = name_attributes(dict(instances.items()), self._attributes)
        if pred_out_dir:
            name = (Path(data_sample.img_path).stem if 'img_path' in data_sample
                    else str(self.num_predicted_imgs))
            dump(result, os.path.join(pred_out_dir, 'preds', f'{name}.json'))
            self.num_predicted_imgs += 1
        return result


class _Counted:
    """Iterator that knows how many items it will return."""

    def __init__(self, items: Iterator[Any], count: int) -> None:
        self._items = items
        self._count = count

    def __iter__(self) -> Iterator[Any]:
        return self._items

    def __len__(self) -> int:
        return self._count


def _as_sample(item: Item) -> dict[str, Any]:
    """Return the beginning of a sample from a path or an array."""
    return dict(img_path=item) if isinstance(item, str) else dict(img=item)


def _input_loader(settings: Mapping[str, Any]) -> Callable[[Any], dict[str, Any]]:
    """Return a transform that loads as :class:`LoadImage` does, also from arrays.

    Args:
        settings (dict): config of the pipeline's loader.
    """
    load = LoadImage(
        **{key: settings[key] for key in ('to_float32', 'backend_args') if key in settings})

    def load_input(item: Any) -> dict[str, Any]:
        sample: dict[str, Any] = item if isinstance(item, dict) else _as_sample(item)
        if 'img_path' in sample:
            loaded: dict[str, Any] = load(sample)
            return loaded
        image = sample['img']
        return dict(sample, img=image.astype(np.float32) if load.to_float32 else image,
                    img_shape=image.shape[:2], ori_shape=image.shape[:2])

    return load_input


def _type_name(settings: Mapping[str, Any]) -> str:
    """Return the type of a config, a name or a class, without its scope."""
    kind = settings['type']
    name: str = kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__
    return name


def _check_device(device: str | None) -> str | None:
    """Return ``device`` if PyTorch can use it.

    Raises:
        UserError: if it cannot.
    """
    if device is None:
        return None
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise UserError(f"device={device!r} is not a valid PyTorch device: give 'cpu', 'cuda' or "
                        "'cuda:1'") from None
    count = torch.cuda.device_count()
    if wanted.type == 'cuda' and (wanted.index or 0) >= count:
        raise UserError(f'device={device!r}, but PyTorch sees {count or "no"} GPU(s) here: use '
                        "'cpu', or install a PyTorch that was built for this GPU")
    return device
