"""``python -m plp`` is the ``plp`` command."""

from .cli import command

command()
