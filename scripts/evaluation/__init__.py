"""Parts of the evaluations."""
