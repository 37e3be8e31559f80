"""The network Shift_Net."""
