"""Figures of a trained net as PNG files, in the colours of the report."""
