"""Why the model said that: gradients in, scores and figures out. The public names stand in `__init__.pyi`."""

import lazy_loader

import nexttoken  # noqa: F401  refuses to be imported beside InterpretML, which has the same import name

# A public name is imported when it is first used, so that the command line answers without loading torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
