"""The interface of everything that is regressed at an object's center."""
from collections.abc import Sequence

from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_centernet.models.properties.branch import Branch, Config, JointLoss
from mmdet_centernet.models.properties.centers import Centers, Peaks
from mmdet_centernet.models.properties.target import HeatmapTarget, Target
from mmdet_centernet.ops.transforms import transform_points

Fields = dict[str, Tensor]
Instances = list[InstanceData]
Metas = list[Config]
Targets = dict[str, Target]


class Property:
    """One thing that is regressed at an object's center.

    A subclass sets ``branches`` and overrides :meth:`encode` and :meth:`decode`. It names the
    fields that are positions in pixels in ``points``.

    Attributes:
        branches (dict[str, Branch]): outputs it adds to the network.
        joint_losses (dict[str, JointLoss]): losses that read several of them.
        needs (dict[str, str]): fields of ``gt_instances`` that training needs -> their source,
            for the error message.
        image_inputs (dict[str, str]): the same for matrices in the images' metainfo, such as
            ``cam2img``, that training and prediction need.
        points (tuple[str, ...]): decoded fields [B, K, ..., 2] that are positions (x, y) in input
            pixels. They are mapped to the original image, also by exported models.
        replaces (tuple[str, ...]): fields of earlier properties that its own contain; they are
            left out of the results.
        conventions (tuple[str, ...]): attributes that say what its outputs mean, such as the point
            that distances start from. A teacher must agree with its student in them.
        task (str, optional): task of a model that has it, if not ``'detection'``.
    """

    needs: dict[str, str] = {}
    image_inputs: dict[str, str] = {}
    points: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    conventions: tuple[str, ...] = ()
    task: str | None = None

    def __init__(self) -> None:
        self.branches: dict[str, Branch] = {}
        self.joint_losses: dict[str, JointLoss] = {}

    def encode(
        self, centers: Centers, batch_gt_instances: Instances, batch_img_metas: Metas
    ) -> Targets:
        """Return training targets by the name of their branch or joint loss."""
        raise NotImplementedError(f'{type(self).__name__}.encode')

    def decode(self, outputs: Fields, peaks: Peaks, detections: Fields) -> Fields:
        """Return fields [B, K, ...] of the detections, in network-input pixels and real units.

        Args:
            outputs (dict[str, Tensor[B, channels, H, W]]): of all branches.
            peaks (Peaks): where to read them.
            detections (dict[str, Tensor]): fields that earlier properties decoded.
        """
        raise NotImplementedError(f'{type(self).__name__}.decode')

    def rescore(
        self, scores: Tensor, outputs: Fields, peaks: Peaks, detections: Fields
    ) -> Tensor:
        """Return the detections' scores [B, K], changed by what the property knows.

        Args:
            scores (Tensor[B, K]): the heatmap's, changed by earlier properties; 0 where an image
                has fewer than K peaks.
            outputs, peaks, detections: see :meth:`decode`; all properties' fields.
        """
        return scores

    def to_image(self, detections: Fields, matrices: Tensor) -> Fields:
        """Return those of its fields that change from network input to original image.

        Exported models map the fields in ``points`` and nothing else.

        Args:
            detections (dict[str, Tensor]): fields [B, K, ...].
            matrices (Tensor[B, 3, 3]): affine, input pixels -> original pixels.
        """
        return {name: transform_points(detections[name].flatten(1, -2), matrices).view_as(
            detections[name]) for name in self.points if name in detections}

    def add_positives(
        self, target: HeatmapTarget, output: Fields, centers: Centers
    ) -> HeatmapTarget:
        """Return the target of the center heatmap, with positives that the outputs suggest.

        Args:
            target (HeatmapTarget): of the center heatmap.
            output (dict[str, Tensor[B, channels, H, W]]): of all branches, in training.
            centers (Centers): the objects.
        """
        return target

    def use_properties(self, earlier: Sequence['Property']) -> None:
        """Take what the property needs of those before it in the head."""

    def check(self, instances: InstanceData, meta: Config, num_classes: int) -> None:
        """Raise a UserError if an image's annotations do not fit the property."""

    def use_dataset(self, metainfo: Config) -> None:
        """Take what the data set knows, such as class names."""

    def describe(self) -> Config:
        """Return what a reader of the detections has to know, as plain data for exported files.

        A subclass adds to it. Two entries have a meaning of their own: ``points``, see the
        class, and ``attributes``, see :class:`Attribute`.
        """
        return dict(points=list(self.points)) if self.points else {}
