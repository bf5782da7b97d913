"""Pure functions on tensors (numpy arrays in ``affine``); they know no model and no config."""
