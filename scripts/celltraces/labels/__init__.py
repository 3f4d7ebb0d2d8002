"""Work with label images: regions, masks, pixels that cells share, lineages."""
