"""What has to be had before a run: weights and data sets."""
