"""The code for this paper and this book: evidence, claims, figures and text."""
