"""A trained network as a file that other programs run; a file is kept only where it says what the network says."""
