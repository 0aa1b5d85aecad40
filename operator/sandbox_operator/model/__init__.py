"""Specs as frozen records, what they mean together, and what is refused. Pure: no clock, no cluster, no environment."""
