"""Detection in images: the inferencers and their options."""
