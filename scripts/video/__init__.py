"""Video files and clips: reading, preparing, writing."""
