"""Where the ``plp`` command begins: outside the package, all of which Python imports before any of its modules."""

import signal


def command() -> None:
    """The program ``plp``. While it imports its modules, NumPy among them, there is nothing to save or to tell."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where it was started to ignore Ctrl-C
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from plp.cli import command

    command()
