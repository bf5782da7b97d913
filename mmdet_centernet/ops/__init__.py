"""Pure functions on tensors and arrays, independent of models and configs."""
