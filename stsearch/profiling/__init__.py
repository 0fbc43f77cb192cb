"""What a network costs, measured: latency, peak memory, traces for TensorBoard."""
