"""The product's own figures, each measured on a running site: `make bench`, or `make bench ARGS="latency burst"`."""
