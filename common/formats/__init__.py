"""File formats as people have them: pictures of other kinds than PNG, and weights in other layouts than ours."""
