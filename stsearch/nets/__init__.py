"""Networks of torch modules from architectures."""
