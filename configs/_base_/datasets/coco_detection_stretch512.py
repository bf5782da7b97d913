# As coco_detection.py, tested as bubbliiiing's centernet-pytorch does unless told otherwise:
# stretched to 512 x 512 with Pillow's bicubic filter.
_base_ = './coco_detection.py'

stretch = dict(
    type='mmdet.Resize', scale=(512, 512), backend='pillow', interpolation='bicubic')
test_pipeline = [
    stretch if step['type'].endswith('CenterPad') else step for step in _base_.test_pipeline
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
