"""A whole settlement on this machine alone: real text, a real model, real books."""
