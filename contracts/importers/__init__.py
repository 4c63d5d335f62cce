"""Readers of agreements from outside: native YAML, and machine-readable offers as drafts."""
