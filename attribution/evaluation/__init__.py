"""How well attribution predicts what really happens when documents are left out of training."""
