# As default_runtime.py, with pictures of 3D boxes.
_base_ = './default_runtime.py'

visualizer = dict(type='mmdet_centernet.Mono3DLocalVisualizer')
