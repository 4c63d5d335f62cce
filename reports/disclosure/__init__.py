"""Drafts of public disclosures about training data, and the lookup pack of one work."""
