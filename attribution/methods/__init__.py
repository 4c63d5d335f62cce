"""One attribution method a file, all behind one protocol."""
