"""Many prompts as rows of a table: what is asked of each, what comes of it, and the files that it is kept in.

The public names stand in `__init__.pyi`; each is imported when it is first used.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
