"""Makes it happen, in order, once: the nightly run, the close, the commands."""
