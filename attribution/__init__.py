"""How much a training document mattered to an output, in nats. Never sees money."""
