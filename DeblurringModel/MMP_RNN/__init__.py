"""The network MMP_RNN."""
