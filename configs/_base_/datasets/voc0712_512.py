# As voc0712.py at 512 x 512.
_base_ = './voc0712.py'

input_size = (512, 512)
train_pipeline = [
    dict(step, crop_size=input_size) if 'crop_size' in step else step
    for step in _base_.train_pipeline
]
test_pipeline = [
    dict(step, size=input_size) if 'size' in step else step for step in _base_.test_pipeline
]
train_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(year, pipeline=train_pipeline)
            for year in _base_.train_dataloader.dataset.datasets
        ]))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
