# The original implementation's longer schedule ("2x"): as adam_140e.py for 230 epochs, the rate
# divided by 10 after 180 and 210.
_base_ = './adam_140e.py'

train_cfg = dict(max_epochs=230)
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=230, by_epoch=True, milestones=[180, 210], gamma=0.1),
]
