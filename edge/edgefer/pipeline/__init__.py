"""From a frame to an observation: motion, search, tracker, crop, classifier, smoother."""
