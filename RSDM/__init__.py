"""Stage 1: where is this video sharp?"""
