"""CenterNet that learns from other CenterNets, its teachers."""
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from mmdet.models.utils import unpack_gt_instances
from mmdet.structures import DetDataSample
from mmdet.utils import reduce_mean
from mmengine.dist import get_world_size
from torch import Tensor, nn

from mmdet_centernet.errors import UserError
from mmdet_centernet.models.dense_heads.center_head import CenterHead
from mmdet_centernet.models.detectors.centernet import CenterNet
from mmdet_centernet.models.losses.distillation_loss import (
    masked_l1,
    peak_probabilities,
    squared_error,
)
from mmdet_centernet.models.properties.branch import Branch, Config
from mmdet_centernet.models.properties.property import Fields
from mmdet_centernet.registry import MODELS

KEYS = ('config', 'checkpoint', 'classes', 'loss_weights')
HEATMAP_WEIGHT = 1.0
#: Losses that a teacher's values are compared by, too: their weights fit.
ABSOLUTE_LOSSES = ('L1Loss', 'SmoothL1Loss')
OTHER_WEIGHT = 0.1  # as the paper's weight of sizes: such values are some ten cells or logits
PROBE = 128  # px, side of an image whose outputs are compared; a multiple of every stride


@MODELS.register_module()
class DistilledCenterNet(CenterNet):
    """CenterNet that is trained to predict what its teachers predict (centerX).

    Teachers get the images of the student, augmented alike. Two losses per teacher and branch are
    added to the ordinary ones, or replace them:

    - heatmaps: the squared error of probabilities, summed over cells and channels and divided by
      the sum of the teacher's peaks, which is about the number of objects;
    - regressions: the absolute error of values (see ``Branch.to_value``), averaged over the cells
      in proportion to the teacher's peaks. No annotation is needed.

    Only training differs from :class:`CenterNet`. Teachers are loaded by the
    :class:`DistillationHook` before the first step; they are neither trained nor saved, so
    that checkpoints fit the config of the same ``CenterNet``.

    Args:
        *args: of :class:`CenterNet`.
        teachers (Sequence[dict]): for each teacher ``config`` and ``checkpoint``, files; and,
            optionally, ``classes``, the names of those that it teaches (by default it must have
            the student's), and ``loss_weights`` of its own.
        loss_weights (dict, optional): weights of the added losses by branch. Defaults: 1 for
            heatmaps, the weight of the branch's own loss if that is an L1 or smooth L1 loss, 0.1
            for other regressions. A teacher need not have branches of weight 0.
        with_labels (bool): use annotations, too. Without them, branches that nobody teaches are
            frozen.
        **kwargs: of :class:`CenterNet`.

    Raises:
        UserError: if teachers or weights are not as described.
    """

    def __init__(
        self,
        *args: Any,
        teachers: Sequence[Config],
        loss_weights: Mapping[str, float] | None = None,
        with_labels: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.with_labels = with_labels
        self.teacher_configs = list(teachers)
        # A list hides the teachers from parameters(), state_dict(), train() and copies for DDP.
        self._teachers: list[Teacher] = []
        head = self.bbox_head
        if not isinstance(head, CenterHead):
            raise UserError(f'DistilledCenterNet needs a head of mmdet_centernet, but '
                            f'model.bbox_head is a {type(head).__name__}')
        if not self.teacher_configs:
            raise UserError('model.teachers is empty: give at least one '
                            'dict(config=..., checkpoint=...), or train a CenterNet')
        defaults = {name: default_weight(head.branches[name]) for name in head.inference_branches}
        self.loss_weights = [
            {**defaults, **_checked('model.loss_weights', loss_weights, defaults)}
            for _ in self.teacher_configs]
        for index, each in enumerate(self.teacher_configs):
            place = f'model.teachers[{index}]'
            unknown = sorted(set(each) - set(KEYS))
            missing = [key for key in KEYS[:2] if not each.get(key)]
            if unknown or missing:
                fault = f'has no {missing[0]}' if missing else f"has a key '{unknown[0]}'"
                raise UserError(f'{place} {fault}: the keys of a teacher are {", ".join(KEYS)}, '
                                'of which the first two are required')
            if isinstance(each.get('classes'), str):
                raise UserError(f"{place}.classes is the string '{each['classes']}': write a "
                                'list of names')
            self.loss_weights[index].update(
                _checked(f'{place}.loss_weights', each.get('loss_weights'), defaults))
        if not with_labels:
            for branches in head.stacks:
                for name, layers in branches.items():
                    if not any(weights.get(name) for weights in self.loss_weights):
                        layers.requires_grad_(False)

    def use_teachers(
        self, teachers: Sequence[CenterNet], classes: Sequence[str] | None,
        teachers_classes: Sequence[Sequence[str] | None],
    ) -> None:
        """Take the loaded teachers, in the order of the config.

        Args:
            teachers (Sequence[CenterNet]): with weights. They are frozen.
            classes (Sequence[str], optional): names of the student's classes, if known.
            teachers_classes (Sequence[Sequence[str] | None]): the same of each teacher.

        Raises:
            UserError: if a teacher does not fit the student.
        """
        device = next(self.parameters()).device
        probe = self._probe(self, device)
        self._teachers = []
        for config, detector, names, weights in zip(
                self.teacher_configs, teachers, teachers_classes, self.loss_weights, strict=True):
            title = f'the teacher {config["config"]}'
            self._check_teacher(title, detector, weights)
            pairs = match_classes(title, config.get('classes'), classes, names,
                                  self.bbox_head.num_classes, detector.bbox_head.num_classes)
            teacher = Teacher(detector, self.data_preprocessor, pairs, weights).to(device)
            for name, output in self._probe(teacher.detector, device).items():
                if weights.get(name) and output.shape[2:] != probe[name].shape[2:]:
                    raise UserError(
                        f'{title} outputs {_size(output)} cells of {name} for an image of '
                        f'{PROBE}x{PROBE} px, but the student {_size(probe[name])}: use '
                        'backbones and necks of the same stride')
            self._teachers.append(teacher)
        taught = {student for each in self._teachers for student, _ in each.pairs}
        ignorant = sorted(set(range(self.bbox_head.num_classes)) - taught)
        if ignorant and not self.with_labels:
            missing = f"'{classes[ignorant[0]]}'" if classes else f'with the label {ignorant[0]}'
            raise UserError(f'no teacher teaches the class {missing}, and with_labels=False: add '
                            'a teacher that knows it, or train with labels')

    @staticmethod
    @torch.no_grad()
    def _probe(detector: CenterNet, device: torch.device) -> Fields:
        """Compute the outputs of an empty image; the detector stays as it is."""
        training = detector.training
        detector.eval()
        image = torch.zeros(1, 3, PROBE, PROBE, device=device)
        outputs = detector.bbox_head.forward_last(detector.extract_feat(image))
        detector.train(training)
        return outputs

    def _check_teacher(self, title: str, detector: Any, weights: Mapping[str, float]) -> None:
        """Compare the heads of student and teacher.

        Raises:
            UserError: if they differ in anything that is taught.
        """
        mine, other = self.bbox_head, getattr(detector, 'bbox_head', None)
        if not isinstance(other, CenterHead):
            raise UserError(f'{title} is a {type(detector).__name__} without a head of '
                            'mmdet_centernet, and cannot teach a CenterNet')
        if other.coder.stride != mine.coder.stride:
            raise UserError(f'{title} has stride {other.coder.stride}, but the student '
                            f'{mine.coder.stride}: their cells do not correspond. Train one of '
                            'them with the stride of the other')
        if other.coder.peak != mine.coder.peak:
            raise UserError(f"{title} has peaks at '{other.coder.peak}' (bbox_head.coder.peak), "
                            f"but the student at '{mine.coder.peak}': train both with the same")
        for name, weight in weights.items():
            if not weight:
                continue
            if name not in other.inference_branches:
                raise UserError(
                    f"{title} has no branch '{name}' (it has "
                    f'{", ".join(other.inference_branches)}): give it the same properties, or '
                    f'set model.loss_weights=dict({name}=0)')
            channels = [_count_channels(head.branches[name]) for head in (mine, other)]
            if channels[0] != channels[1]:
                raise UserError(
                    f"{title} has {channels[1]} in its branch '{name}', but the student has "
                    f'{channels[0]}: give both the same settings of this property, or '
                    f'set model.loss_weights=dict({name}=0)')
            self._check_conventions(title, name, other)

    def _check_conventions(self, title: str, name: str, other: CenterHead) -> None:
        """Compare what the values of a branch mean to student and teacher.

        Raises:
            UserError: if that differs.
        """
        mine, theirs = (next((each for each in head.properties if name in each.branches), None)
                        for head in (self.bbox_head, other))
        for key in mine.conventions if mine and theirs else ():
            values = getattr(mine, key), getattr(theirs, key, None)
            if values[0] != values[1]:
                raise UserError(
                    f"{title} has {type(theirs).__name__}.{key} = {values[1]!r}, but the student "
                    f"{values[0]!r}, so that the values of the branch '{name}' mean something "
                    f'else: give both the same, or set model.loss_weights=dict({name}=0)')

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> 'DistilledCenterNet':
        """Move the teachers with the student."""
        for each in self._teachers:
            each._apply(fn)
        super()._apply(fn, recurse)
        return self

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """Compute the losses of a batch: the head's, if labels are used, and the teachers'.

        Returns:
            dict[str, Tensor]: ``loss_<name>`` of the head and ``loss_teacher_<branch>``, summed
            over teachers and stacks.

        Raises:
            UserError: if there are no teachers yet, or see :class:`CenterNet`.
        """
        if not self._teachers:
            raise UserError(
                'the teachers of DistilledCenterNet are not loaded: train with tools/train.py, '
                "or add dict(type='mmdet_centernet.DistillationHook') to custom_hooks")
        self.check_samples(batch_data_samples)
        outputs, = self.bbox_head(self.extract_feat(batch_inputs))
        losses: dict[str, Tensor] = {}
        if self.with_labels:
            instances, ignored, metas = unpack_gt_instances(batch_data_samples)
            losses.update(self.bbox_head.loss_by_feat(outputs, instances, metas, ignored))
        losses.update(self.teacher_losses(batch_inputs, outputs))
        return losses

    def teacher_losses(self, batch_inputs: Tensor, outputs: Sequence[Fields]) -> Fields:
        """Compute the losses between the student's outputs and each teacher's.

        Args:
            batch_inputs (Tensor[B, 3, H, W]): images, normalized for the student.
            outputs (Sequence[dict]): the student's, one per stack.
        """
        terms = [term for each in self._teachers
                 for term in each.compare(outputs, self.bbox_head.branches, batch_inputs)]
        divisors = reduce_mean(torch.stack([term.divisor for term in terms]))
        divisors = divisors.clamp(min=1 / get_world_size())
        losses: Fields = {}
        for term, divisor in zip(terms, divisors, strict=True):
            key, value = f'loss_teacher_{term.name}', term.total / divisor
            losses[key] = losses[key] + value if key in losses else value
        return losses


class Term(NamedTuple):
    """One loss before it is averaged.

    Attributes:
        name (str): branch.
        total (Tensor): weighted sum over the batch and all stacks.
        divisor (Tensor): what it is divided by, on this process.
    """

    name: str
    total: Tensor
    divisor: Tensor


class Teacher(nn.Module):
    """Frozen detector in evaluation mode.

    Args:
        detector (CenterNet): with its weights.
        student_preprocessor (nn.Module): normalizes the images that the teacher gets, too.
        pairs (Sequence[tuple[int, int]]): (student's, teacher's) labels of the classes that it
            teaches.
        weights (Mapping[str, float]): of the branches.
    """

    scale: Tensor
    shift: Tensor
    mine: Tensor
    other: Tensor

    def __init__(
        self, detector: CenterNet, student_preprocessor: nn.Module,
        pairs: Sequence[tuple[int, int]], weights: Mapping[str, float],
    ) -> None:
        super().__init__()
        self.detector = detector
        self.pairs = list(pairs)
        self.weights = {name: weight for name, weight in weights.items() if weight}
        self.requires_grad_(False).eval()
        mean, std, swapped = _normalization(detector.data_preprocessor)
        student_mean, student_std, student_swapped = _normalization(student_preprocessor)
        self.swaps = swapped != student_swapped
        if self.swaps:
            student_mean, student_std = student_mean.flip(0), student_std.flip(0)
        # (x * student_std + student_mean - mean) / std
        self.register_buffer('scale', student_std / std)
        self.register_buffer('shift', (student_mean - mean) / std)
        self.same = not self.swaps and torch.equal(mean, student_mean) and torch.equal(
            std, student_std)
        student_labels, labels = zip(*pairs, strict=True)
        self.register_buffer('mine', torch.tensor(student_labels))
        self.register_buffer('other', torch.tensor(labels))

    @torch.no_grad()
    def forward(self, images: Tensor) -> Fields:
        """Compute its outputs for images [B, 3, H, W] that are normalized for the student."""
        if not self.same:
            images = images.flip(1) if self.swaps else images
            images = images * self.scale + self.shift
        head = self.detector.bbox_head
        return {name: output.float() for name, output in head.forward_last(
            self.detector.extract_feat(images)).items()}

    def compare(
        self, outputs: Sequence[Fields], branches: Mapping[str, Branch], images: Tensor
    ) -> list[Term]:
        """Return the terms of all branches that it teaches.

        Args:
            outputs (Sequence[dict]): the student's, one per stack.
            branches (Mapping[str, Branch]): the student's.
            images (Tensor[B, 3, H, W]): see :meth:`forward`.
        """
        found = self(images)
        records = self.detector.bbox_head.branches
        probabilities, peaks = {}, {}
        for name in {branches[name].peaks for name in self.weights} | {
                name for name in self.weights if branches[name].kind == 'heatmap'}:
            probabilities[name] = _of_classes(found[name], records[name], self.other).sigmoid()
            peaks[name] = peak_probabilities(probabilities[name])
        terms = []
        for name, weight in self.weights.items():
            branch, record = branches[name], records[name]
            other = _of_classes(found[name], record, self.other)
            mine = [_of_classes(each[name], branch, self.mine) for each in outputs]
            if branch.kind == 'heatmap':
                errors = [squared_error(each, probabilities[name]) for each in mine]
                divisor = peaks[name].sum()
            else:
                mask = peaks[branch.peaks].amax(dim=1)
                if branch.class_channels is not None:
                    # Each class as an image of its own, with its own peaks.
                    mask = peaks[branch.peaks].flatten(0, 1)
                    other, *mine = (
                        each.unflatten(1, (-1, branch.class_channels)).flatten(0, 1)
                        for each in (other, *mine))
                errors = [masked_l1(each, branch, other, record, mask) for each in mine]
                divisor = mask.sum()
            terms.append(Term(name, weight * torch.stack(errors).sum(), divisor))
        return terms


def _of_classes(output: Tensor, branch: Branch, labels: Tensor) -> Tensor:
    """Return the channels of some classes, or all that these share."""
    if branch.class_channels is None:
        return output
    return output.unflatten(1, (-1, branch.class_channels)).index_select(1, labels).flatten(1, 2)


def _count_channels(branch: Branch) -> str:
    if branch.class_channels is None:
        return f'{branch.channels} channels'
    return f'{branch.class_channels} channels per class'


def default_weight(branch: Branch) -> float:
    """Return the weight of a branch whose weight the config does not give."""
    if branch.kind == 'heatmap':
        return HEATMAP_WEIGHT
    loss = branch.loss or {}
    if str(loss.get('type', '')).rpartition('.')[2] in ABSOLUTE_LOSSES:
        return float(loss.get('loss_weight', 1.0))
    return OTHER_WEIGHT


def match_classes(
    title: str, chosen: Sequence[str] | None, mine: Sequence[str] | None,
    other: Sequence[str] | None, num_mine: int, num_other: int,
) -> list[tuple[int, int]]:
    """Return (student's, teacher's) labels of the classes that a teacher teaches.

    Args:
        title (str): of the teacher, in errors.
        chosen (Sequence[str], optional): names of the classes. None: all of the student's.
        mine, other (Sequence[str], optional): names of the student's and the teacher's classes,
            if known. Labels are compared otherwise.
        num_mine, num_other (int): their numbers.

    Raises:
        UserError: if a class is unknown to one of them.
    """
    if mine is None or other is None:
        who = 'the student' if mine is None else 'the teacher'
        if chosen is not None:
            raise UserError(f'{title} teaches classes by name, but the names of those of {who} '
                            'are unknown: set metainfo=dict(classes=[...]) of its data set')
        if num_mine != num_other:
            raise UserError(f'{title} has {num_other} classes, but the student {num_mine}: name '
                            'those that it teaches, model.teachers[...].classes')
        return [(label, label) for label in range(num_mine)]
    if chosen is None and sorted(mine) != sorted(other):
        differ = sorted(set(mine) ^ set(other))
        owner = 'the student' if differ and differ[0] in mine else 'the teacher'
        raise UserError(f"{title} has other classes than the student (only {owner} has "
                        f"'{differ[0]}'): name those that it teaches, "
                        'model.teachers[...].classes=[...]')
    pairs = []
    for name in dict.fromkeys(mine if chosen is None else chosen):
        for owner, names in (('the student', mine), ('the teacher', other)):
            if name not in names:
                raise UserError(f"{title} is to teach the class '{name}', which {owner} does not "
                                f'have (it has {", ".join(names)})')
        pairs.append((list(mine).index(name), list(other).index(name)))
    if not pairs:
        raise UserError(f'{title} is to teach no class: name some in model.teachers[...].classes, '
                        'or leave the key out')
    return pairs


def _checked(
    place: str, weights: Mapping[str, float] | None, branches: Mapping[str, float]
) -> Mapping[str, float]:
    """Check weights against the branches that there are."""
    for name, weight in (weights or {}).items():
        if name not in branches:
            raise UserError(f"{place} has a weight of '{name}', which is not a branch that the "
                            f'student predicts with: they are {", ".join(branches)}')
        if not isinstance(weight, int | float) or not 0 <= weight < float('inf'):
            raise UserError(f'{place}.{name} = {weight} must be a number that is at least 0')
    return weights or {}


def _normalization(preprocessor: nn.Module) -> tuple[Tensor, Tensor, bool]:
    """Return the mean and standard deviation [3, 1, 1], and if it swaps blue and red."""
    swaps = bool(getattr(preprocessor, '_channel_conversion', False))
    if not getattr(preprocessor, '_enable_normalize', False):
        return torch.zeros(3, 1, 1), torch.ones(3, 1, 1), swaps
    mean: Any = preprocessor.mean
    std: Any = preprocessor.std
    return mean.cpu().float(), std.cpu().float(), swaps


def _size(output: Tensor) -> str:
    return 'x'.join(str(side) for side in output.shape[2:])
