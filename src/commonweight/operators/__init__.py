"""The ways to compute y = W x, for `lower` to choose from; and what they need to know about a pattern."""
