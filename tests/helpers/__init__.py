"""Models, scenes and checks that several test modules use."""
