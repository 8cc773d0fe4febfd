"""The pages of the book: figures, tables and text from results. Nothing here computes a result."""
