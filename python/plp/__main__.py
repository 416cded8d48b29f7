"""``python -m plp`` is the ``plp`` command."""

from .cli import main

raise SystemExit(main())
