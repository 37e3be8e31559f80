"""Stage 3: blur the sharp regions that way."""
