"""Training: FER2013 in, a Keras model with its card out."""
