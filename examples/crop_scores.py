"""Print the classifier's scores for a face that you cut out yourself."""

import argparse

import cv2

import edgefer

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("picture")
parser.add_argument("x", type=int, help="left edge of the face, in pixels")
parser.add_argument("y", type=int, help="top edge")
parser.add_argument("side", type=int, help="width and height")
args = parser.parse_args()

classifier = edgefer.Classifier("small")
size = (classifier.card.input.width_px, classifier.card.input.height_px)
try:
    for frame in edgefer.open_source(f"images:{args.picture}"):
        crop = cv2.resize(frame.luma[args.y : args.y + args.side, args.x : args.x + args.side], size)
        for label, score in zip(classifier.labels, classifier(crop[None])[0], strict=True):
            print(f"{label:10}{score:6.1%}")
except edgefer.EdgeferError as error:
    parser.error(str(error))
