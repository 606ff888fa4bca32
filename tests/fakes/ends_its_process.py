"""A module that cannot be imported and lived through, like a library for another processor."""

import os

os.abort()
