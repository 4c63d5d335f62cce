"""The books and statements in the file forms of other houses' tools."""
