"""Detect objects in images of your own: MMDetection's ``DetInferencer`` around CenterNet."""
import contextlib
import copy
import os
import warnings
from pathlib import Path

import numpy as np
import torch
from mmdet.apis import DetInferencer
from mmdet.visualization.palette import get_palette
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.fileio import dump
from mmengine.model import BaseTTAModel
from mmengine.registry import MODELS, VISUALIZERS

from mmdet_centernet.checkpoints.convert import dataset_meta, rename_skeletons
from mmdet_centernet.checkpoints.load import load_weights
from mmdet_centernet.datasets.skeleton import COCO_SKELETON
from mmdet_centernet.datasets.transforms import LoadImage
from mmdet_centernet.engine.config import load_config
from mmdet_centernet.errors import UserError
from mmdet_centernet.inference.test_options import apply_test_options, faster
from mmdet_centernet.io.inputs import (
    cameras_of,
    check_batch_size,
    check_output,
    describe,
    images_of,
)
from mmdet_centernet.models.dense_heads import CenterHead
from mmdet_centernet.models.properties import Keypoints
from mmdet_centernet.visualization import Mono3DLocalVisualizer, PoseLocalVisualizer

_LOADERS = ('LoadImage', 'LoadImageFromFile')
# Tasks whose predictions mmdet.DetLocalVisualizer does not draw.
_VISUALIZERS = dict(pose=PoseLocalVisualizer, mono3d=Mono3DLocalVisualizer)
# What DetInferencer puts into the results itself.
_BOX_FIELDS = ('bboxes', 'scores', 'labels')


