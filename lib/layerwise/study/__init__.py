"""This experiment: its parameters, data, models, stages and recorded runs."""
