"""What an image is, where it came from and who may see it: dataset folder, labels, splits, readers, phantom, cache."""
