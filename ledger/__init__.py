"""The book: records that money is owed, so that it cannot be quietly changed."""
