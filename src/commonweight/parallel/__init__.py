"""Ties under torch.distributed: how to shard a model so that they hold, and whether all processes still agree.

Under DistributedDataParallel each process holds every weight; under FSDP2 (`fully_shard`) it holds some rows of each.
"""

from commonweight.parallel.agreement import check
from commonweight.parallel.groups import Group, Groups, fsdp_groups

__all__ = ["Group", "Groups", "check", "fsdp_groups"]
