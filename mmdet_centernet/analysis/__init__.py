"""Analysis of data and models: the oracle, and figures of ground truth and predictions."""
