"""AdaSwitch: adaptive-switching knowledge distillation of language models (arXiv 2510.07842).

This package is the method itself, pure: no network, no Ray, no vLLM, no files. The exceptions are
``adaswitch.io``, where every shared side effect lives, and the command line.
"""

__version__ = "0.1.0"
