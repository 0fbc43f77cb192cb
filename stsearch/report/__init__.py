"""What came out: fronts, hypervolumes, tables and plots."""
