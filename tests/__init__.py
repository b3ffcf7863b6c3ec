"""The tests, at the paths of the modules that they test; what several of them need is in `tests` itself."""
