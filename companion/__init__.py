"""The telling: what is specific to this paper and this book."""
