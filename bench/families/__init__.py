"""Tiny models of every family of models, and what each of them can be here: a teacher on either engine, a student."""
