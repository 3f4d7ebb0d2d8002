"""Decide, before any job, what there is to do and from what: plain Python, tested without Snakemake."""
