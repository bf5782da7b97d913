"""Named attributes of objects: a class, several labels, or a number."""
from dataclasses import replace

from torch import Tensor
from torch.nn import functional as F

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.properties.box import L1
from mmdet_centernet.models.properties.branch import Branch, Config, flip_map
from mmdet_centernet.models.properties.centers import Centers, Peaks
from mmdet_centernet.models.properties.property import Fields, Instances, Metas, Property, Targets
from mmdet_centernet.registry import TASK_UTILS

CERTAIN = 10.0  # logit of a network that is certain
KINDS = ('class', 'multi_label', 'number')
LOSSES: dict[str, Config] = {
    'class': dict(type='mmdet.CrossEntropyLoss'),
    'multi_label': dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True), 'number': L1}


@TASK_UTILS.register_module()
class Attribute(Property):
    """A named attribute of each object, such as ripeness, visible tags, or age.

    Encoded, for ``name='x'``: ``attribute_x``: int64 [N] (class), [N, V] of 0 and 1 (multi-label)
    or [N, 1] in units of ``std`` (number). Objects whose value is missing (NaN in
    ``gt_instances.attribute_x``) do not train it.

    Decoded: ``attribute_x``: probabilities [B, K, V] of the values, which sum to 1 for a class,
    or the number [B, K] in its own unit.

    Args:
        name (str): key in the annotations' ``attributes``.
        kind (str): ``'class'``, one of ``num_classes`` values; ``'multi_label'``, any of them;
            ``'number'``.
        num_classes (int): V, number of values; 1 for a number.
        loss (dict, optional): by default cross-entropy for a class, binary cross-entropy for
            labels, and L1 for a number.
        mean, std (float): of a number, in its own unit. The network predicts
            ``(number - mean) / std``.

    Raises:
        ValueError: for an unknown kind, a name with a dot, a number of values that does not fit,
            or a standard deviation that is not positive.
    """

    conventions = ('kind', 'mean', 'std')

    def __init__(
        self,
        name: str,
        kind: str = 'class',
        num_classes: int = 1,
        loss: Config | None = None,
        mean: float = 0.0,
        std: float = 1.0,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f'kind = {kind!r} of the attribute {name!r} must be one of {KINDS}.')
        if num_classes < (2 if kind == 'class' else 1) or (kind == 'number' and num_classes > 1):
            raise ValueError(f'num_classes = {num_classes} of the attribute {name!r} must be 1 '
                             'for a number, at least 1 for labels and at least 2 for a class.')
        if '.' in name or not name:
            raise ValueError(f'The attribute name {name!r} must not be empty or have a dot.')
        if std <= 0:
            raise ValueError(f'std = {std} of the attribute {name!r} must be positive.')
        self.name, self.kind, self.num_classes = name, kind, num_classes
        self.mean, self.std = mean, std
        self.values: list[str] | None = None
        self.field = f'attribute_{name}'
        self.needs = {self.field: (
            f'the config asks for the attribute {name!r}: name it in metainfo.attributes of the '
            'data set (mmdet_centernet.CocoDataset), with mmdet_centernet.LoadAttributes and '
            'mmdet_centernet.PackInputs in its pipeline')}
        self.branches[self.field] = Branch(
            num_classes, loss or LOSSES[kind], flip=flip_map, to_output=self._to_output,
            # Two layers of tiny weights would hardly learn to tell values apart at first.
            init_std=None)

    def use_dataset(self, metainfo: Config) -> None:
        """Take the names of the values.

        Raises:
            UserError: if the data set's attribute is of another kind or has other values.
        """
        known = metainfo.get('attributes') or {}
        if not known:
            return
        if self.name not in known:
            raise UserError(f'the model predicts the attribute {self.name!r}, which the data set '
                            f'does not have: its attributes are {list(known)}')
        found = known[self.name]
        count = 1 if found['kind'] == 'number' else len(found['values'])
        if (found['kind'], count) != (self.kind, self.num_classes):
            raise UserError(
                f'the attribute {self.name!r} is of kind {found["kind"]!r} with {count} value(s) '
                f'in the data set, but of kind {self.kind!r} with {self.num_classes} in the '
                f"model: set kind='{found['kind']}', num_classes={count} of its "
                'mmdet_centernet.Attribute')
        self.values = found.get('values')

    def describe(self) -> Config:
        """Return kind and names of the values."""
        return dict(attributes={self.name: dict(
            kind=self.kind, **({'values': list(self.values)} if self.values else {}))})

    def encode(
        self, centers: Centers, batch_gt_instances: Instances, batch_img_metas: Metas
    ) -> Targets:
        """Encode values; see the class."""
        values = centers.cat(batch_gt_instances, self.field).float()
        known = ~values.isnan()
        values = values.where(known, 0.0)
        weight = centers.weight
        if self.kind == 'multi_label':
            weight = weight[:, None]
        elif self.kind == 'class':
            values = values.long()
        else:
            values = (values[:, None] - self.mean) / self.std
        target = centers.at_centers(values, known * weight)
        return {self.field: replace(target, count=target.weight.sum())}

    def _to_output(self, values: Tensor) -> Tensor:
        """Return outputs [N, V] that stand for encoded values."""
        if self.kind == 'number':
            return values
        if self.kind == 'class':
            values = F.one_hot(values, self.num_classes)
        return 2 * CERTAIN * values - CERTAIN

    def decode(self, outputs: Fields, peaks: Peaks, detections: Fields) -> Fields:
        """Decode values at the peaks."""
        read: Tensor = peaks.read(outputs[self.field])
        if self.kind == 'number':
            return {self.field: read[..., 0] * self.std + self.mean}
        return {self.field: read.softmax(-1) if self.kind == 'class' else read.sigmoid()}
