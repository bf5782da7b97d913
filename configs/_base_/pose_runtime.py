# As default_runtime.py, with pictures of skeletons. Flip testing needs the data set's pairs of
# left and right keypoints, which this hook gives the head whatever tool runs the config.
_base_ = './default_runtime.py'

custom_hooks = [dict(type='mmdet_centernet.SkeletonHook')]
visualizer = dict(type='mmdet_centernet.PoseLocalVisualizer')
