"""``python -m adaswitch``: the same as the ``adaswitch`` command."""

from adaswitch.commands.cli import main

if __name__ == "__main__":
    main()
