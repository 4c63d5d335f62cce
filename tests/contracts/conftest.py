"""Settings of the property tests: no deadline, since the machine may be shared with others."""

from hypothesis import settings

settings.register_profile("contracts", deadline=None, max_examples=40)
settings.load_profile("contracts")
