"""Everything that is regressed at an object's center, one property a file."""
from mmdet_centernet.models.properties.attribute import Attribute
from mmdet_centernet.models.properties.box import Box
from mmdet_centernet.models.properties.boxes_3d import Boxes3D
from mmdet_centernet.models.properties.branch import Branch, JointLoss, flip_map, heatmap_branch
from mmdet_centernet.models.properties.centers import Centers, Peaks
from mmdet_centernet.models.properties.corners_3d import Corners3D
from mmdet_centernet.models.properties.depth import Depth
from mmdet_centernet.models.properties.dimensions import Dimensions
from mmdet_centernet.models.properties.keypoints import Keypoints
from mmdet_centernet.models.properties.ltrb import LTRB
from mmdet_centernet.models.properties.orientation import Orientation
from mmdet_centernet.models.properties.property import Property
from mmdet_centernet.models.properties.quality import Quality
from mmdet_centernet.models.properties.target import CellTarget, HeatmapTarget, Positives, Target

__all__ = [
    'LTRB', 'Attribute', 'Box', 'Boxes3D', 'Branch', 'CellTarget', 'Centers', 'Corners3D',
    'Depth', 'Dimensions', 'HeatmapTarget', 'JointLoss', 'Keypoints', 'Orientation', 'Peaks',
    'Positives', 'Property', 'Quality', 'Target', 'flip_map', 'heatmap_branch',
]
