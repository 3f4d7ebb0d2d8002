"""Make report.html: digests of FOVs, figures, texts, and the page that holds them."""
