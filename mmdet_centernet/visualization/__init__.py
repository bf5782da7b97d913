"""Drawing of ground truth and predictions, independent of any model."""
from mmdet_centernet.visualization.birds_eye import draw_birds_eye
from mmdet_centernet.visualization.boxes_3d import draw_boxes_3d
from mmdet_centernet.visualization.heatmaps import heatmap_overlay, heatmap_to_image
from mmdet_centernet.visualization.local_visualizer import (
    CenterNetLocalVisualizer,
    PoseLocalVisualizer,
)
from mmdet_centernet.visualization.mono3d_panel import mono3d_panel
from mmdet_centernet.visualization.mono3d_visualizer import Mono3DLocalVisualizer
from mmdet_centernet.visualization.panels import detection_panel, save_figure
from mmdet_centernet.visualization.people import PoseStyle, draw_people, joint_heat, joints_overlay
from mmdet_centernet.visualization.pose_panel import pose_panel

__all__ = [
    'CenterNetLocalVisualizer', 'Mono3DLocalVisualizer', 'PoseLocalVisualizer', 'PoseStyle',
    'detection_panel', 'draw_birds_eye', 'draw_boxes_3d', 'draw_people', 'heatmap_overlay',
    'heatmap_to_image', 'joint_heat', 'joints_overlay', 'mono3d_panel', 'pose_panel',
    'save_figure']
