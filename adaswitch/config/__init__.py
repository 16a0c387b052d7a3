"""The settings of a run. ``RunConfig`` in ``run.py`` holds all of them; ``adaswitch.runs.config_files`` reads files.

The settings of policies, losses and tasks stand next to their code, in ``adaswitch.method`` and ``adaswitch.tasks``.
"""
