"""Stage 4: fine-tune on the pairs, then deblur."""
