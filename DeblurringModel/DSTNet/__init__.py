"""The network DSTNet."""