class CenterNetInferencer(DetInferencer):
    """Detect objects, people and their joints, or objects in space, in files, arrays, folders
    and lists of them.

    What :class:`mmdet.apis.DetInferencer` does, with its arguments and results, and beside
    it: the paper's test-time options; checkpoints are read as data and have to fit; inputs
    are checked before the model runs, and a broken one is an error that names it.

    ``inferencer('photo.jpg', return_datasamples=True)['predictions'][0].pred_instances``
    holds ``bboxes`` [N, 4] (xyxy, pixels of the original image), ``scores`` [N] best first
    and ``labels`` [N]; ``inferencer.model.dataset_meta['classes']`` names the labels. A pose
    model adds ``keypoints`` [N, K, 2] (pixels of the original image) and ``keypoint_scores``
    [N, K]; ``dataset_meta['keypoint_id2name']`` names the joints. A 3D model, which needs the
    images' cameras, adds ``bboxes_3d`` [N, 7] (x, y, z of the bottom's centre, h, w, l,
    rotation_y in the camera frame; metres, radians), ``alpha`` [N] and ``depth`` [N].

    Args:
        model (str | Path | Config): The config. It is not changed.
        weights (str | Path, optional): A checkpoint file or its http(s) address. None warns
            and leaves the weights random.
        device (str, optional): None takes the GPU if there is one.
        resolution (str, optional): ``'keep'``: each image at its own resolution, padded;
            ``'fix'``: scaled into a fixed size; None: as the config's test pipeline says.
        tta (str, optional): ``'flip'``: averaged with the mirrored image; ``'ms'``: with
            flips at several scales; None: as the config says.
        clip_boxes (bool, optional): Cut boxes off at the image's border (the original does
            not). None: as the config's ``test_cfg`` says.
        optimize (bool | str): True: fewer layers and channels-last weights, see
            :func:`optimize_for_inference`, which changes results by no more than rounding;
            ``'compile'``: ``torch.compile`` too, which takes about a minute at the first image,
            and again at the second size of images.
        precision (str): ``'float32'``, ``'bfloat16'`` or, on a GPU, ``'float16'``: what the
            network computes in. Scores and positions change a little.
        palette (str | list): Colours for drawing, see ``DetInferencer``. ``'none'``: those
            of the checkpoint or the config.
        show_progress (bool): Show a progress bar.

    Raises:
        UserError: If config and checkpoint cannot be read, do not fit each other or the
            options, or the device is not there.
    """

    preprocess_kwargs = {'cameras'}

    def __init__(self, model, weights=None, device=None, resolution=None, tta=None,
                 clip_boxes=None, optimize=False, precision='float32', palette='none',
                 show_progress=False):
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
        self._speed = dict(optimize=optimize, precision=precision)
        # Backends would record pictures elsewhere, and complain that they have no folder.
        config.visualizer = dict(
            config.get('visualizer') or dict(type='mmdet.DetLocalVisualizer'), vis_backends=None)
        super().__init__(model=config, weights=weights, device=_checked_device(device),
                         scope=config.get('default_scope', 'mmdet'), palette=palette,
                         show_progress=show_progress)

    def _init_model(self, cfg, weights, device='cpu'):
        """Build the model and load all of its weights."""
        model = MODELS.build(cfg.model)
        detector = model.module if isinstance(model, BaseTTAModel) else model
        if not isinstance(getattr(detector, 'bbox_head', None), CenterHead):
            raise UserError(f"the config's model is a {type(detector).__name__} without a head "
                            "of mmdet_centernet: use mmdet's DetInferencer for it")
        meta = {}
        if weights is None:
            warnings.warn('no weights are given: the model is random and its detections mean '
                          'nothing', stacklevel=5)
        else:
            meta = load_weights(detector, weights)
        model.cfg = cfg
        head = detector.bbox_head
        model.dataset_meta = self._dataset_meta(meta, cfg, head)
        head.use_dataset(model.dataset_meta)
        return faster(model.to(device).eval(), **self._speed)

    @property
    def _head(self):
        """The detector's, also within a TTA model."""
        return getattr(self.model, 'module', self.model).bbox_head

    def _dataset_meta(self, meta, config, head):
        """What a head's classes are called, their colours, and the skeleton of a pose head.

        Args:
            meta (dict): The checkpoint's.
            config (Config): Its data come next.
            head (CenterHead): Of the model.

        Returns:
            dict: ``classes`` (tuple of str), ``palette`` (list of RGB) and, if known, what
            :func:`parse_skeleton` returns.
        """
        num_classes = head.num_classes
        num_keypoints = _num_keypoints(head)
        joints = (meta.get('dataset_meta') or {}).get('num_keypoints', num_keypoints)
        if num_keypoints and joints != num_keypoints:
            warnings.warn(f"the checkpoint's data set has {joints} joints, but model.bbox_head "
                          f'predicts {num_keypoints}: names and skeleton of that data set are '
                          'not used', stacklevel=6)
        found = dataset_meta(meta, config, num_classes, num_keypoints)
        if found is None:
            warnings.warn(f'neither the checkpoint nor the config names {num_classes} classes: '
                          "they are called 'class 0' and so on", stacklevel=6)
            found = dict(classes=tuple(f'class {i}' for i in range(num_classes)))
        if num_keypoints and 'num_keypoints' not in found:
            found = {**rename_skeletons(_skeleton(config, head), found['classes']), **found}
        palette = self.palette if self.palette != 'none' else found.get('palette', 'random')
        try:
            colors = get_palette(palette, num_classes)
        except (AssertionError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f'palette={palette!r} is no palette for {num_classes} classes: give '
                            "'random', 'coco', 'voc', the name of a colour, or a list of one "
                            '(r, g, b) for each class') from error
        return dict(found, palette=[tuple(map(int, color)) for color in colors])

    def _init_visualizer(self, cfg):
        """The config's; for poses and boxes in space one that draws these, whatever it says."""
        wanted = _VISUALIZERS.get(self._head.task)
        if wanted:
            kind = cfg.visualizer.type
            kind = VISUALIZERS.get(kind) if isinstance(kind, str) else kind
            if not (kind and issubclass(kind, wanted)):
                cfg.visualizer = dict(type=wanted)
        return super()._init_visualizer(cfg)

    def _init_pipeline(self, cfg):
        """The config's test pipeline with the loader of :class:`LoadImage` at its start."""
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
            raise UserError('the test pipeline loads no image: begin it with '
                            'mmdet_centernet.LoadImage')
        transform = pipeline[loaders[0]]
        load = LoadImage(
            **{key: transform[key] for key in ('to_float32', 'backend_args') if key in transform})

        def load_input(item):
            item = item if isinstance(item, dict) else _as_sample(item)
            if 'img_path' in item:
                return load(item)
            image = item['img']
            return dict(item, img=image.astype(np.float32) if load.to_float32 else image,
                        img_shape=image.shape[:2], ori_shape=image.shape[:2])

        pipeline[loaders[0]] = load_input
        return Compose(pipeline)

    def _init_collate(self, cfg):
        """Lists, as the data preprocessor takes them, also of what ``TestTimeAug`` gives."""
        return pseudo_collate

    def __call__(self, inputs, batch_size=1, out_dir='', kpt_thr=None, draw_heatmap=False,
                 cam2img=None, **options):
        """Detect.

        An image that turns out to be broken stops the run with an error that names it. What
        ``out_dir`` holds of earlier batches is complete.

        Args:
            inputs (str | Path | ndarray | list): A file, an address, a folder (its images by
                name, subfolders left out), a uint8 array [H, W, 3] in BGR, [H, W] in grey or
                [H, W, 4] with alpha, which is dropped; or a list of files and arrays.
            batch_size (int): Images at a time. Smaller images of a batch are padded to the
                largest, which changes detections near the new border a little.
            out_dir (str): Pictures go to ``vis/`` in it and, with ``no_save_pred=False``,
                results to ``preds/*.json``.
            kpt_thr (float, optional): Of a pose model: joints that score less are not drawn.
                None: as the config's visualizer says, 0.3 as a rule.
            draw_heatmap (bool): Of a pose model: draw the joint heat maps beside the
                predictions; data samples then hold them as ``pred_fields``.
            cam2img (ndarray | str | Path | list, optional): Of a 3D model, which needs it: the
                camera of all images, [3, 4] from its frame to pixels of the images as they are
                given (or [3, 3], which has no offset); or a KITTI calib file, whose P2 is
                taken; or a folder with a calib file for each image, ``000123.txt`` for
                ``000123.png``; or a list with a matrix or file for each input.
            **options: Of ``DetInferencer``: ``return_datasamples``, ``return_vis``,
                ``pred_score_thr`` (of what is drawn), ``no_save_vis``, ``no_save_pred``,
                ``print_result``, ``show``, ``wait_time``, ``draw_pred``.

        Returns:
            dict: ``predictions``, one per input: data samples, or with
            ``return_datasamples=False`` dictionaries of lists ``bboxes``, ``scores``,
            ``labels`` (and ``keypoints``, ``keypoint_scores``, or ``bboxes_3d``, ``alpha``,
            ``depth``); ``visualization``, the pictures (RGB) if any were asked for.

        Raises:
            UserError: If an input, its camera, or where it is to be written, is none that will
                do.
        """
        check_batch_size(batch_size)
        inputs = images_of(inputs)
        cameras = self._cameras(cam2img, inputs)
        if out_dir:
            check_output(inputs, out_dir, options.get('no_save_pred', True))
        # Arrays are named by these two; a picture and its result get the same number.
        self.num_visualized_imgs = self.num_predicted_imgs = max(
            self.num_visualized_imgs, self.num_predicted_imgs)
        with self._drawing(kpt_thr, draw_heatmap):
            return super().__call__(inputs, batch_size=batch_size, out_dir=str(out_dir or ''),
                                    cameras=cameras, **options)

    def _cameras(self, cam2img, inputs):
        """The camera of each input, ndarray[3, 4] of float64, or None if the model needs none.

        Raises:
            UserError: If they are missing, wrong or of no use.
        """
        name = type(self._head).__name__
        if 'cam2img' not in self._head.image_inputs:
            if cam2img is not None:
                raise UserError('cam2img is the camera that boxes in space need, but the model '
                                f'has a {name}, which finds none: leave it out')
            return None
        if cam2img is None:
            raise UserError(
                f"the model's {name} finds boxes in space, which takes the images' camera: give "
                'cam2img, a 3 x 4 matrix, the path of a KITTI calib file, or a list with one for '
                'each input')
        return cameras_of(cam2img, inputs)

    @contextlib.contextmanager
    def _drawing(self, kpt_thr, draw_heatmap):
        """Have joints and their heat maps drawn so for one call."""
        head, visualizer = self._head, self.visualizer
        if kpt_thr is None and not draw_heatmap:
            yield
            return
        if head.find_property(Keypoints) is None:
            raise UserError('kpt_thr and draw_heatmap are for joints, but the model has a '
                            f'{type(head).__name__}, which predicts none: leave them out')
        before = head.test_cfg, visualizer.kpt_thr
        if draw_heatmap:
            head.test_cfg = dict(head.test_cfg or {}, output_heatmaps=True)
        if kpt_thr is not None:
            visualizer.kpt_thr = kpt_thr
        try:
            yield
        finally:
            head.test_cfg, visualizer.kpt_thr = before

    def preprocess(self, inputs, batch_size=1, cameras=None, **options):
        """Batches of samples; their number is known, so that the progress bar has an end."""
        count = -(-len(inputs) // batch_size)
        if cameras is not None:
            inputs = [dict(_as_sample(item), cam2img=camera)
                      for item, camera in zip(inputs, cameras, strict=True)]
        return _Counted(super().preprocess(inputs, batch_size, **options), count)

    def visualize(self, inputs, preds, **options):
        """Draw detections, as ``DetInferencer`` does.

        Arrays become RGB, which ``DetInferencer`` takes them for. Its visualizer wants boxes
        that lie in the image and have an area, those of this package take them as they are.
        """
        inputs = [item if isinstance(item, str) else item[..., ::-1] for item in inputs]
        if self._head.task not in _VISUALIZERS:
            preds = [_drawable(pred) for pred in preds]
        return super().visualize(inputs, preds, **options)

    def pred2dict(self, data_sample, pred_out_dir=''):
        """One prediction as plain lists, written as json if there is a folder for it."""
        result = super().pred2dict(data_sample)
        for name, values in data_sample.pred_instances.items():
            if name not in _BOX_FIELDS:
                result[name] = values.tolist()
        if pred_out_dir:
            name = (Path(data_sample.img_path).stem if 'img_path' in data_sample
                    else str(self.num_predicted_imgs))
            dump(result, os.path.join(pred_out_dir, 'preds', f'{name}.json'))
            self.num_predicted_imgs += 1
        return result


class _Counted:
    """An iterator that knows how many items it will give."""

    def __init__(self, items, count):
        self._items = items
        self._count = count

    def __iter__(self):
        return self._items

    def __len__(self):
        return self._count


def _num_keypoints(head):
    """Return the number of keypoints that a head predicts, None if it predicts none."""
    keypoints = head.find_property(Keypoints)
    return keypoints and keypoints.num_keypoints


def _as_sample(item):
    """A path or an array as the beginning of a sample."""
    return dict(img_path=item) if isinstance(item, str) else dict(img=item)


def _skeleton(config, head):
    """The skeleton of the config's data, else COCO's, if the head has as many joints."""
    num_keypoints = _num_keypoints(head)
    found = dataset_meta({}, config, head.num_classes, num_keypoints) or {}
    if 'num_keypoints' not in found and num_keypoints == COCO_SKELETON['num_keypoints']:
        found = COCO_SKELETON
    if 'num_keypoints' not in found:
        warnings.warn('neither the checkpoint nor the config describes a skeleton of '
                      f'{num_keypoints} joints: they are drawn without links', stacklevel=7)
    return found


def _type_name(settings):
    """The type of a config, text or class, without its scope."""
    kind = settings['type']
    return kind.rpartition('.')[2] if isinstance(kind, str) else kind.__name__


def _checked_device(device):
    """``device`` if PyTorch can use it.

    Raises:
        UserError: If it cannot.
    """
    if device is None:
        return None
    try:
        wanted = torch.device(device)
    except RuntimeError:
        raise UserError(f"device={device!r} is none that PyTorch knows: give 'cpu', 'cuda' or "
                        "'cuda:1'") from None
    count = torch.cuda.device_count()
    if wanted.type == 'cuda' and (wanted.index or 0) >= count:
        raise UserError(f'device={device!r}, but PyTorch sees {count or "no"} GPU(s) here: use '
                        "'cpu', or install a PyTorch built for this GPU")
    return device


def _drawable(pred):
    """A prediction whose boxes lie in the image and have an area."""
    height, width = pred.ori_shape[:2]
    instances = pred.pred_instances
    x1, y1, x2, y2 = instances.bboxes.unbind(-1)
    boxes = torch.stack((x1.clamp(0, width - 1), y1.clamp(0, height - 1),
                         x2.clamp(0, width - 1), y2.clamp(0, height - 1)), dim=-1)
    instances = instances.clone()
    instances.bboxes = boxes
    shown = pred.new()
    shown.pred_instances = instances[(boxes[:, 2:] > boxes[:, :2]).all(1)]
    return shown
