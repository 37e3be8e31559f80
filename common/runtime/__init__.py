"""Files, processes, memory and signals."""
