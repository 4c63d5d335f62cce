"""From what is owed to what the bank is told, and back: batches, bank files, answers."""
