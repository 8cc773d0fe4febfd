"""The data of the study: reviews and interactions, from a source to splits."""
