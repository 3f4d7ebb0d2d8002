"""The report: digests of FOVs, the numbers and words of a page, and the page itself."""
