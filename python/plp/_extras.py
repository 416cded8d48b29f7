"""What is needed for some things only, and comes with an extra of the package: ``pip install 'plp[plots]'``."""

from importlib.util import find_spec


def require(module: str, extra: str) -> None:
    """Says what to install where a module is missing that the caller is about to import.

    Raises:
        ModuleNotFoundError: it is missing.
    """
    if find_spec(module) is None:
        raise ModuleNotFoundError(f"{module} is missing: pip install 'plp[{extra}]' brings it", name=module)
