"""The Blur Magnitude Estimator."""
