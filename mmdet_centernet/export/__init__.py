"""Export of trained detectors to one graph that other runtimes execute."""
