# As default_runtime.py, with pictures of skeletons.
_base_ = './default_runtime.py'

visualizer = dict(type='mmdet_centernet.PoseLocalVisualizer')
