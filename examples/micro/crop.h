#ifndef CROP_H
#define CROP_H

#include <stdint.h>

enum { CROP_SIDE = 48 };

/* Cuts the face in a box (x, y, w, h) out of a grey frame, as the models want it: see crop.c. */
void crop_face(const uint8_t *frame, int frame_width, int frame_height, int x, int y, int w, int h, uint8_t face[CROP_SIDE * CROP_SIDE]);

#endif
