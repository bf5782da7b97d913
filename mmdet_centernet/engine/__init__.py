"""Training and testing: hooks, the optimizer wrapper, the runner, loading of configs."""
