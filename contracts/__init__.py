"""What influence is worth, and to whom: parties, works, agreements and the royalty calculation."""
