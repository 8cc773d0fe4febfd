"""Layerwise Adapter: which layers of a Transformer matter, and which importance score to trust.

Public names are listed in `__init__.pyi`. They are imported when they are first used: `import layerwise` costs nothing.
"""

from importlib.metadata import version

import lazy_loader

__version__ = version("layerwise")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
