"""For all unit tests: Hypothesis measures no time. A busy machine is no failure, and nothing here asserts how long it took."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
