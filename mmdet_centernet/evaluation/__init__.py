"""Metrics: predictions to numbers. Boxes are evaluated by MMDetection's own metrics."""
