"""What figures say: fronts, noise, ranks and rungs. numpy and scipy alone, so that everything else may ask it."""
