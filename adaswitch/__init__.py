"""AdaSwitch: adaptive-switching knowledge distillation of language models (arXiv 2510.07842).

The method itself is in ``adaswitch.method``, and is pure; ``docs/architecture.md`` walks through the other rooms.
"""

__version__ = "0.1.0"
