"""The network ESTRNN."""
