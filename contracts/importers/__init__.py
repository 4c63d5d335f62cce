"""Readers of agreement documents: the native YAML form."""
