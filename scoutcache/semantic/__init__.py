"""Where meaning meets the machine: embedders that make vectors, and the index that finds the nearest."""
