"""edgefer's lean runtime: frames in, faces with their expressions out."""
