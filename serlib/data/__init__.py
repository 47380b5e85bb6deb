"""From recordings to images and splits."""
