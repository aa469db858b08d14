"""The classifier alone, on a face you cut yourself: python examples/crop_scores.py picture.jpg X Y SIDE"""

import sys

import cv2

from edgefer.luma import luma_of
from edgefer.model.classifier import Classifier
from edgefer.model.store import find_model
from edgefer.pipeline.crop import crop_face
from edgefer.types import Box

path, x, y, side = sys.argv[1], *map(int, sys.argv[2:5])
classifier = Classifier(find_model("small"))
card = classifier.card
crop = crop_face(luma_of(cv2.imread(path)), Box(x, y, side, side), card.crop_margin, card.input.height_px, card.input.width_px)
for label, score in sorted(zip(card.labels, classifier(crop[None])[0], strict=True), key=lambda pair: -pair[1]):
    print(f"{label:10}{score:6.1%}")
