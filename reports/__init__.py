"""What leaves the house: statements, settlement reports, audit packs."""
