"""Conversion: a Keras model in, a quantized TFLite file with its card out, compared with its source."""
