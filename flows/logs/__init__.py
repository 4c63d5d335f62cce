"""One adapter a log format, all yielding the canonical record."""
