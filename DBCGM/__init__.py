"""Stage 2: how does this video blur?"""
