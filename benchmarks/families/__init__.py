"""Each family of networks against a named peer on real data: what `python benchmarks/networks.py` runs."""
