"""One graph of a trained detector that other runtimes execute: export, quantise, evaluate.

Importing this package imports none of its modules: what runs an exported model
(:mod:`mmdet_centernet.deploy.metadata`) does without torch.
"""
