"""The views, one file each: scores in, a picture, a page or a table of them out, all drawn from the same cells."""
