"""Exported models in their runtimes. Neither torch nor a package of OpenMMLab is imported."""
