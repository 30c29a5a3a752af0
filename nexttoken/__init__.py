"""The language model: tokens in, a differentiable loss out. The public names stand in `__init__.pyi`."""

from importlib.metadata import PackageNotFoundError, distribution

import lazy_loader


def _refuse_interpretml() -> None:
    """InterpretML owns the import name `interpret` too; installed together, each overwrites files of the other."""
    try:
        distribution("interpret-core")
    except PackageNotFoundError:
        return
    raise ImportError(
        "nexttoken-interpret and InterpretML (interpret-core) are both installed here, and both are imported as "
        "`interpret`. Keep one of them in an environment: `pip uninstall interpret interpret-core`, then reinstall "
        "nexttoken-interpret; or use two virtual environments."
    )


_refuse_interpretml()

# A public name is imported when it is first used, so that the command line answers without loading torch.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
