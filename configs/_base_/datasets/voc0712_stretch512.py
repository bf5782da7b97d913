# As voc0712_512.py, tested as bubbliiiing's centernet-pytorch does unless told otherwise:
# stretched to 512 x 512 with Pillow's bicubic filter.
_base_ = './voc0712_512.py'

stretch = dict(
    type='mmdet.Resize', scale=(512, 512), backend='pillow', interpolation='bicubic')
test_pipeline = [
    stretch if step['type'].endswith('CenterResize') else step for step in _base_.test_pipeline
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
