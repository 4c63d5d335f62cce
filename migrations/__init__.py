"""Alembic migrations of the one database that holds the book and the agreements."""
