"""The views, one file each: an Attribution in, a picture of it out."""
