"""Every way in which the teacher takes over: when (``triggers``), where from (``cuts``), for how long (``holds``).

A policy puts one of each together, with a budget (``budget``) and as ``take_over`` says. ← To add a rule, add a file to
one of the three folders: it is found by itself.
"""
