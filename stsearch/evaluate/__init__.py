"""How good a network is: training, accuracy, and what a trial remembers of them."""
