"""Drawing. Nothing here knows a model."""
from .panels import detection_panel, heatmap_overlay, heatmap_to_image, match_boxes, save_figure

__all__ = [
    'detection_panel', 'heatmap_overlay', 'heatmap_to_image', 'match_boxes', 'save_figure']
