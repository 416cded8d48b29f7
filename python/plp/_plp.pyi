# The extension module's functions, for type checkers; _plp.c says what their arguments are.
from typing import Any

version: str

class Error(Exception): ...

def __getattr__(name: str) -> Any: ...
