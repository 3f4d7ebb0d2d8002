"""Check results and apply a person's decisions to them."""
