"""Loading of a student's teachers."""
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner

from mmdet_centernet.checkpoints.convert import dataset_meta
from mmdet_centernet.checkpoints.load import load_weights
from mmdet_centernet.checkpoints.read import unwrap
from mmdet_centernet.engine.config import load_config
from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads import CenterHead
from mmdet_centernet.models.detectors import CenterNet, DistilledCenterNet
from mmdet_centernet.registry import HOOKS


@HOOKS.register_module()
class DistillationHook(Hook):
    """Hook that loads the teachers of a :class:`DistilledCenterNet` before training.

    Testing, inference and export need no teachers. Other models are left alone.
    """

    def before_train(self, runner: Runner) -> None:
        """Load the teachers, and check that they fit the student."""
        model = unwrap(runner.model)
        if isinstance(model, DistilledCenterNet):
            metainfo = getattr(runner.train_dataloader.dataset, 'metainfo', None) or {}
            load_teachers(model, metainfo.get('classes'))


def load_teachers(model: DistilledCenterNet, classes: Sequence[str] | None) -> None:
    """Build the teachers of a model's config, load their weights and give them to the model.

    Args:
        model (DistilledCenterNet): not wrapped.
        classes (Sequence[str], optional): names of its classes, if known.

    Raises:
        UserError: if a file is missing, or a teacher does not fit.
    """
    teachers, names = [], []
    for index, each in enumerate(model.teacher_configs):
        try:
            detector, its_classes = load_teacher(load_config(each['config']), each['checkpoint'])
        except UserError as error:
            raise UserError(f'model.teachers[{index}]: {error}') from None
        teachers.append(detector)
        names.append(its_classes)
    model.use_teachers(teachers, classes, names)


def load_teacher(config: Config, checkpoint: str) -> tuple[CenterNet, Sequence[str] | None]:
    """Build a config's detector and load its weights.

    Returns:
        tuple[CenterNet, Sequence[str] | None]: the detector and the names of its classes, if the
        checkpoint or the config's data have them.
    """
    with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmdet')):
        detector = MODELS.build(config.model)
    meta = load_weights(detector, checkpoint)
    head = getattr(detector, 'bbox_head', None)
    found = dataset_meta(meta, config, head.num_classes) if isinstance(head, CenterHead) else None
    return detector, found['classes'] if found else None
