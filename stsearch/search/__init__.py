"""What to try next: the study's specification, samplers under a hard budget, and the loop."""
