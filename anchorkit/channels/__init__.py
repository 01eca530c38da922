"""Which channels of a network are redundant."""
