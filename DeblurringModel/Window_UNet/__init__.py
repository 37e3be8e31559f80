"""The small U-Net of this project."""
