"""Every family of networks on real data over five seeds, beside a named peer: writes docs/networks.md.

`python benchmarks/networks.py` runs all families, `python benchmarks/networks.py som rbf` runs some and keeps the other
rows. Outcomes are kept in benchmarks/results/networks.json. A family is below its peer beyond noise when the mean
difference over the seeds, which share their splits, is worse by more than two of its standard errors.
"""
