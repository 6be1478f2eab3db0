"""Classifiers: backbones, augmentation arms, training, metrics, experiments and explanation."""
