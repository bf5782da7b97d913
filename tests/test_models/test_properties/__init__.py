"""Tests of properties; a package, so that a file may be called as one of other tests."""
