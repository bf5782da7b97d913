"""Analysis of data and models: the oracle, figures of detections."""
