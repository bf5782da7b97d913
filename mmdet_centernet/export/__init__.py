"""One graph of a trained detector that other runtimes execute: export, quantize, evaluate."""
