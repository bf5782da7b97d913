"""Models, scenes and checks that several test modules use. They assert nothing about themselves."""
