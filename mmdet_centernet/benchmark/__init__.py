"""Time and memory of this package beside MMDetection's, doing the same work in the same run.

``rows`` says what is compared, ``workloads`` and its neighbours build the work, ``measure``,
``memory`` and ``roofline`` do the measuring, ``report`` writes the tables. It imports mmdet's
models, which the rest of the package does without: nothing else imports it.
"""
