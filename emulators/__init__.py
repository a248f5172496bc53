"""Local stand-ins for every upstream; tests, the demo and the benchmark run on them."""
