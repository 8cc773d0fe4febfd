"""The models of the study: classifiers, a language model and a recommender, and how they are trained."""
