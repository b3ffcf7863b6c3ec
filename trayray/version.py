"""The version of this package, and of Ray whose behaviour it offers."""

__version__ = "0.1.0"

#: Programs that check ``ray.__version__`` meet this release of Ray's API.
RAY_VERSION = "2.60.0"
