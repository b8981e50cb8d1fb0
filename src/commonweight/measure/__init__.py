"""Reading models and their training: records, layer statistics, report."""
