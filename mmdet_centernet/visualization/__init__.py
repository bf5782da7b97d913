"""Drawing. Nothing here knows a model."""
from .heatmaps import heatmap_overlay, heatmap_to_image
from .panels import detection_panel, match_boxes, save_figure
from .people import PoseStyle, draw_people, joint_heat, joints_overlay
from .pose_panel import pose_panel
from .pose_visualizer import PoseLocalVisualizer

__all__ = [
    'PoseLocalVisualizer', 'PoseStyle', 'detection_panel', 'draw_people', 'heatmap_overlay',
    'heatmap_to_image', 'joint_heat', 'joints_overlay', 'match_boxes', 'pose_panel',
    'save_figure']
